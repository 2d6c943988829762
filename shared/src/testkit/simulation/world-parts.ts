import type { InstanceId } from '../../core/ids.ts'
import type { Random } from '../../core/random.ts'
import type { Mono } from '../../core/time.ts'
import type { Proposal, VoterId } from '../../failover/certificate.ts'
import type { Group, GroupEvent } from '../../failover/group.ts'
import type { LeasePolicy } from '../../failover/lease.ts'
import type { Lease, Member, MemberEvent } from '../../failover/member-types.ts'
import type { Voter, VoterEffect, VoterEvent, VoterMessage, VoterRecord } from '../../failover/voter.ts'
import type { EventQueue } from '../event-queue.ts'
import type { Judge, ToldIncident } from './judge.ts'
import type { Network } from './network.ts'
import type { Sabotage } from './options.ts'

/** A report that the coordinator has not acknowledged. */
interface Waiting {
  readonly id: number
  readonly event: GroupEvent
}

/** One machine: agent, workload, guard and disk. Its state is a counter that the running workload counts up. */
export interface Instance {
  readonly id: InstanceId
  readonly rate: number
  offset: number
  voter: Voter
  member: Member
  /** What survives the end of the agent. */
  disk: { record: VoterRecord | undefined; epoch: number; active: boolean }
  data: number
  up: boolean
  gone: boolean
  asleep: 'agent' | 'machine' | undefined
  /** Processes of the workload may be doing something. */
  running: boolean
  /** They were stopped beyond the end of the lease, and the guard has not looked at its clock yet. */
  late: boolean
  inbox: (() => void)[]
  /** Grows whenever what was begun is void. */
  life: number
  hook: number
  /** The link to the coordinator, in order; a new number with each connection. */
  session: number
  linked: boolean
  outbox: Waiting[]
  reportId: number
  following: InstanceId | undefined
  catchUp: number
  /** It holds a whole copy of some moment. */
  whole: boolean
  /** A copy was begun and is not whole: nothing may be started on it. */
  partial: boolean
  told: boolean
  noticed: boolean
  slowDiskUntil: number
  /** The thread of the voter waits for its disk: what it says and does comes after that, in order. */
  writingUntil: number
  /** Something bad happens at one of its next effects. */
  crashArmed: boolean
  lease: Lease
  /** True time at which the guard ends the workload; nothing while it is not armed. */
  guardAt: number | undefined
  tickAt: number
  /** Its own, for the successor, of the last hand-over. */
  releaseVote: (VoterEffect & { kind: 'released' })['vote']
}

/** The coordinator: the group machine, its database, and the cloud that it asks. */
export interface Center {
  readonly up: boolean
  readonly group: Group
  readonly closed: Record<string, number>
  now(): Mono
  dispatch(event: GroupEvent): void
  onVoterMessage(from: InstanceId, message: VoterMessage): void
  joined(instance: InstanceId): void
  restart(length: number, restored?: boolean): void
  pause(length: number): void
  /** The process ends at its next vote: before or after it is in the database. */
  armCrash(when: 'before' | 'after'): void
  planned(): void
  /** Its standby is ended by us: it is no member any more. */
  letGo(instance: InstanceId): void
  takeBackup(): void
  isRecorded(digest: string): boolean
  /** All that were ever opened, once for each time. */
  readonly opened: readonly ToldIncident[]
}

/** Who looks after the standbys on the coordinator's behalf (policies.ts). */
export interface Deputy {
  /** Of the coordinator's process, ten times a second while it runs. */
  tick(): void
  /** AWS recommends to leave the instance; a notice follows with this probability. */
  recommend(instance: Instance, probability: number): void
  /** The core wants a standby. */
  wanted(): void
  /** Everything that is to be kept is there. */
  isSatisfied(): boolean
}

/** What the parts of one simulated world know of each other. */
export interface World {
  readonly queue: EventQueue
  readonly random: Random
  readonly policy: LeasePolicy
  readonly network: Network
  readonly judge: Judge
  readonly sabotage: Sabotage | undefined
  readonly instances: Map<InstanceId, Instance>
  readonly center: Center
  /** Who looks after the standbys, where the schedule has somebody. */
  readonly deputy: Deputy | undefined
  readonly digest: (proposal: Proposal) => string
  toVoter(instance: Instance, event: VoterEvent): void
  toMember(instance: Instance, event: MemberEvent): void
  /** Whatever a voter says, on its way to another. */
  send(from: VoterId, to: VoterId, message: VoterMessage): void
  note(text: string): void
  /** Counts something that ought to happen in some schedule; `which` of its kind. */
  hit(what: string, which?: string): void
  /** Somebody has begun or stopped to do something. */
  changed(): void
  /** Its lease is another one. */
  leased(instance: Instance): void
  suspended(instance: Instance): void
  /** The agent process ends; with it, by its guard, the workload. */
  kill(instance: Instance, why: string): void
  sayCopy(instance: Instance): void
  /** Over the link, in order; with a number it is repeated until it is acknowledged. */
  toCenter(instance: Instance, event: GroupEvent, reportId?: number): void
  follows(target: InstanceId, primary: Instance): boolean
  /** `replica` has all that was ever acknowledged to a client of this primary. */
  hasEverything(primary: Instance, replica: InstanceId): boolean
  tookOver(instance: Instance): void
  /** Its clocks disagree. */
  tilt(instance: Instance): void
  moveByItself(instance: Instance, left: number): void
}
