import type { Certificate } from '../../failover/certificate.ts'
import type { LeasePolicy } from '../../failover/lease.ts'
import type { OnRebalance } from '../../protocol/agents.ts'

/** Ways to break the protocol on purpose: each must be caught, or the checks are worth nothing. */
export const SABOTAGES = [
  'lease-from-reply',
  'no-wait-after-restart',
  'vote-not-durable',
  'no-drift-margin',
  'vote-before-freeze',
  'clock-stops',
  'two-of-two',
  'late-vote',
  'lease-from-hand-over-receipt',
  'ignore-promise',
  'thaw-after-release',
  'one-lease-during-succession',
  'new-successor-knows-no-promise',
  'lease-in-doubt',
  'ack-while-voting',
  'resign-early',
  'silence-is-death',
  'succession-without-primary',
  'start-on-a-part',
] as const
export type Sabotage = (typeof SABOTAGES)[number]

/** What can happen to the world, beside the delays, losses and repetitions that messages always have. */
export const FAULT_KINDS = [
  'pause-machine',
  'pause-agent',
  'stop-clock',
  'kill-agent',
  'reboot',
  'end-instance',
  'cut-instance',
  'cut-pair',
  'cut-one-way',
  'cut-coordinator-link',
  'drop-session',
  'slow-disk',
  'notice',
  'notice-withdrawn',
  'planned-move',
  'coordinator-restart',
  'coordinator-pause',
  'coordinator-crash-at-vote',
  'coordinator-crash-after-vote',
  'coordinator-restored',
  'crash-at-effect',
  'replica-unready',
  'backup',
  'rebalance',
] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

/** One fault of a schedule. `who` picks the instance, `size` how much of it: both in [0, 1). */
export interface Fault {
  /** Instead of `who`: whoever is that by then. What takes two is between these two. */
  readonly target?: 'primary' | 'successor'
  readonly at: number
  readonly kind: FaultKind
  readonly who: number
  readonly size: number
}

/** What an agent is set to do of its own accord about standbys (policies.ts). */
export interface PolicySettings {
  readonly onRebalance: OnRebalance
  /** Standbys that are kept at all times. */
  readonly minReplicas: number
}

export interface WorldOptions {
  readonly seed: number
  /** Virtual milliseconds in which faults happen. */
  readonly duration?: number
  readonly policy?: LeasePolicy
  readonly keepTrace?: boolean
  readonly sabotage?: Sabotage
  /** Standbys are made and let go by these, and not always three members kept. */
  readonly policies?: PolicySettings
  /** Instead of those that the seed gives: for directed tests and for shrinking. */
  readonly faults?: readonly Fault[]
  /** Messages are neither lost nor late. */
  readonly calmNetwork?: boolean
  /** How many of all messages are late, by up to 900 ms. */
  readonly lateMessages?: number
}

export interface WorldResult {
  readonly seed: number
  readonly violations: readonly string[]
  /** Certificates that gave an instance a new term. */
  readonly elections: number
  /** Epochs that a frozen primary gave to its successor. */
  readonly handoffs: number
  readonly successions: number
  readonly certificates: readonly Certificate[]
  readonly closed: Readonly<Record<string, number>>
  /** How often each state, transition, message and fault came up. */
  readonly coverage: ReadonlyMap<string, number>
  /** Freezes of a workload whose primary had lost its lease. */
  readonly suspensions: number
  readonly trace: readonly string[]
  readonly faults: readonly Fault[]
  /** Longest time without a primary between the first election and the end of the faults, in virtual milliseconds. */
  readonly longestGap: number
}
