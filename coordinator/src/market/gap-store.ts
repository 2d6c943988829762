import { type Instant, instant } from '@understudy/shared/core/time'
import { bucketFrom } from '@understudy/shared/market/bucket'
import type { GapClass } from '@understudy/shared/market/gap'
import type { InterpolatedRow } from '@understudy/shared/market/interpolate'
import type { Interval } from '@understudy/shared/market/interval'
import { sql } from 'kysely'
import { insertRows, rowsOf } from '../storage/bulk.ts'
import type { GapRow, Kysely, Schema } from '../storage/database.ts'
import { ensurePartitions } from '../storage/partitions.ts'

/**
 * `filled` with interpolated prices, `empty` for the reason given, `open` while it has not ended, `stale` when real prices
 * have come since: it is looked at again by the next scan.
 */
export type GapStatus = 'filled' | 'empty' | 'open' | 'stale'

/** What is known of a gap after it was looked at. */
export interface FoundGap extends Interval {
  readonly buckets: number
  readonly class: GapClass
  readonly status: GapStatus
  readonly reason: string | null
  readonly rows: readonly InterpolatedRow[]
}

export interface GapQuery {
  readonly poolId?: string | undefined
  readonly range?: Interval | undefined
  readonly limit: number
  /** `next` of the page before. */
  readonly cursor?: string | undefined
}

export interface ListedGap extends Interval {
  readonly poolId: string
  readonly buckets: number
  readonly class: string
  readonly status: string
  readonly reason: string | null
  readonly batchId: string | null
  readonly foundAt: Instant
}

export interface GapStore {
  /** Real samples have come for these buckets, in a transaction of the caller. */
  arrived(
    trx: Kysely<Schema>,
    buckets: readonly { readonly pool: number; readonly at: number }[],
  ): Promise<void>
  /** History is complete in these intervals, in a transaction of the caller. */
  covered(trx: Kysely<Schema>, pool: number, intervals: readonly Interval[]): Promise<void>
  /** What is recorded of gaps that touch the range. */
  known(pool: number, range: Interval): Promise<readonly GapRow[]>
  /** Puts `found` in the place of `old`, with all that was interpolated there. */
  replace(
    pool: number,
    old: readonly GapRow[],
    found: readonly FoundGap[],
    batch: { readonly id: string; readonly at: Instant },
  ): Promise<void>
  /** Pools that have stale gaps, and from when to when. */
  stale(): Promise<readonly { readonly pool: number; readonly range: Interval }[]>
  list(query: GapQuery): Promise<{ items: ListedGap[]; next: string | null }>
  /** Takes back what a batch has filled; a scan leaves those gaps empty until real prices come. */
  undo(batchId: string): Promise<{ rows: number; gaps: number }>
}

/** The reason of a gap whose filling was taken back. */
export const UNDONE = 'what it was filled with has been taken back'

export function createGapStore(db: Kysely<Schema>): GapStore {
  return {
    async arrived(trx, buckets) {
      await sql`
        delete from pricing_snapshots_interpolated where (pool, at) in
        (select pool, at from ${rowsOf(trx, { pool: 'bigint', at: 'bigint' }, buckets)})`.execute(trx)
      const spans = rowsOf(trx, { pool: 'bigint', low: 'bigint', high: 'bigint' }, spansOf(buckets))
      const { rows } = await sql<{ pool: number; from_at: number; to_at: number }>`
        select g.pool, g.from_at, g.to_at from ${spans}
        cross join data_gaps g
        where g.pool = given.pool and g.to_at > given.low and g.from_at <= given.high`.execute(trx)
      const hit = hitBy(rows, buckets)
      if (hit.length === 0) return
      await sql`
        update data_gaps set status = 'stale' where (pool, from_at) in
        (select pool, from_at from ${rowsOf(trx, { pool: 'bigint', from_at: 'bigint' }, hit)})`.execute(trx)
    },

    async covered(trx, pool, intervals) {
      for (const { from, to } of intervals) {
        const [first, end] = [bucketFrom(from), bucketFrom(to)]
        await trx
          .deleteFrom('pricing_snapshots_interpolated')
          .where('pool', '=', pool)
          .where('at', '>=', first)
          .where('at', '<', end)
          .execute()
        await trx
          .updateTable('data_gaps')
          .set({ status: 'stale' })
          .where('pool', '=', pool)
          .where('to_at', '>', first)
          .where('from_at', '<', end)
          .execute()
      }
    },

    known: (pool, range) =>
      db
        .selectFrom('data_gaps')
        .selectAll()
        .where('pool', '=', pool)
        .where('to_at', '>', range.from)
        .where('from_at', '<', range.to)
        .execute(),

    async replace(pool, old, found, batch) {
      const rows = found.flatMap((gap) => gap.rows)
      await ensurePartitions(
        db,
        'pricing_snapshots_interpolated',
        rows.map(({ at }) => at),
      )
      await db.transaction().execute(async (trx) => {
        if (old.length > 0) {
          const gone = old.map(({ from_at, to_at }) => ({ pool, from_at, to_at }))
          await remove(trx, gone)
        }
        if (found.length > 0) await add(trx, gapRows(pool, found, batch), interpolatedRows(pool, rows, batch))
      })
    },

    async stale() {
      const rows = await db
        .selectFrom('data_gaps')
        .select([
          'pool',
          (e) => e.fn.min<number>('from_at').as('from'),
          (e) => e.fn.max<number>('to_at').as('to'),
        ])
        .where('status', '=', sql.lit('stale'))
        .groupBy('pool')
        .execute()
      return rows.map(({ pool, from, to }) => ({ pool, range: { from: instant(from), to: instant(to) } }))
    },

    async list({ poolId, range, limit, cursor }) {
      let query = db
        .selectFrom('data_gaps as g')
        .innerJoin('pools as p', 'p.id', 'g.pool')
        .select([
          'p.pool_id',
          'g.pool',
          'g.from_at',
          'g.to_at',
          'g.buckets',
          'g.gap_class',
          'g.status',
          'g.reason',
        ])
        .select(['g.batch_id', 'g.found_at'])
        .orderBy('g.from_at', 'desc')
        .orderBy('g.pool', 'desc')
        .limit(limit + 1)
      if (poolId !== undefined) query = query.where('p.pool_id', '=', poolId)
      // An open gap goes on behind the end that was written down.
      if (range)
        query = query
          .where((e) => e.or([e('g.to_at', '>', range.from), e('g.status', '=', 'open')]))
          .where('g.from_at', '<', range.to)
      const after = /^(\d+):(\d+)$/.exec(cursor ?? '')
      if (after) {
        const [from, pool] = [Number(after[1]), Number(after[2])]
        query = query.where('g.from_at', '<=', from)
        query = query.where((e) => e.or([e('g.from_at', '<', from), e('g.pool', '<', pool)]))
      }
      const rows = await query.execute()
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      return {
        items: page.map((row) => ({
          poolId: row.pool_id,
          from: instant(row.from_at),
          to: instant(row.to_at),
          buckets: row.buckets,
          class: row.gap_class,
          status: row.status,
          reason: row.reason,
          batchId: row.batch_id,
          foundAt: instant(row.found_at),
        })),
        next: rows.length > limit && last ? `${last.from_at}:${last.pool}` : null,
      }
    },

    undo: (batchId) =>
      db.transaction().execute(async (trx) => {
        const gaps = await trx
          .selectFrom('data_gaps')
          .select(['pool', 'from_at', 'to_at'])
          .where('batch_id', '=', batchId)
          .execute()
        let rows = 0
        for (let start = 0; start < gaps.length; start += 1000)
          rows += await removeInterpolated(trx, gaps.slice(start, start + 1000), batchId)
        await trx
          .updateTable('data_gaps')
          .set({ status: 'empty', reason: UNDONE, batch_id: null })
          .where('batch_id', '=', batchId)
          .execute()
        return { rows, gaps: gaps.length }
      }),
  }
}

interface Span {
  readonly pool: number
  readonly from_at: number
  readonly to_at: number
}
const SPAN = { pool: 'bigint', from_at: 'bigint', to_at: 'bigint' } as const

async function removeInterpolated(
  trx: Kysely<Schema>,
  spans: readonly Span[],
  batchId?: string,
): Promise<number> {
  const ofBatch = batchId === undefined ? sql`` : sql`and batch_id = ${batchId}`
  const { numAffectedRows } = await sql`
    delete from pricing_snapshots_interpolated where (pool, at) in (
      select i.pool, i.at from ${rowsOf(trx, SPAN, spans)}
      cross join pricing_snapshots_interpolated i
      where i.pool = given.pool and i.at >= given.from_at and i.at < given.to_at ${ofBatch})`.execute(trx)
  return Number(numAffectedRows ?? 0)
}

async function remove(trx: Kysely<Schema>, spans: readonly Span[]): Promise<void> {
  await removeInterpolated(trx, spans)
  await sql`
    delete from data_gaps where (pool, from_at) in
    (select pool, from_at from ${rowsOf(trx, SPAN, spans)})`.execute(trx)
}

const GAP = {
  ...SPAN,
  buckets: 'bigint',
  gap_class: 'text',
  status: 'text',
  reason: 'text',
  batch_id: 'text',
  found_at: 'bigint',
} as const
const INTERPOLATED = {
  pool: 'bigint',
  at: 'bigint',
  price: 'bigint',
  confidence: 'bigint',
  gap_class: 'text',
  method: 'text',
  inputs: 'text',
  before_at: 'bigint',
  before_price: 'bigint',
  after_at: 'bigint',
  after_price: 'bigint',
  batch_id: 'text',
  created_at: 'bigint',
} as const

async function add(
  trx: Kysely<Schema>,
  gaps: ReturnType<typeof gapRows>,
  rows: ReturnType<typeof interpolatedRows>,
): Promise<void> {
  await insertRows(trx, { table: 'data_gaps', columns: GAP }, gaps)
  await insertRows(trx, { table: 'pricing_snapshots_interpolated', columns: INTERPOLATED }, rows)
}

const gapRows = (pool: number, found: readonly FoundGap[], batch: { id: string; at: Instant }) =>
  found.map((gap) => ({
    pool,
    from_at: gap.from,
    to_at: gap.to,
    buckets: gap.buckets,
    gap_class: gap.class,
    status: gap.status,
    reason: gap.reason,
    batch_id: gap.rows.length > 0 ? batch.id : null,
    found_at: batch.at,
  }))

const interpolatedRows = (
  pool: number,
  rows: readonly InterpolatedRow[],
  batch: { id: string; at: Instant },
) =>
  rows.map((row) => ({
    pool,
    at: row.at,
    price: row.price,
    confidence: row.confidence,
    gap_class: row.gapClass,
    method: row.method,
    inputs: JSON.stringify(row.inputs),
    before_at: row.before.at,
    before_price: row.before.price,
    after_at: row.after.at,
    after_price: row.after.price,
    batch_id: batch.id,
    created_at: batch.at,
  }))

/** From the first to the last bucket of each pool. */
function spansOf(
  buckets: readonly { readonly pool: number; readonly at: number }[],
): { pool: number; low: number; high: number }[] {
  const spans = new Map<number, { pool: number; low: number; high: number }>()
  for (const { pool, at } of buckets) {
    const span = spans.get(pool)
    if (!span) spans.set(pool, { pool, low: at, high: at })
    else {
      span.low = Math.min(span.low, at)
      span.high = Math.max(span.high, at)
    }
  }
  return [...spans.values()]
}

/** The gaps in which one of the buckets lies. `buckets` are in order of pool and time. */
function hitBy<G extends Span>(
  gaps: readonly G[],
  buckets: readonly { readonly pool: number; readonly at: number }[],
): { pool: number; from_at: number }[] {
  if (gaps.length === 0) return []
  const times = Map.groupBy(buckets, ({ pool }) => pool)
  return gaps
    .filter(({ pool, from_at, to_at }) => times.get(pool)?.some(({ at }) => at >= from_at && at < to_at))
    .map(({ pool, from_at }) => ({ pool, from_at }))
}
