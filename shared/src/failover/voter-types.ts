import type { IncidentId, InstanceId } from '../core/ids.ts'
import type { Millis, Mono } from '../core/time.ts'
import type { CastVote, Certificate, Proposal, VoterId } from './certificate.ts'
import type { LeasePolicy } from './lease.ts'
import type { Lease, Left } from './member-types.ts'

/**
 * One instance's part in deciding who is primary: its votes, its promises, and, in office, its leases. The role of the
 * instance (member-types.ts) follows from it.
 *
 * States: `quiet` (just started, or in doubt of its clock: gives no vote), `learner` (no vote in the newest
 * certificate), `successor`, `candidate` (has votes and waits for its own), `in office` (primary by the newest
 * certificate), `resigned` (was, and never is again in that epoch).
 *
 * Invariants (voter.test.ts, and the simulation):
 * V1 at most one vote per epoch, ever; `voted.epoch` never decreases, also not over a restart;
 * V2 no vote for another than `promise.to` before the promise has run out, was given up by its holder, or is void
 *    because its holder has ended;
 * V3 a lease counts from when its holder sent what was answered;
 * V4 after a vote for somebody else, a resignation or a restart: never again in office in that term;
 * V5 who has voted for a change of successor and has not heard of its result needs a lease under both.
 */
export interface Voter {
  readonly self: InstanceId
  readonly record: VoterRecord
  /** Nobody else gets a vote before. */
  readonly promise: { readonly to: InstanceId; readonly until: Mono } | undefined
  /** No vote and no lease before: after a start, and while the clock is in doubt. */
  readonly quietUntil: Mono
  /** Ends of the leases that others have given, on our clock. */
  readonly leases: ReadonlyMap<VoterId, Mono>
  /** By voter: its own clock when it sent the last acknowledgement, for the lease that a release hands on. */
  readonly echoes: ReadonlyMap<VoterId, Mono>
  /** Votes for our own election that are not enough yet. */
  readonly candidate: Candidate | undefined
  /** Our vote for the successor, repeated until it is in office. */
  readonly released: (VoterMessage & { readonly kind: 'votes' }) | undefined
  /** The term in which the role was told that it is in office. */
  readonly announced: number
  readonly extras: ElectionExtras
  readonly policy: LeasePolicy
}

/** What must be on disk before any answer is sent. */
export interface VoterRecord {
  readonly certificate: Certificate | undefined
  /** The last ones, the newest at the end: what a coordinator has missed, or has lost. */
  readonly chain: readonly Certificate[]
  readonly voted: {
    readonly epoch: number
    readonly primary: InstanceId | undefined
    readonly digest: string
  }
  /** The change of successor that we voted for as primary, until its result is known. */
  readonly pending: Proposal | undefined
  /** Given up: this epoch and all before, and every office that began in one of them. */
  readonly resigned: number
}

export interface Candidate {
  readonly proposal: Proposal
  readonly votes: readonly CastVote[]
  readonly gone: readonly InstanceId[]
  readonly extras: ElectionExtras
}

/** What the winner of an election must know beside being one. */
export interface ElectionExtras {
  readonly incident: IncidentId | null
  /** What was received is to be thrown away. */
  readonly fresh: boolean
  /** Nothing forces it: who gave its epoch up was asked to, or ends in good order. */
  readonly planned?: boolean | undefined
  /** The old primary gave its epoch up once the winner had confirmed everything but this; absent where it did not. */
  readonly left?: Left | undefined
}

/** Between voters. Whoever delivers one has checked signatures and the sender. */
export type VoterMessage =
  /** From the primary to every peer; from everybody to the coordinator. */
  | {
      readonly kind: 'beat'
      readonly epoch: number
      readonly sentAt: Mono
      /** From a replica: its own promise to the primary still runs. */
      readonly hears: boolean
      /** It is primary by what it knows, and has not resigned. */
      readonly office: boolean
    }
  /** A promise for so long, counted by the holder from `sentAt`. `at` is the clock of who gives it. */
  | {
      readonly kind: 'ack'
      readonly epoch: number
      readonly sentAt: Mono
      readonly at: Mono
      readonly promise: Millis
    }
  /** No promise: who was asked has voted in a later epoch, or knows a later certificate. */
  | { readonly kind: 'behind'; readonly voted: number; readonly certificate: Certificate | null }
  | { readonly kind: 'certificate'; readonly certificate: Certificate }
  /** Votes for the receiver's own election. */
  | {
      readonly kind: 'votes'
      readonly proposal: Proposal
      /** What it follows, for a receiver that has missed it. */
      readonly base: Certificate | null
      readonly votes: readonly CastVote[]
      /** Voters that the cloud says have ended, or that have resigned. */
      readonly gone: readonly InstanceId[]
      readonly extras: ElectionExtras
    }
  /** Asks for a vote. */
  | {
      readonly kind: 'ask'
      readonly proposal: Proposal
      readonly base: Certificate | null
      readonly gone: readonly InstanceId[]
      readonly sentAt: Mono | null
    }
  | { readonly kind: 'vote'; readonly proposal: Proposal; readonly vote: CastVote }
  | { readonly kind: 'declined'; readonly epoch: number; readonly voted: number; readonly why: string }

export type VoterEvent =
  | { readonly kind: 'message'; readonly from: VoterId; readonly message: VoterMessage }
  /** Time for a heartbeat. */
  | { readonly kind: 'pulse' }
  /** The role has frozen its workload and the successor has confirmed its state: the epoch is given to it. */
  | {
      readonly kind: 'release'
      readonly turn: number
      readonly target: InstanceId
      readonly extras: ElectionExtras
    }
  /** The role cannot, or must not, go on in `epoch`. */
  | { readonly kind: 'resign'; readonly epoch: number }
  /** Asks the successor for an epoch of our own: we were restarted, and the coordinator is away. */
  | { readonly kind: 'campaign' }
  /** The clocks of this machine disagree, or it stood still. */
  | { readonly kind: 'tilt' }

export type VoterEffect =
  /** On disk before any later effect of the same step. */
  | { readonly kind: 'persist'; readonly record: VoterRecord }
  | { readonly kind: 'send'; readonly to: VoterId; readonly message: VoterMessage }
  /** To every peer that is connected. */
  | { readonly kind: 'broadcast'; readonly message: VoterMessage }
  /** In office, with a lease: bring the workload up. */
  | { readonly kind: 'elected'; readonly certificate: Certificate; readonly extras: ElectionExtras }
  /** Still in office, in a later epoch. */
  | { readonly kind: 'advanced'; readonly certificate: Certificate }
  /** Somebody else is primary. */
  | { readonly kind: 'deposed'; readonly certificate: Certificate }
  /** A certificate that the coordinator may not know. */
  | { readonly kind: 'certified'; readonly certificate: Certificate; readonly extras: ElectionExtras }
  /** The answer to `release`; with it the vote that the coordinator may need. */
  | {
      readonly kind: 'released'
      readonly turn: number
      readonly ok: boolean
      readonly why: string
      readonly vote: { readonly proposal: Proposal; readonly vote: CastVote } | undefined
    }

export interface VoterStep {
  readonly voter: Voter
  readonly effects: readonly VoterEffect[]
}

export interface VoterContext {
  readonly now: Mono
  /** Ed25519 by this instance's own key. */
  readonly sign: (proposal: Proposal) => string
  readonly digest: (proposal: Proposal) => string
}

export type { Lease }
