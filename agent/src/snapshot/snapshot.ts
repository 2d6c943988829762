import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { type Clock, instant, seconds } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { DataDirectory } from '../config/data-directory.ts'
import type { AgentConfig } from '../config/options.ts'
import { openStore } from './open-store.ts'
import { createRecovery, type Recovery } from './recovery.ts'
import { type RestoreSurroundings, restore } from './restore.ts'
import { openRestoreMark } from './restore-mark.ts'
import { createSnapshotService, type Situation, type SnapshotService } from './snapshot-service.ts'
import { createSnapshotStore, type SnapshotStore } from './snapshot-store.ts'
import { createSnapshotWriter } from './snapshot-writer.ts'
import { openState } from './state.ts'
import { discardedIn } from './state-directories.ts'

export { createEmergencySnapshot } from './emergency-snapshot.ts'
export type { Recovery } from './recovery.ts'
export { describeRestored, throughOf } from './restore.ts'
export { listSnapshots, restoreCommand, snapshotCommand } from './snapshot-commands.ts'
export { type SnapshotService, situationOf, snapshotStatusSchema } from './snapshot-service.ts'
export { snapshotRoutes } from './snapshot-socket.ts'

/**
 * Keeps the state of an agent outside its instances: the same stream that a replica gets, as objects in a store. Made
 * while no replica follows; put in place where a new instance would begin with nothing.
 */
export interface AgentSnapshots {
  /** Undefined when no store is configured. */
  readonly service: SnapshotService | undefined
  readonly recovery: Recovery
  close(): void
}

export interface SnapshotSurroundings {
  readonly config: AgentConfig
  readonly data: DataDirectory
  readonly agent: AgentId
  readonly instance: InstanceId
  readonly situation: () => Situation
  readonly clock: Clock
  readonly log: Logger
}

/** @throws AppError `config_invalid`, `state_unreadable`; a store that cannot be reached shows as degraded later */
export async function openSnapshots(parts: SnapshotSurroundings): Promise<AgentSnapshots> {
  const { config, agent, instance, clock, log, situation } = parts
  const mark = openRestoreMark(parts.data.restore)
  if (config.snapshot_store === undefined)
    return { service: undefined, recovery: createRecovery({ mark, restore: undefined, log }), close() {} }
  const store = createSnapshotStore(await openStore(config, clock), agent)
  const state = await openState(config.workload, log)
  const surroundings: RestoreSurroundings = {
    store,
    state,
    mark,
    discarded: discardedIn(parts.data.replication),
    clock,
    log,
  }
  return {
    service: createSnapshotService({
      storeName: store.name,
      writer: createSnapshotWriter({
        store,
        agent,
        instance,
        state,
        keep: config.snapshot_keep,
        clock,
        log,
      }),
      interval: seconds(config.snapshot_interval),
      always: config.snapshot_always,
      situation,
      clock,
      log,
    }),
    recovery: createRecovery({
      mark,
      restore: config.snapshot_restore ? (order) => restore(surroundings, order) : undefined,
      log,
    }),
    close: () => store.close(),
  }
}

/**
 * What doctor says of the store: that it can be read and written, and how old the newest snapshot is.
 * @throws AppError
 */
export async function checkStore(
  config: AgentConfig,
  agent: string | undefined,
  clock: Clock,
): Promise<string> {
  const store = await openStore(config, clock)
  const signal = AbortSignal.timeout(15_000)
  try {
    const probe = `doctor/${process.pid}-${Math.round(clock.now())}`
    await store.put(probe, Buffer.from('written by understudy-agent doctor\n'), signal)
    await store.remove([probe], signal)
    await store.sweep('doctor/', instant(clock.now() - seconds(3600)), signal)
    if (agent === undefined) return `${store.name} can be written`
    return `${store.name} can be written, ${await newestIn(createSnapshotStore(store, agent), clock, signal)}`
  } finally {
    store.close()
  }
}

async function newestIn(store: SnapshotStore, clock: Clock, signal: AbortSignal): Promise<string> {
  const [first, ...others] = await store.names(signal)
  if (!first) return 'no snapshot yet'
  const age = Math.round((clock.now() - first.takenAt.getTime()) / 1000)
  return `the newest of ${others.length + 1} snapshots is ${age} s old`
}
