import type { AgentId, IncidentId, InstanceId } from '../core/ids.ts'
import type { Millis, Mono } from '../core/time.ts'
import type { CastVote, Certificate, Proposal } from './certificate.ts'
import type { LeasePolicy } from './lease.ts'
import type { Role } from './member-types.ts'
import type { Order } from './orders.ts'
import type { ElectionExtras, VoterMessage } from './voter-types.ts'

/**
 * The coordinator's part in deciding who is primary of one agent: its own vote, and what it asks of the others.
 *
 * - `vacant`: no primary yet; the first member that connects gets epoch 1.
 * - `steady`: the primary of `epoch` has it; how well it is, its heartbeats tell.
 * - `asking`: another voter's vote is needed first.
 * - `voting`: our own vote is being written, as soon as nothing that we promised is in its way.
 * - `electing`: we have voted; the candidate adds its own vote when nothing that it promised is in its way.
 * - `handing-over`: the primary was told to give the epoch to `target`. It still owns it.
 * - `promoting`: `target` owns the epoch and is bringing the workload up.
 * - `routing`: the workload is up; the address is being pointed at it.
 * - `relaunching`: the primary is lost and nobody can be elected yet: waiting for a copy of the state, a vote, or an
 *   instance that can start from nothing.
 * - `failed`: the only copy of the state could not start; it is tried again at `retryAt`.
 *
 * Invariants (group.test.ts, failover.simulation.test.ts):
 * G1 one vote per epoch, in the database before anybody hears of it;
 * G2 no vote for another than `promise.to` before the promise has run out, unless its holder has voted for it too, has
 *    resigned, or has ended by the cloud's word;
 * G3 nobody is elected without two votes of three, but where every other voter has ended, resigned or consented;
 * G4 a member that the cloud says is gone is never a target, and one with an open notice only as the successor of a
 *    primary that is lost, or with the only copy that is left;
 * G5 nothing starts from nothing while a copy may still exist: only on an instance that says it has none, and after
 *    every member that had one is gone or has been waited for;
 * G6 a certificate that others have made without us is taken as it is: we never correct a later epoch.
 */
export interface Group {
  readonly agent: AgentId
  /** The newest certificate; `epoch` and `primary` are its own, 0 and undefined before the first. */
  readonly certificate: Certificate | undefined
  readonly epoch: number
  readonly primary: InstanceId | undefined
  /** The last epoch in which we have voted, and for whom. */
  readonly voted: { readonly epoch: number; readonly primary: InstanceId | undefined }
  /** A vote of ours that is on its way to the database: it counts against everybody else, and for nobody yet. */
  readonly casting: { readonly epoch: number; readonly primary: InstanceId } | undefined
  /** Our own public key, for those who check our votes. */
  readonly key: string
  readonly phase: Phase
  readonly members: ReadonlyMap<InstanceId, GroupMember>
  /** Who may be running on our word, and until when. */
  readonly promise: { readonly to: InstanceId; readonly until: Mono } | undefined
  /** Until when promises of an earlier process of ours may be outstanding. */
  readonly silentUntil: Mono
  /** Our memory is older than what a member remembers of us: no vote until each of these has told what it knows. */
  readonly abstainFor: ReadonlySet<InstanceId>
  /** A notice on the primary that no replica was ready for; or its silence, as long as nobody could be elected. */
  readonly waiting: OpenIncident | undefined
  /** When we last looked at the time. */
  readonly tickedAt: Mono
  /** The last term in which this process has heard the primary speak of its replicas; a renewal leaves it as good. */
  readonly vouchedIn: number
  /** The workload of the primary has been up since it took over: nobody who gave it the state has all of it any more. */
  readonly wasUp: boolean
  /** Another change of successor is not tried before. */
  readonly successionFrom: Mono
  readonly policy: LeasePolicy
}

/** What started an incident. `notice` is AWS's word, `silence` missed heartbeats, `planned` an operator's, `drill` a rehearsal. */
export type Trigger = 'notice' | 'silence' | 'planned' | 'drill'

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
  readonly at: /** For a replica that can take over; after a silence, also for a word of the primary itself. */
    | { readonly kind: 'waiting' }
    /** The primary was told to hand over; it may have done so meanwhile. */
    | { readonly kind: 'handing-over'; readonly target: InstanceId }
    /** The epoch was certified; whether the primary of it is up is not known. */
    | { readonly kind: 'promoting'; readonly fresh: boolean }
}

/** What follows when a change is certified. */
export type Then =
  | {
      readonly kind: 'promote'
      readonly incident: OpenIncident | undefined
      readonly fresh: boolean
      /** How many times in a row this instance was tried before. */
      readonly attempt: number
    }
  | { readonly kind: 'steady' }
  | { readonly kind: 'hand-over'; readonly incident: OpenIncident; readonly target: InstanceId }

/** A change that does not have its votes yet. */
export interface OpenChange {
  readonly proposal: Proposal
  readonly votes: readonly CastVote[]
  /** Voters that need not be waited for: ended, or resigned. */
  readonly gone: readonly InstanceId[]
  readonly then: Then
}

export type Phase =
  | { readonly kind: 'vacant' }
  | { readonly kind: 'steady' }
  | {
      readonly kind: 'asking'
      readonly change: OpenChange
      readonly of: InstanceId
      readonly againAt: Mono
      readonly giveUpAt: Mono
    }
  | { readonly kind: 'voting'; readonly change: OpenChange; readonly isBeingWritten: boolean }
  | {
      readonly kind: 'electing'
      readonly change: OpenChange
      readonly since: Mono
      readonly againAt: Mono
      readonly giveUpAt: Mono
    }
  | {
      readonly kind: 'handing-over'
      readonly incident: OpenIncident
      readonly target: InstanceId
      readonly giveUpAt: Mono
    }
  | {
      readonly kind: 'promoting'
      readonly target: InstanceId
      readonly fresh: boolean
      readonly incident: OpenIncident | undefined
      /** How many times in a row this instance was tried before. */
      readonly attempt: number
      /** What it is told until it is up; undefined when it has told us. */
      readonly offer: VoterMessage | undefined
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
  /** When it sent its last heartbeat, on its own clock. */
  readonly sentAt: Mono | undefined
  /** Its public key, as it said when it connected. */
  readonly key: string | undefined
  /** A replica says that the primary still has its promise. */
  readonly hears: boolean
  /** The latest epoch in which it has voted, as far as it said. */
  readonly voted: number
  /** It is never active again in this epoch, nor in any before. */
  readonly resigned: number
  /** Since when its heartbeats say so of the present epoch; why, its next report tells. */
  readonly outSince: Mono | undefined
  /** When it could last have taken over. */
  readonly readyAt: Mono | undefined
  /** Whether it holds the primary's state, in its own words since it connected. */
  readonly sync: Sync
  /** It held a whole copy when it was last heard. */
  readonly hadCopy: boolean
  /** Whether its stream is alive and close behind, in the primary's words. */
  readonly attached: boolean
  readonly lagBytes: number
  /** Its place by risk and price, as the coordinator's owner of such things has it; 0 for the best, and for all if nobody said. */
  readonly merit: number
  /** AWS will take the instance back at this moment. */
  readonly noticedBy: Mono | undefined
  readonly gone: boolean
  /** It was the last to give an epoch up cleanly; its state may be used again if the next primary fails. */
  readonly released: boolean
  /** It was replaced for good and is never given anything to do again. */
  readonly retired: boolean
  /** It was deleted or has ended, and is kept only as long as it has a vote. */
  readonly left: boolean
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
      readonly sentAt: Mono
      readonly key: string
      /** The last ones that it knows, the newest at the end. */
      readonly chain: readonly Certificate[]
      readonly voted: number
      readonly resigned: number
    }
  | { readonly kind: 'disconnected'; readonly instance: InstanceId }
  | {
      readonly kind: 'beat'
      readonly instance: InstanceId
      readonly epoch: number
      readonly sentAt: Mono
      readonly hears: boolean
      readonly office: boolean
    }
  /** From a primary: the replicas that receive from it. */
  | {
      readonly kind: 'status'
      readonly instance: InstanceId
      readonly epoch: number
      readonly replicas: readonly {
        readonly instance: InstanceId
        readonly attached: boolean
        readonly lagBytes: number
      }[]
    }
  /** An answer to what we asked, or a certificate that we may not know. */
  | {
      readonly kind: 'voter'
      readonly instance: InstanceId
      readonly message: VoterMessage
      readonly extras?: ElectionExtras
    }
  /**
   * A member remembers more of us than our database does. `voted`: an epoch beyond all that may have been lost, in the
   * database already.
   */
  | { readonly kind: 'outdated'; readonly voted: number }
  /** Standbys by risk and price, the best first: whom to take of those that are equally close behind. */
  | { readonly kind: 'appraised'; readonly order: readonly InstanceId[] }
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
      /** `planned` if not said. */
      readonly trigger?: 'planned' | 'drill'
    }
  | {
      readonly kind: 'released'
      readonly instance: InstanceId
      readonly epoch: number
      readonly target: InstanceId
      /** Its vote for the target. */
      readonly vote: { readonly proposal: Proposal; readonly vote: CastVote }
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
      /** It has only a part of a copy. */
      readonly incomplete?: boolean | undefined
    }
  /** Our vote in this epoch is in the database. */
  | { readonly kind: 'voted'; readonly epoch: number; readonly signature: string }
  /** Our vote in this epoch must not be given: the database has one in `voted`, that one or a later one. */
  | { readonly kind: 'vote-refused'; readonly epoch: number; readonly voted: number }
  /** The address leads to the primary of `epoch`. */
  | { readonly kind: 'routed'; readonly epoch: number }
  /** The cloud says that the machine has ended. */
  | { readonly kind: 'gone'; readonly instance: InstanceId }
  | { readonly kind: 'tick' }

export type GroupEffect =
  | { readonly kind: 'tell'; readonly instance: InstanceId; readonly message: VoterMessage }
  | { readonly kind: 'order'; readonly instance: InstanceId; readonly order: Order }
  /** Write our vote, then say `voted`. With `record` it completes the certificate, which is written with it. */
  | {
      readonly kind: 'vote'
      readonly proposal: Proposal
      readonly votes: readonly CastVote[]
      readonly record: RecordFacts | undefined
    }
  /** A certificate that was completed elsewhere: written once, whoever brings it again. */
  | { readonly kind: 'record'; readonly certificate: Certificate; readonly facts: RecordFacts }
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

/** What the record of a change of primary says beside the certificate. */
export interface RecordFacts {
  readonly previous: InstanceId | undefined
  readonly incident: OpenIncident | undefined
  readonly fresh: boolean
}

export interface GroupStep {
  readonly group: Group
  readonly effects: readonly GroupEffect[]
}

/** What a step may ask its surroundings: the time, and an id for an incident that it opens. */
export interface GroupContext {
  readonly now: Mono
  readonly newIncident: () => IncidentId
  readonly digest: (proposal: Proposal) => string
}
