import { setImmediate } from 'node:timers/promises'
import { type Clock, instant } from '@understudy/shared/core/time'
import { mergeChanges, type PriceChange } from '@understudy/shared/market/history'
import { type Interval, minus, normalise, union } from '@understudy/shared/market/interval'
import { sql } from 'kysely'
import { insertRows } from '../storage/bulk.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { dialectOf } from '../storage/dialect.ts'
import { ensurePartitions } from '../storage/partitions.ts'
import type { GapStore } from './gap-store.ts'
import type { HistoryOrigin, HistorySink } from './history-sink.ts'
import type { PoolStore } from './pool-store.ts'

/** Rows of one transaction: some 20 ms on SQLite, in which everything in the process waits. */
const CHUNK = 5000
const COLUMNS = { pool: 'bigint', at: 'bigint', price: 'bigint', source: 'text' } as const
/** What an import has said is the import's for good, since retention keeps those alone. */
const LOWER_STANDS = `on conflict (pool, at) do update set
  price = case when excluded.price < old.price then excluded.price else old.price end,
  source = case when old.source = 'import' then old.source else excluded.source end
  where excluded.price < old.price or (excluded.source = 'import' and old.source <> 'import')`

/**
 * Records price changes. The same changes in any order and any number of times leave the same table: where two
 * disagree about a moment the lower price stands, as in shared/market/history. After each transaction everything else
 * has its turn.
 */
export function createHistoryStore(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly pools: PoolStore
  readonly gaps: GapStore
  readonly inOrder: <T>(task: () => Promise<T>) => Promise<T>
  /** Waited for after each transaction; a turn of the event loop if not said. */
  readonly pause?: (() => Promise<unknown>) | undefined
}): {
  /** Returns how many rows are new or have changed. */
  recordHistory(...given: Parameters<HistorySink['recordHistory']>): Promise<number>
} {
  const { db, clock, pools, gaps, inOrder, pause = () => setImmediate() } = parts

  return {
    async recordHistory(poolId, changes, coverage, source) {
      const pool = (await pools.ensure([poolId])).get(poolId) as number
      const merged = mergeChanges([changes])
      let written = 0
      for (let start = 0; start < merged.length; start += CHUNK) {
        written += await inOrder(() => addChanges(db, pool, merged.slice(start, start + CHUNK), source))
        await pause()
      }
      const covered = normalise(coverage)
      if (covered.length > 0) {
        await inOrder(() =>
          db.transaction().execute(async (trx) => {
            await alone(trx, pool)
            await addCoverage(trx, pool, covered, source, clock.now())
            await gaps.covered(trx, pool, covered)
          }),
        )
        await pause()
      }
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
  return db
    .transaction()
    .execute((trx) =>
      insertRows(trx, { table: 'price_changes', columns: COLUMNS, conflict: LOWER_STANDS }, rows),
    )
}

/** With `alone`: the lock of a pool's coverage. The lock of the coordinator is of eight bytes, and is never the same. */
const COVERAGE_LOCK = 0x636f7665

/**
 * Until the transaction ends nobody else, such as an import in a process of its own, changes the coverage of this pool. In
 * SQLite there is one writer at a time anyway.
 */
async function alone(trx: Kysely<Schema>, pool: number): Promise<void> {
  if (dialectOf(trx) !== 'postgres') return
  await sql`select pg_advisory_xact_lock(${sql.lit(COVERAGE_LOCK)}, ${pool}::integer)`.execute(trx)
}

/**
 * The rows of a pool stay disjoint. Those of the same source are merged where one ends as the next starts; where both
 * sources cover a time it is the import's.
 */
async function addCoverage(
  db: Kysely<Schema>,
  pool: number,
  covered: readonly Interval[],
  source: HistoryOrigin,
  now: number,
): Promise<void> {
  for (const given of covered) {
    // What is read is deleted by the same statement: SQLite refuses a transaction that reads first, and writes after another
    // process has.
    const touched = await db
      .deleteFrom('price_coverage')
      .where('pool', '=', pool)
      .where('to_at', '>=', given.from)
      .where('from_at', '<=', given.to)
      .returning(['from_at', 'to_at', 'source', 'fetched_at'])
      .execute()
    const of = (rows: typeof touched) =>
      rows.map((row) => ({ from: instant(row.from_at), to: instant(row.to_at) }))
    const others = touched.filter((row) => row.source !== source)
    const own = union([given], of(touched.filter((row) => row.source === source)))
    const rows =
      source === 'import'
        ? others.flatMap((row) => minus(of([row]), own).map((left) => toRow(pool, left, row)))
        : others
    const left = source === 'import' ? own : minus(own, of(others))
    const all = [...rows, ...left.map((each) => toRow(pool, each, { source, fetched_at: now }))]
    for (const row of all)
      await db
        .insertInto('price_coverage')
        .values({ ...row, pool })
        .execute()
  }
}

const toRow = (
  pool: number,
  { from, to }: Interval,
  { source, fetched_at }: { source: string; fetched_at: number },
) => ({ pool, from_at: from, to_at: to, source, fetched_at })
