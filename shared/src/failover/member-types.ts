import type { IncidentId, InstanceId } from '../core/ids.ts'
import type { Millis, Mono } from '../core/time.ts'
import type { LeasePolicy } from './lease.ts'
import type { Order } from './orders.ts'

/**
 * What one instance does for its agent, as a pure function of what happens to it.
 *
 * - `idle`: enrolled, no orders yet. The workload is stopped, or frozen if this daemon was restarted under it.
 * - `replica`: receives state. Runs nothing.
 * - `promoting`: owns the epoch and is bringing the workload up (`applying` → `starting` or `thawing` → `checking`).
 * - `primary`: runs the workload while its lease lasts; frozen (`suspended`) when the lease is about to end.
 * - `handing-over`: still owns the epoch (`draining` → `freezing` → `sealing` → `releasing`); may go back to `primary`
 *   until its voter has given the epoch away.
 * - `released`: has given the epoch up. Never active in it again, not even after a restart.
 * - `fenced`: stopping or stopped because the epoch is not its own any more; `next` is what it does after that.
 *
 * Invariants (member.test.ts, failover.simulation.test.ts):
 * M1 the workload is exposed only within the lease or in solo mode, whatever a hook does or fails to do;
 * M2 `epoch` never decreases;
 * M3 after `released` or `fenced` at epoch e no hook but `stop` runs until an order of a higher epoch;
 * M4 `released`, `promotion-failed` and `fenced` are reported only once the workload is not exposed;
 * M5 a workload that was stopped starts in a new office only once what is there is known to be whole.
 */
export interface Member {
  readonly epoch: number
  /** The epoch in which this primary, or the one that is followed, took office. */
  readonly term: number
  readonly role: Role
  readonly workload: Workload
  readonly lease: Lease
  /** Processes of the workload may be doing something. False once they are frozen or have ended. */
  readonly exposed: boolean
  /** Frozen because the lease ended, or a hand-over called off during it; goes on when the lease is there and it is still. */
  readonly suspended: boolean
  /** The incident that the current role change belongs to. */
  readonly incident: IncidentId | undefined
  /** Numbers the one operation under way; the end of any other is stale and dropped. */
  readonly turn: number
  /** When the last event happened. */
  readonly at: Mono
  readonly policy: LeasePolicy
}

export type Role =
  | { readonly kind: 'idle' }
  | { readonly kind: 'replica'; readonly primary: InstanceId }
  | {
      readonly kind: 'promoting'
      readonly step: 'applying' | 'starting' | 'thawing' | 'checking'
      readonly fresh: boolean
    }
  | { readonly kind: 'primary' }
  | {
      readonly kind: 'handing-over'
      readonly step: 'draining' | 'freezing' | 'sealing' | 'releasing'
      readonly target: InstanceId
      readonly budget: Millis
      readonly urgent: boolean
      /** What the replica has confirmed. */
      readonly sealed?: { readonly seq: number; readonly left?: Left }
    }
  | { readonly kind: 'released' }
  | {
      readonly kind: 'fenced'
      readonly next?: Next
      /** What is reported once everything has stopped. */
      readonly last?: MemberReport
      /** The daemon ends: it keeps its office to the end and takes no other. */
      readonly ending?: true
    }

/** The voter has won `epoch` for us. `fresh` throws away what was received: it is known to be incomplete. */
export interface Elected {
  readonly kind: 'elected'
  readonly epoch: number
  readonly term: number
  readonly fresh: boolean
  readonly incident?: IncidentId | undefined
  readonly lease: Lease
}

/** What waits until the workload of an earlier role has stopped. */
export type Next = (Order & { kind: 'follow' }) | Elected

export type Workload =
  | 'stopped'
  | 'starting'
  | 'running'
  | 'freezing'
  | 'frozen'
  | 'thawing'
  | 'stopping'
  | 'killing'

/** `solo`: nobody else could be elected, so none is needed. */
export type Lease =
  | { readonly kind: 'none' }
  | { readonly kind: 'solo' }
  | { readonly kind: 'until'; readonly at: Mono }

export type Hook = 'start' | 'stop' | 'freeze' | 'thaw' | 'health'

/** What a replica that takes over does not have: content in bytes, and names that could not be read. */
export interface Left {
  readonly bytes: number
  readonly names: number
}

export type MemberEvent =
  /** The daemon has started. `active`: its workload was there, or about to be, when it ended. */
  | { readonly kind: 'booted'; readonly epoch: number; readonly active: boolean }
  | { readonly kind: 'order'; readonly order: Order }
  | Elected
  /** Still primary, with another successor. */
  | { readonly kind: 'advanced'; readonly epoch: number }
  /** What the voter says of the office that it holds; `none` without one, or in doubt of the clock. */
  | { readonly kind: 'lease'; readonly lease: Lease }
  | {
      readonly kind: 'hook-ended'
      readonly turn: number
      readonly hook: Hook | 'kill'
      readonly ok: boolean
      readonly why?: string
    }
  /** Everything that was received is in place and synced to disk; or it cannot be. */
  | {
      readonly kind: 'applied'
      readonly turn: number
      readonly ok: boolean
      readonly why?: string
      /** What is there is a part of a copy, and will not be more by trying again. */
      readonly incomplete?: boolean
    }
  /** The target is close behind; or cannot be reached in time. */
  | { readonly kind: 'drained'; readonly turn: number; readonly ok: boolean; readonly why?: string }
  /** The target holds exactly this state, byte for byte; or it does not. */
  | {
      readonly kind: 'sealed'
      readonly turn: number
      readonly ok: boolean
      readonly seq: number
      /** What the replica does not have all the same. */
      readonly left?: Left
      readonly why?: string
    }
  /** The voter has given the epoch to the successor, for good; or cannot. */
  | { readonly kind: 'released'; readonly turn: number; readonly ok: boolean; readonly why?: string }
  /** The guard has killed the workload, because the lease was not renewed in time. `left`: some of it has not ended yet. */
  | { readonly kind: 'killed'; readonly left: boolean }
  /** What was decided could not be carried out, as with a disk that refuses to take the epoch down. */
  | { readonly kind: 'unable'; readonly why: string }
  /** The daemon is to end: nothing of the workload may be left without somebody who watches its lease. */
  | { readonly kind: 'ending' }
  | { readonly kind: 'tick' }

export type MemberEffect =
  /** Must be on disk before any later effect of the same step. `active`: something of the workload may be there. */
  | { readonly kind: 'persist'; readonly epoch: number; readonly active: boolean }
  | { readonly kind: 'hook'; readonly hook: Hook; readonly turn: number }
  /** Ends every process of the workload without asking; the last resort when `freeze` and `stop` failed. */
  | { readonly kind: 'kill'; readonly turn: number }
  | { readonly kind: 'receive'; readonly term: number; readonly primary: InstanceId }
  | { readonly kind: 'stop-receiving' }
  /** Puts everything in place that was received, or throws it away. Ends with `applied`. */
  | { readonly kind: 'finish-receiving'; readonly turn: number; readonly discard: boolean }
  | { readonly kind: 'serve'; readonly term: number }
  | { readonly kind: 'stop-serving' }
  | { readonly kind: 'drain'; readonly turn: number; readonly target: InstanceId; readonly budget: Millis }
  | { readonly kind: 'seal'; readonly turn: number; readonly target: InstanceId; readonly budget: Millis }
  /** Votes for the successor. Ends with `released`. */
  | { readonly kind: 'release'; readonly turn: number; readonly target: InstanceId }
  /** Never again active in `epoch`; must be on disk before any later effect of the same step. */
  | { readonly kind: 'resign'; readonly epoch: number }
  | { readonly kind: 'report'; readonly report: MemberReport }

/** What a member tells the coordinator about an epoch. Reports are repeated until acknowledged. */
export type MemberReport =
  | { readonly kind: 'promoted'; readonly epoch: number; readonly incident?: IncidentId | undefined }
  | {
      readonly kind: 'promotion-failed'
      readonly epoch: number
      readonly incident?: IncidentId | undefined
      readonly why: string
      readonly incomplete?: boolean | undefined
    }
  | {
      readonly kind: 'released'
      readonly epoch: number
      readonly incident: IncidentId
      readonly target: InstanceId
      readonly seq: number
      readonly left?: Left
    }
  | {
      readonly kind: 'hand-over-failed'
      readonly epoch: number
      readonly incident: IncidentId
      readonly why: string
    }
  | { readonly kind: 'fenced'; readonly epoch: number }

export interface MemberStep {
  readonly member: Member
  readonly effects: readonly MemberEffect[]
}
