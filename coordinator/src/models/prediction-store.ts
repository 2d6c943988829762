import { setImmediate } from 'node:timers/promises'
import { type Instant, minutes } from '@understudy/shared/core/time'
import type { Interval } from '@understudy/shared/market/interval'
import { sql } from 'kysely'
import { insertRows } from '../storage/bulk.ts'
import type { Kysely, PredictionRow, PredictionRunRow, Schema } from '../storage/database.ts'
import { LOSSES_KEPT } from './drift-watch.ts'

export type NewRun = Omit<PredictionRunRow, 'id' | 'pools' | 'left_out'> & {
  readonly left: Readonly<Record<string, number>>
  /** For which it was made; null for none. */
  readonly experiment: string | null
}
export interface NewPrediction {
  readonly poolId: string
  readonly p: number
  readonly featuresHash: string
  readonly filled: number
}

/** A prediction with what its run and its pool say. */
export type StoredPrediction = PredictionRow &
  Pick<PredictionRunRow, 'model_id' | 'model_sha256' | 'answered_by' | 'horizon_ms' | 'threshold'> & {
    readonly pool_id: string
  }

/** What models have said. */
export interface PredictionStore {
  /** Returns the number of the run. Runs come one after another. */
  add(run: NewRun, rows: readonly NewPrediction[]): Promise<number>
  /** Of one pool, by the active version, the earliest first. */
  ofPool(poolId: string, range: Interval, limit: number): Promise<readonly StoredPrediction[]>
  /** Of all pools by the last run of the active version, in the order of their names. */
  latest(after: string | undefined, limit: number): Promise<readonly StoredPrediction[]>
  lastRun(): Promise<PredictionRunRow | undefined>
  /** When the last run was made, of any model. */
  newest(): Promise<number | undefined>
  /** Marks what the active version had last said of a pool, where it is of the last half hour. False where it is not. */
  markActed(poolId: string, at: Instant): Promise<boolean>
  /** Deletes what is older. Returns how many rows went. */
  purge(before: Instant, signal?: AbortSignal): Promise<number>
}

const CHUNK = 2000
const COLUMNS = {
  run: 'bigint',
  pool: 'bigint',
  at: 'bigint',
  p: 'double precision',
  features_hash: 'text',
  filled: 'double precision',
  experiment: 'text',
} as const

/** As long as the last word of a model counts. */
const VALID = minutes(30)

export function createPredictionStore(db: Kysely<Schema>): PredictionStore {
  const numbers = new Map<string, number>()

  async function numberOf(poolIds: readonly string[]): Promise<ReadonlyMap<string, number>> {
    if (poolIds.some((id) => !numbers.has(id)))
      for (const { id, pool_id } of await db.selectFrom('pools').select(['id', 'pool_id']).execute())
        numbers.set(pool_id, id)
    return numbers
  }

  const joined = () =>
    db
      .selectFrom('predictions_log as l')
      .innerJoin('prediction_runs as r', 'r.id', 'l.run')
      .innerJoin('pools', 'pools.id', 'l.pool')
      .selectAll('l')
      .select([
        'r.model_id',
        'r.model_sha256',
        'r.answered_by',
        'r.horizon_ms',
        'r.threshold',
        'pools.pool_id',
      ])

  const lastRun = () =>
    db
      .selectFrom('prediction_runs')
      .selectAll()
      .where('alias', '=', 'active')
      .orderBy('at', 'desc')
      .limit(1)
      .executeTakeFirst()

  return {
    async add({ left, experiment, ...run }, rows) {
      const pools = await numberOf(rows.map(({ poolId }) => poolId))
      const last = await db
        .selectFrom('prediction_runs')
        .select((eb) => eb.fn.max('id').as('id'))
        .executeTakeFirst()
      const id = Number(last?.id ?? 0) + 1
      await db
        .insertInto('prediction_runs')
        .values({ ...run, id, pools: rows.length, left_out: JSON.stringify(left) })
        .execute()
      const values = rows.flatMap(({ poolId, p, featuresHash, filled }) => {
        const pool = pools.get(poolId)
        return pool === undefined
          ? []
          : [{ run: id, pool, at: run.at, p, features_hash: featuresHash, filled, experiment }]
      })
      for (let start = 0; start < values.length; start += CHUNK) {
        const slice = values.slice(start, start + CHUNK)
        await db
          .transaction()
          .execute((trx) => insertRows(trx, { table: 'predictions_log', columns: COLUMNS }, slice))
        await setImmediate()
      }
      return id
    },

    async ofPool(poolId, { from, to }, limit) {
      const pool = (await numberOf([poolId])).get(poolId)
      if (pool === undefined) return []
      return joined()
        .where('l.pool', '=', pool)
        .where('l.at', '>=', from)
        .where('l.at', '<', to)
        .where('r.alias', '=', 'active')
        .orderBy('l.at')
        .limit(limit)
        .execute()
    },

    async latest(after, limit) {
      const run = await lastRun()
      if (!run) return []
      const query = joined().where('l.run', '=', run.id).orderBy(sql`pools.pool_id`).limit(limit)
      return (after === undefined ? query : query.where('pools.pool_id', '>', after)).execute()
    },
    lastRun,

    async markActed(poolId, at) {
      const [last] = await joined()
        .where('pools.pool_id', '=', poolId)
        .where('r.alias', '=', 'active')
        .where('l.at', '<=', at)
        .where('l.at', '>', at - VALID)
        .orderBy('l.at', 'desc')
        .limit(1)
        .execute()
      if (!last) return false
      await db
        .updateTable('predictions_log')
        .set({ acted: 1 })
        .where('pool', '=', last.pool)
        .where('at', '=', last.at)
        .where('run', '=', last.run)
        .execute()
      return true
    },

    async newest() {
      const row = await db
        .selectFrom('prediction_runs')
        .select('at')
        .orderBy('at', 'desc')
        .limit(1)
        .executeTakeFirst()
      return row?.at
    },

    async purge(before, signal) {
      let gone = 0
      const old = await db
        .selectFrom('prediction_runs')
        .select('id')
        .where('at', '<', before)
        .orderBy('at')
        .execute()
      for (const { id } of old) {
        signal?.throwIfAborted()
        const [rows] = await db.deleteFrom('predictions_log').where('run', '=', id).execute()
        gone += Number(rows?.numDeletedRows ?? 0)
        await db.deleteFrom('prediction_runs').where('id', '=', id).execute()
        await setImmediate()
      }
      // What was watched is kept longer: there is little of it.
      const longAgo = before - LOSSES_KEPT
      await db
        .deleteFrom('drift_windows')
        .where('from_at', '<', longAgo)
        .where('to_at', 'is not', null)
        .execute()
      await db.deleteFrom('prediction_blocks').where('block_at', '<', longAgo).execute()
      return gone
    },
  }
}
