import { type Clock, instant } from '@understudy/shared/core/time'
import { mergeChanges, type PriceChange } from '@understudy/shared/market/history'
import { type Interval, normalise, union } from '@understudy/shared/market/interval'
import { insertRows } from '../storage/bulk.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { ensurePartitions } from '../storage/partitions.ts'
import type { GapStore } from './gap-store.ts'
import type { HistoryOrigin, HistorySink } from './history-sink.ts'
import type { PoolStore } from './pool-store.ts'

const CHUNK = 10_000
const COLUMNS = { pool: 'bigint', at: 'bigint', price: 'bigint', source: 'text' } as const
const LOWER_STANDS = `on conflict (pool, at) do update set price = excluded.price, source = excluded.source
  where excluded.price < old.price`

/**
 * Records price changes. The same changes in any order and any number of times leave the same table: where two
 * disagree about a moment the lower price stands, as in shared/market/history.
 */
export function createHistoryStore(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly pools: PoolStore
  readonly gaps: GapStore
  readonly inOrder: <T>(task: () => Promise<T>) => Promise<T>
}): HistorySink & {
  /** Returns how many rows are new or have changed. */
  recordHistory(...given: Parameters<HistorySink['recordHistory']>): Promise<number>
} {
  const { db, clock, pools, gaps, inOrder } = parts

  return {
    async recordHistory(poolId, changes, coverage, source) {
      const pool = (await pools.ensure([poolId])).get(poolId) as number
      const merged = mergeChanges([changes])
      let written = 0
      for (let start = 0; start < merged.length; start += CHUNK)
        written += await inOrder(() => addChanges(db, pool, merged.slice(start, start + CHUNK), source))
      const covered = normalise(coverage)
      if (covered.length > 0)
        await inOrder(() =>
          db.transaction().execute(async (trx) => {
            await addCoverage(trx, pool, covered, source, clock.now())
            await gaps.covered(trx, pool, covered)
          }),
        )
      return written
    },
  }
}

async function addChanges(
  db: Kysely<Schema>,
  pool: number,
  changes: readonly PriceChange[],
  source: HistoryOrigin,
): Promise<number> {
  await ensurePartitions(
    db,
    'price_changes',
    changes.map(({ at }) => at),
  )
  const rows = changes.map(({ at, price }) => ({ pool, at, price, source }))
  return insertRows(db, { table: 'price_changes', columns: COLUMNS, conflict: LOWER_STANDS }, rows)
}

/** The rows of a pool stay disjoint, and are merged where one ends as the next starts. */
async function addCoverage(
  db: Kysely<Schema>,
  pool: number,
  covered: readonly Interval[],
  source: HistoryOrigin,
  now: number,
): Promise<void> {
  for (const { from, to } of covered) {
    const touched = await db
      .selectFrom('price_coverage')
      .select(['from_at', 'to_at'])
      .where('pool', '=', pool)
      .where('to_at', '>=', from)
      .where('from_at', '<=', to)
      .execute()
    const known = touched.map((row) => ({ from: instant(row.from_at), to: instant(row.to_at) }))
    const [whole] = union([{ from, to }], known)
    if (!whole) continue
    await db
      .deleteFrom('price_coverage')
      .where('pool', '=', pool)
      .where('to_at', '>=', from)
      .where('from_at', '<=', to)
      .execute()
    await db
      .insertInto('price_coverage')
      .values({ pool, from_at: whole.from, to_at: whole.to, source, fetched_at: now })
      .execute()
  }
}
