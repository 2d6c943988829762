import type { AppError } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import type { Clock, Millis } from '@understudy/shared/core/time'
import type { Upstream } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { PeerIdentity } from '../identity/identity.ts'
import { createReceiver } from './receiver.ts'
import type { SyncProgress } from './receiver-session.ts'
import { openReceiverStore } from './receiver-store.ts'
import { createSender } from './sender.ts'
import type { SessionLag } from './sender-session.ts'
import { createStateRoots } from './state-files.ts'

export type { SyncProgress } from './receiver-session.ts'
export type { SessionLag } from './sender-session.ts'
export { checkStateDirectories } from './state-files.ts'

/**
 * Keeps the state directories of one instance equal to another's. The role machine (agent/src/role) says in which
 * direction; nothing here knows about leases, hooks or the coordinator.
 */
export interface Replication {
  /** Where replicas dial in. */
  readonly port: number
  /** The state directories hold a whole copy of some moment, or the primary's own state. */
  readonly whole: boolean
  readonly progress: SyncProgress | null
  readonly trouble: AppError | undefined

  /** Primary: accept replicas of this epoch, once `allow` has named them. */
  serve(epoch: number): Promise<void>
  allow(epoch: number, replicas: readonly { instanceId: InstanceId; token: string }[]): void
  stopServing(): void
  /** @throws AppError when the replica is not close behind within the budget */
  drain(target: InstanceId, budget: Millis): Promise<void>
  /**
   * Everything up to here is on the replica's disk, compared name by name. The workload must be frozen.
   * @throws AppError when that cannot be had within the budget; `tolerant` lets unreadable names pass, counted
   */
  seal(target: InstanceId, budget: Millis, tolerant: boolean): Promise<{ seq: number; unreadable: number }>
  /** Waits until every replica that is attached has what is here now, or the budget is spent. */
  flush(budget: Millis): Promise<void>
  lags(): readonly { instance: InstanceId; lag: SessionLag }[]
  unreadable(): ReadonlyMap<string, string>

  /** Replica: receive from there, reconnecting until told otherwise. */
  follow(epoch: number, upstream: Upstream): void
  stopFollowing(): Promise<void>
  /** Puts everything received in place, durably; or moves what is there aside and begins with nothing. */
  finish(discard: boolean): Promise<void>

  close(): Promise<void>
}

export interface ReplicationOptions {
  readonly self: InstanceId
  /** What both ends of a stream show, and know each other by. */
  readonly identity: PeerIdentity
  readonly stateDirectories: readonly string[]
  readonly dataDirectory: string
  readonly host: string
  readonly port: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** The copy became whole, or stopped being so. */
  readonly onCopy: () => void
}

/**
 * Finishes what a crash left undone, then listens.
 * @throws AppError `port_in_use`, `state_unreadable`
 */
export async function openReplication(options: ReplicationOptions): Promise<Replication> {
  const { self, identity, stateDirectories, dataDirectory, host, port, clock, random, log, onCopy } = options
  const roots = createStateRoots(stateDirectories)
  const store = await openReceiverStore(roots, dataDirectory, log)
  const receiver = createReceiver({ identity, roots, store, clock, random, log, onCopy })
  const sender = createSender(roots, identity, clock, log)
  const listening = await sender.listen(host, port)

  return {
    port: listening.port,
    get whole() {
      return store.whole
    },
    get progress() {
      return receiver.progress
    },
    get trouble() {
      return receiver.trouble
    },
    async serve(epoch) {
      // What the primary has is the state, whatever it came from.
      await store.markWhole()
      sender.serve(epoch)
    },
    allow: (epoch, replicas) => sender.allow(epoch, replicas),
    stopServing: () => sender.stopServing(),
    drain: (target, budget) => sender.drain(target, budget),
    seal: (target, budget, tolerant) => sender.seal(target, budget, tolerant),
    async flush(budget) {
      const attached = sender.lags().filter(({ lag }) => lag.attached)
      // A replica that does not catch up has said so itself; nobody waits for it any longer.
      await Promise.allSettled(attached.map(({ instance }) => sender.seal(instance, budget, true)))
    },
    lags: () => sender.lags(),
    unreadable: () => sender.unreadable(),
    follow: (epoch, upstream) => receiver.follow(epoch, self, upstream),
    stopFollowing: () => receiver.stop(),
    finish: (discard) => receiver.finish(discard),
    async close() {
      await receiver.stop()
      await sender.close()
      await store.close()
    },
  }
}
