import { setImmediate } from 'node:timers/promises'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours, type Millis } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { Kysely, Schema } from '../storage/database.ts'

/** Forgets decisions of the Lab, and what came of switches, after a time. */
export interface LabRetention extends Service {
  /** Returns how many rows went. */
  purge(signal?: AbortSignal): Promise<number>
}

const EVERY = hours(6)
/** Rows of one deletion: others wait no longer than it takes. */
const SLICE = 1000

/** @param parts.kept how long; what belongs to an experiment stays as long after its end */
export function createLabRetention(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly kept: Millis
}): LabRetention {
  const { db, clock, log, kept } = parts

  async function logs(before: number): Promise<number> {
    const old = db
      .selectFrom('experiment_logs as own')
      .leftJoin('experiments as experiment', 'experiment.id', 'own.experiment_id')
      .select('own.id')
      .where('own.execution_time', '<', before)
      .where((eb) => eb.or([eb('experiment.id', 'is', null), eb('experiment.ended_at', '<', before)]))
      .orderBy('own.execution_time')
      .limit(SLICE)
    const { numDeletedRows } = await db
      .deleteFrom('experiment_logs')
      .where('id', 'in', old)
      .executeTakeFirst()
    return Number(numDeletedRows)
  }

  async function switches(before: number): Promise<number> {
    const { numDeletedRows } = await db
      .deleteFrom('realised_savings')
      .where('switched_at', '<', before)
      .where('settled_at', 'is not', null)
      .executeTakeFirst()
    return Number(numDeletedRows)
  }

  async function purge(signal = new AbortController().signal): Promise<number> {
    const before = clock.now() - kept
    let gone = await switches(before)
    for (let last = SLICE; last === SLICE; ) {
      signal.throwIfAborted()
      last = await logs(before)
      gone += last
      await setImmediate()
    }
    return gone
  }

  return {
    name: 'lab-retention',
    purge,
    run: (signal) =>
      everyPeriod(clock, EVERY, signal, async () => {
        try {
          const gone = await purge(signal)
          if (gone > 0) log.info({ event: 'lab.purged', gone })
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'lab.purge_failed', err: error })
        }
      }),
  }
}
