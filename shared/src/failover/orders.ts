import type { IncidentId, InstanceId } from '../core/ids.ts'
import type { Millis, Mono } from '../core/time.ts'

/**
 * What the coordinator tells a member to do. An order is a statement about an epoch, not a step: the same order given
 * twice has the same effect as given once, and one about an older epoch has none.
 */
export type Order =
  /** Receive the state of `primary`. */
  | { readonly kind: 'follow'; readonly epoch: number; readonly primary: InstanceId }
  /** Become primary of `epoch`. `fresh` throws away what was received: the state is known to be incomplete. */
  | {
      readonly kind: 'promote'
      readonly epoch: number
      readonly fresh: boolean
      readonly incident?: IncidentId | undefined
      readonly lease: LeaseGrant
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

/** The answer to one heartbeat of a primary. */
export interface LeaseGrant {
  readonly epoch: number
  /** Number of the heartbeat that is answered; a grant with a lower one than the last is dropped. */
  readonly seq: number
  /** When the holder sent that heartbeat, on the holder's own clock. */
  readonly sentAt: Mono
  readonly lease: Millis
  /** No member can be promoted: run on even if the coordinator falls silent. */
  readonly solo: boolean
}
