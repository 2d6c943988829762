import { setImmediate } from 'node:timers/promises'
import type { Instant } from '@understudy/shared/core/time'
import { sql } from 'kysely'
import type { Kysely, PredictionBlockRow, Schema } from '../storage/database.ts'

/** Predictions of one model and pool that wait for their labels. */
export interface PendingPool {
  readonly pool: number
  readonly poolId: string
  readonly first: Instant
  readonly last: Instant
}

/** Predictions of one pool in succession that get the same label, or none for the same reason. */
export interface LabelSpan {
  readonly pool: number
  readonly from: Instant
  readonly to: Instant
  readonly label: number | null
  readonly reason: string | null
}

/** Sums over the labelled predictions of one pool. */
export interface PoolLoss {
  rows: number
  positives: number
  brier: number
}

/** What came of predictions. */
export interface LabelStore {
  /** Models with predictions, and how far each of them looks ahead. */
  models(): Promise<readonly { readonly modelId: string; readonly horizon: number }[]>
  pendingPools(modelId: string, until: number): Promise<readonly PendingPool[]>
  /** Their times, in order. */
  pendingTimes(modelId: string, of: PendingPool): Promise<readonly Instant[]>
  label(modelId: string, spans: readonly LabelSpan[]): Promise<number>
  isPending(modelId: string, from: number, to: number): Promise<boolean>
  /** Of the predictions of a time, by pool. */
  losses(modelId: string, from: number, to: number): Promise<ReadonlyMap<string, PoolLoss>>
  /** Of its first prediction at `from` or later. */
  firstRun(modelId: string, from: number): Promise<number | undefined>
  addBlocks(rows: readonly PredictionBlockRow[]): Promise<void>
  /** Of this time and later, in order. */
  blocks(modelId: string, from: number): Promise<readonly PredictionBlockRow[]>
  lastBlock(modelId: string): Promise<number | undefined>
}

export function createLabelStore(db: Kysely<Schema>): LabelStore {
  // A cross join keeps SQLite from reading all that the model has ever said: few rows wait.
  const pending = (modelId: string, until: number) =>
    db
      .selectFrom('predictions_log as l')
      .crossJoin('prediction_runs as r')
      .whereRef('r.id', '=', 'l.run')
      .where('l.label', 'is', null)
      .where('l.label_reason', 'is', null)
      .where('l.at', '<=', until)
      .where('r.model_id', '=', modelId)

  const runs = (modelId: string, from: number, to: number) =>
    db
      .selectFrom('prediction_runs')
      .select('id')
      .where('model_id', '=', modelId)
      .where('at', '>=', from)
      .where('at', '<', to)
      .orderBy('at')
      .execute()

  return {
    async models() {
      const rows = await db
        .selectFrom('prediction_runs')
        .select(['model_id', 'horizon_ms'])
        .distinct()
        .orderBy('model_id')
        .execute()
      return rows.map((row) => ({ modelId: row.model_id, horizon: row.horizon_ms }))
    },

    async pendingPools(modelId, until) {
      const rows = await pending(modelId, until)
        .innerJoin('pools', 'pools.id', 'l.pool')
        .select((eb) => [
          'l.pool',
          'pools.pool_id',
          eb.fn.min('l.at').as('first'),
          eb.fn.max('l.at').as('last'),
        ])
        .groupBy(['l.pool', 'pools.pool_id'])
        .orderBy('l.pool')
        .execute()
      return rows.map((row) => ({
        pool: row.pool,
        poolId: row.pool_id,
        first: Number(row.first) as Instant,
        last: Number(row.last) as Instant,
      }))
    },

    async pendingTimes(modelId, { pool, first, last }) {
      const rows = await pending(modelId, last)
        .where('l.pool', '=', pool)
        // Or all that the pool ever had is read.
        .where('l.at', '>=', first)
        .select('l.at')
        .orderBy('l.at')
        .execute()
      return rows.map(({ at }) => at as Instant)
    },

    async label(modelId, spans) {
      let changed = 0
      await db.transaction().execute(async (trx) => {
        for (const { pool, from, to, label, reason } of spans) {
          const { numAffectedRows } = await sql`
            update predictions_log set label = ${label}, label_reason = ${reason}
            where pool = ${pool} and at >= ${from} and at <= ${to} and label is null and label_reason is null
              and run in (select id from prediction_runs
                where model_id = ${modelId} and at >= ${from} and at <= ${to})`.execute(trx)
          changed += Number(numAffectedRows ?? 0)
        }
      })
      return changed
    },

    async isPending(modelId, from, to) {
      const row = await pending(modelId, to - 1)
        .where('l.at', '>=', from)
        .select('l.at')
        .limit(1)
        .executeTakeFirst()
      return row !== undefined
    },

    async losses(modelId, from, to) {
      const sums = new Map<string, PoolLoss>()
      for (const { id } of await runs(modelId, from, to)) {
        const rows = await db
          .selectFrom('predictions_log')
          .innerJoin('pools', 'pools.id', 'predictions_log.pool')
          .select(['pools.pool_id', 'p', 'label'])
          .where('run', '=', id)
          .where('label', 'is not', null)
          .execute()
        for (const { pool_id, p, label } of rows) {
          const sum = sums.get(pool_id) ?? { rows: 0, positives: 0, brier: 0 }
          sums.set(pool_id, sum)
          sum.rows += 1
          sum.positives += label ?? 0
          sum.brier += (p - (label ?? 0)) ** 2
        }
        await setImmediate()
      }
      return sums
    },

    async firstRun(modelId, from) {
      const row = await db
        .selectFrom('prediction_runs')
        .select((eb) => eb.fn.min('at').as('at'))
        .where('model_id', '=', modelId)
        .where('at', '>=', from)
        .executeTakeFirst()
      return row?.at === null || row?.at === undefined ? undefined : Number(row.at)
    },

    async addBlocks(rows) {
      if (rows.length === 0) return
      await db
        .insertInto('prediction_blocks')
        .values([...rows])
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    },
    blocks: (modelId, from) =>
      db
        .selectFrom('prediction_blocks')
        .selectAll()
        .where('model_id', '=', modelId)
        .where('block_at', '>=', from)
        .orderBy('block_at')
        .execute(),

    async lastBlock(modelId) {
      const row = await db
        .selectFrom('prediction_blocks')
        .select('block_at')
        .where('model_id', '=', modelId)
        .orderBy('block_at', 'desc')
        .limit(1)
        .executeTakeFirst()
      return row?.block_at
    },
  }
}
