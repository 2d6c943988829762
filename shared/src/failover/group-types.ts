import type { AgentId, IncidentId, InstanceId } from '../core/ids.ts'
import type { Millis, Mono } from '../core/time.ts'
import type { LeasePolicy } from './lease.ts'
import type { Role } from './member-types.ts'
import type { LeaseGrant, Order } from './orders.ts'

/**
 * Who is primary of one agent, as the coordinator sees it.
 *
 * - `vacant`: no primary yet; the first member that connects gets epoch 1.
 * - `steady`: the primary of `epoch` has the epoch; how well it is, its lease and its heartbeats tell.
 * - `handing-over`: the primary was told to give the epoch to `target`. It still owns it.
 * - `committing`: the change to `to` is being written. Only the compare-and-set in the database decides.
 * - `promoting`: `target` owns the epoch and is bringing the workload up.
 * - `routing`: the workload is up; the address is being pointed at it.
 * - `relaunching`: the primary has ended and no whole copy is at hand; waiting for one, or for an instance that can
 *   start from nothing.
 * - `failed`: the only copy of the state could not start; it is tried again at `retryAt`.
 *
 * Invariants (group.test.ts, failover.simulation.test.ts):
 * G1 an epoch is committed at most once, and only as the successor of the current one;
 * G2 no epoch is committed before the primary has released it, its promise has run out, or the cloud says that its
 *    instance is gone;
 * G3 a primary that was told to run on alone (`solo`) is replaced only after a release or on the cloud's word;
 * G4 a member with an open notice, or one that the cloud says is gone, is never a target;
 * G5 nothing starts from nothing while a copy may still exist: only on an instance that says it has none, and after
 *    every member that had one is gone or has been waited for.
 */
export interface Group {
  readonly agent: AgentId
  readonly epoch: number
  readonly primary: InstanceId | undefined
  readonly phase: Phase
  readonly members: ReadonlyMap<InstanceId, GroupMember>
  /** Until when the primary may still be running on our word. */
  readonly promiseUntil: Mono
  /** Until when promises of an earlier process of ours may be outstanding. */
  readonly silentUntil: Mono
  /** Number of the last heartbeat that was answered with `solo`; undefined once the primary confirmed a lease. */
  readonly soloSince: number | undefined
  /** A notice on the primary that no replica was ready for. */
  readonly waiting: OpenIncident | undefined
  readonly policy: LeasePolicy
}

/** What started an incident. `notice` is AWS's word, `silence` missed heartbeats, `planned` an operator's. */
export type Trigger = 'notice' | 'silence' | 'planned'

export interface OpenIncident {
  readonly id: IncidentId
  readonly trigger: Trigger
  /** The primary that the incident is about. */
  readonly instance: InstanceId
  /** When a hand-over must be finished. */
  readonly by: Mono | undefined
  /** The old primary stays as a standby of the new one. */
  readonly keepOld: boolean
}

/** What was under way when an earlier coordinator ended, as its records tell. */
export interface OpenMove {
  readonly incident: OpenIncident
  readonly at: /** For a replica that can take over. */
    | { readonly kind: 'waiting' }
    /** The primary was told to hand over; it may have done so meanwhile. */
    | { readonly kind: 'handing-over'; readonly target: InstanceId }
    /** The epoch was committed; whether the primary of it is up is not known. */
    | { readonly kind: 'promoting'; readonly fresh: boolean }
}

export type Phase =
  | { readonly kind: 'vacant' }
  | { readonly kind: 'steady' }
  | {
      readonly kind: 'handing-over'
      readonly incident: OpenIncident
      readonly target: InstanceId
      readonly giveUpAt: Mono
    }
  | {
      readonly kind: 'committing'
      readonly to: number
      readonly target: InstanceId
      readonly fresh: boolean
      readonly incident: OpenIncident | undefined
      readonly attempt: number
    }
  | {
      readonly kind: 'promoting'
      readonly target: InstanceId
      readonly fresh: boolean
      readonly incident: OpenIncident | undefined
      /** How many times in a row this instance was tried before. */
      readonly attempt: number
    }
  | { readonly kind: 'routing'; readonly incident: OpenIncident; readonly fresh: boolean }
  | {
      readonly kind: 'relaunching'
      readonly incident: OpenIncident
      /** From then on an empty start is better than waiting for a copy that nobody hears of. */
      readonly emptyFrom: Mono
    }
  | { readonly kind: 'failed'; readonly why: string; readonly retryAt: Mono; readonly attempt: number }

export interface GroupMember {
  readonly instance: InstanceId
  readonly connected: boolean
  readonly heardAt: Mono
  /** The last heartbeat's number, and its send time on the member's own clock. */
  readonly beat: { readonly seq: number; readonly sentAt: Mono } | undefined
  /** Whether it holds the primary's state, in its own words since it connected. */
  readonly sync: Sync
  /** It held a whole copy when it was last heard. */
  readonly hadCopy: boolean
  /** Whether its stream is alive and close behind, in the primary's words. */
  readonly attached: boolean
  readonly lagBytes: number
  /** AWS will take the instance back at this moment. */
  readonly noticedBy: Mono | undefined
  readonly gone: boolean
  /** It gave an epoch up cleanly; its state may be used again if the next primary fails. */
  readonly released: boolean
  /** It was replaced for good and is never given anything to do again. */
  readonly retired: boolean
}

/** `unknown` until it has said so since it last connected. */
export type Sync = 'unknown' | 'none' | 'syncing' | 'ready'

export type GroupEvent =
  /** An instance enrolled for this agent. */
  | { readonly kind: 'joined'; readonly instance: InstanceId }
  /** A standby left for good: deleted by an operator, or terminated. */
  | { readonly kind: 'left'; readonly instance: InstanceId }
  | {
      readonly kind: 'connected'
      readonly instance: InstanceId
      readonly role: Role['kind']
      readonly epoch: number
      /** The greeting counts as a heartbeat. */
      readonly seq: number
      readonly sentAt: Mono
    }
  | { readonly kind: 'disconnected'; readonly instance: InstanceId }
  | {
      readonly kind: 'heartbeat'
      readonly instance: InstanceId
      readonly epoch: number
      readonly seq: number
      readonly sentAt: Mono
      /** How the member understands its lease, and the number of the grant that told it. */
      readonly lease: { readonly kind: 'none' | 'solo' | 'until'; readonly seq: number }
      /** From a primary: the replicas that receive from it. */
      readonly replicas: readonly {
        readonly instance: InstanceId
        readonly attached: boolean
        readonly lagBytes: number
      }[]
    }
  | { readonly kind: 'sync'; readonly instance: InstanceId; readonly sync: Exclude<Sync, 'unknown'> }
  /** AWS takes `instance` back, `left` from now. `prefer` is taken over by if it is ready. */
  | {
      readonly kind: 'notice'
      readonly instance: InstanceId
      readonly left: Millis
      readonly prefer?: InstanceId | undefined
    }
  /** AWS took the notice back. */
  | { readonly kind: 'notice-withdrawn'; readonly instance: InstanceId }
  /** An operator moves the agent; `mayPromote` (group.ts) has said that it can be done. */
  | {
      readonly kind: 'promote'
      readonly target: InstanceId
      readonly budget: Millis
      readonly keepOld: boolean
    }
  | {
      readonly kind: 'released'
      readonly instance: InstanceId
      readonly epoch: number
      readonly target: InstanceId
    }
  | {
      readonly kind: 'hand-over-failed'
      readonly instance: InstanceId
      readonly epoch: number
      readonly why: string
    }
  | { readonly kind: 'promoted'; readonly instance: InstanceId; readonly epoch: number }
  | {
      readonly kind: 'promotion-failed'
      readonly instance: InstanceId
      readonly epoch: number
      readonly why: string
    }
  /** The database took the change. */
  | { readonly kind: 'committed'; readonly epoch: number }
  /** The address leads to the primary of `epoch`. */
  | { readonly kind: 'routed'; readonly epoch: number }
  /** The cloud says that the machine has ended. */
  | { readonly kind: 'gone'; readonly instance: InstanceId }
  | { readonly kind: 'tick' }

export type GroupEffect =
  | { readonly kind: 'lease'; readonly instance: InstanceId; readonly grant: LeaseGrant }
  | { readonly kind: 'order'; readonly instance: InstanceId; readonly order: Order }
  | {
      readonly kind: 'commit'
      readonly from: number
      readonly to: number
      readonly target: InstanceId
      readonly previous: InstanceId | undefined
      readonly incident: OpenIncident | undefined
    }
  /** Cut the address's traffic to whoever has it at a lower epoch. */
  | { readonly kind: 'drain-address'; readonly epoch: number }
  | { readonly kind: 'point-address'; readonly epoch: number; readonly instance: InstanceId }
  /** An instance is needed: as a standby, or to start over when every copy is gone. */
  | {
      readonly kind: 'replica-wanted'
      readonly why: 'notice' | 'replaced' | 'lost'
      readonly incident: IncidentId | undefined
    }
  /** Ask the cloud whether the machine still exists. */
  | { readonly kind: 'check-instance'; readonly instance: InstanceId }
  | { readonly kind: 'incident-opened'; readonly incident: OpenIncident }
  /** It has to be over by another time than before. */
  | { readonly kind: 'incident-moved'; readonly incident: OpenIncident }
  | {
      readonly kind: 'incident-step'
      readonly incident: IncidentId
      readonly step: string
      readonly detail: string
    }
  | {
      readonly kind: 'incident-closed'
      readonly incident: OpenIncident
      readonly outcome: 'promoted' | 'relaunched' | 'failed'
      readonly why: string
    }

export interface GroupStep {
  readonly group: Group
  readonly effects: readonly GroupEffect[]
}

/** What a step may ask its surroundings: the time, and an id for an incident that it opens. */
export interface GroupContext {
  readonly now: Mono
  readonly newIncident: () => IncidentId
}
