import type { AppError } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { type Clock, type Millis, minutes } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { PeerIdentity } from '../identity/identity.ts'
import { createReceiver, type StreamSource } from './receiver.ts'
import type { SyncProgress } from './receiver-session.ts'
import { openReceiverStore } from './receiver-store.ts'
import { createSelection, type SelectionPatterns } from './selection.ts'
import { createSender, type Sealed, type SenderLimits } from './sender.ts'
import type { SessionLag } from './session-types.ts'
import { createStateRoots } from './state-files.ts'
import { openXattrs } from './xattrs.ts'

export { createApplier } from './applier.ts'
export { batchesFor } from './batches.ts'
export { createCompressor } from './compression.ts'
export { forgetCopy, vouchForCopy, writeDurably } from './copy-mark.ts'
export { checkFrame, packFrame, unpackBody } from './frames.ts'
export type { SyncProgress } from './receiver-session.ts'
export { createScanner, type Scanner } from './scanner.ts'
export { createSelection } from './selection.ts'
export type { Sealed, SenderLimits } from './sender.ts'
export type { SessionLag } from './session-types.ts'
export { checkStateDirectories, createStateRoots, type StateRoots } from './state-files.ts'
export {
  addToTree,
  type Key,
  manifestOf,
  type ReadonlyTree,
  StateTree,
  treeDigest,
} from './state-tree.ts'
export { openXattrs, type Xattrs } from './xattrs.ts'

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
   * @throws AppError when that cannot be had within the budget; `tolerant` lets pass, counted, names that cannot be
   * read and what there is no time for
   */
  seal(target: InstanceId, budget: Millis, tolerant: boolean): Promise<Sealed>
  /** Waits until every replica that is attached has what is here now, or the budget is spent. */
  flush(budget: Millis): Promise<void>
  /**
   * Everything that was written before the call is on the disks of the replicas that are returned: all `keepers`,
   * and where there is none at least one.
   * @throws AppError `conflict` when this instance is not primary, `not_ready` when no replica has it in time,
   * `state_unreadable` when a name cannot be read, unless that is tolerated
   */
  commit(
    budget: Millis,
    keepers?: () => readonly InstanceId[],
    tolerant?: boolean,
  ): Promise<readonly InstanceId[]>
  /**
   * Captures the state while `hold` keeps the workload still, and sends it as one group that the replica puts in
   * place as a whole.
   * @throws AppError `not_ready` or `conflict` when a replica could not get it; what `hold` throws
   */
  cut(hold: (capture: () => Promise<void>) => Promise<void>): Promise<void>
  lags(): readonly { instance: InstanceId; lag: SessionLag }[]
  unreadable(): ReadonlyMap<string, string>

  /** Replica: receive from there, reconnecting until told otherwise. */
  follow(epoch: number, upstream: StreamSource): void
  stopFollowing(): Promise<void>
  /**
   * Puts everything received in place, durably; or moves what is there aside and begins with what `refill` puts there.
   */
  finish(discard: boolean, refill?: () => Promise<void>): Promise<void>

  close(): Promise<void>
}

export interface ReplicationOptions {
  readonly self: InstanceId
  /** What both ends of a stream show, and know each other by. */
  readonly identity: PeerIdentity
  readonly stateDirectories: readonly string[]
  /** Which names below them are replicated; all by default. */
  readonly selection?: SelectionPatterns
  /** The agent's own record: replicated as well, in full, and never moved aside. */
  readonly recordDirectory?: string
  readonly limits?: Partial<SenderLimits>
  readonly dataDirectory: string
  readonly host: string
  readonly port: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** The copy became whole, or stopped being so. */
  readonly onCopy: () => void
}

const DEFAULT_LIMITS: SenderLimits = {
  memoryBytes: 64 * 1024 * 1024,
  bytesPerSecond: 0,
  cutsOnly: false,
  verify: { every: minutes(10), share: 50 },
}

/**
 * Finishes what a crash left undone, then listens.
 * @throws AppError `port_in_use`, `state_unreadable`
 */
export async function openReplication(options: ReplicationOptions): Promise<Replication> {
  const { self, identity, stateDirectories, recordDirectory, dataDirectory, clock, random, log, onCopy } =
    options
  const selection = createSelection(options.selection ?? { include: [], exclude: [], priority: [] })
  const directories = [...stateDirectories, ...(recordDirectory === undefined ? [] : [recordDirectory])]
  const roots = createStateRoots(directories, selection, stateDirectories.length)
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const xattrs = await openXattrs(log)
  const store = await openReceiverStore(roots, dataDirectory, xattrs, log)
  const receiver = createReceiver({ identity, roots, store, xattrs, clock, random, log, onCopy })
  const sender = createSender({ identity, roots, xattrs, limits, clock, log })
  const listening = await sender.listen(options.host, options.port)

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
    flush: (budget) => sender.flush(budget),
    commit: (budget, keepers = () => [], tolerant = false) => sender.commit(budget, keepers, tolerant),
    cut: (hold) => sender.cut(hold),
    lags: () => sender.lags(),
    unreadable: () => sender.unreadable(),
    follow: (epoch, upstream) => receiver.follow(epoch, self, upstream),
    stopFollowing: () => receiver.stop(),
    finish: (discard, refill) => receiver.finish(discard, refill),
    async close() {
      await receiver.stop()
      await sender.close()
      await store.close()
    },
  }
}
