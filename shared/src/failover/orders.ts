import type { IncidentId, InstanceId } from '../core/ids.ts'
import type { Millis } from '../core/time.ts'

/**
 * What the coordinator tells a member to do. An order is a statement about an epoch, not a step: the same order given
 * twice has the same effect as given once, and one about an older epoch has none.
 */
export type Order =
  /** Receive the state of `primary`. */
  | {
      readonly kind: 'follow'
      readonly epoch: number
      readonly term: number
      readonly primary: InstanceId
    }
  /** Freeze, send the last of the state to `target`, stop, and say so. */
  | {
      readonly kind: 'hand-over'
      readonly epoch: number
      readonly target: InstanceId
      readonly incident: IncidentId
      readonly budget: Millis
      /** A notice is running: prefer stopping a workload that cannot be frozen over giving up. */
      readonly urgent: boolean
    }
  | { readonly kind: 'abort-hand-over'; readonly epoch: number }
  /** `epoch` belongs to somebody else: stop for good. A replica of `epoch` itself stops receiving. */
  | { readonly kind: 'fence'; readonly epoch: number }
