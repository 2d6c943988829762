import type { InstanceId } from '../../core/ids.ts'
import type { Random } from '../../core/random.ts'
import type { Proposal } from '../../failover/certificate.ts'
import type { GroupEvent } from '../../failover/group.ts'
import type { LeasePolicy } from '../../failover/lease.ts'
import type { EventQueue } from '../event-queue.ts'
import type { Center } from './center.ts'
import type { Instance } from './instance.ts'
import type { Judge } from './judge.ts'
import type { Network } from './network.ts'
import type { Sabotage } from './options.ts'

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
  readonly digest: (proposal: Proposal) => string
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
