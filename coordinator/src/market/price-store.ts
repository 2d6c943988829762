import { type MicroUsd, microUsd } from '@understudy/shared/core/money'
import { type Instant, instant } from '@understudy/shared/core/time'
import { BUCKET, bucketFrom } from '@understudy/shared/market/bucket'
import type { PriceChange } from '@understudy/shared/market/history'
import type { Interval } from '@understudy/shared/market/interval'
import type { SampleConfidence } from '@understudy/shared/market/settle'
import { type RawBuilder, sql } from 'kysely'
import { rowsOf } from '../storage/bulk.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { type NumberList, numbersFrom, numbersIn } from '../storage/number-list.ts'

export type SamplePoint = PriceChange & { readonly confidence: SampleConfidence }
export type InterpolatedPoint = PriceChange & { readonly confidence: number }

export interface LatestPrice {
  readonly at: Instant
  readonly price: MicroUsd
  readonly source: 'primary' | 'replica' | 'history'
  /** In hundredths. */
  readonly confidence: number
}

export interface PriceEdges {
  readonly before: Instant | undefined
  readonly first: Instant | undefined
  readonly after: Instant | undefined
}

/** A time of one pool. */
export interface Stretch extends Interval {
  readonly pool: number
}

/** Reads prices. Pools are the numbers of the pool store. */
export interface PriceStore {
  samples(pool: number, range: Interval): Promise<SamplePoint[]>
  /** The samples of each of these, in one query. */
  samplesOf(asked: readonly Stretch[]): Promise<SamplePoint[][]>
  /** The coverage of each of these, in one query. */
  coverageOf(asked: readonly Stretch[]): Promise<Interval[][]>
  /** As `changes`, of each of these, in one query. */
  changesOf(asked: readonly Stretch[]): Promise<PriceChange[][]>
  /** Changes in the range and the last one before it, in order. */
  changes(pool: number, range: Interval): Promise<PriceChange[]>
  coverage(pool: number, range: Interval): Promise<Interval[]>
  interpolated(pool: number, range: Interval): Promise<InterpolatedPoint[]>
  /** The bucket of the last real price before the range, of the first one from its end on, and of the first one in it. */
  edges(pool: number, range: Interval): Promise<PriceEdges>
  /** The last real price of every pool of which there is one, or of these. */
  latest(pools?: readonly number[]): Promise<ReadonlyMap<number, LatestPrice>>
}

export function createPriceStore(db: Kysely<Schema>): PriceStore {
  const list = numbersIn(db)

  return {
    async samples(pool, range) {
      const part = async (from: number): Promise<SamplePoint[]> => {
        const to = Math.min(range.to, from + MOST_AT_ONCE)
        const base = Math.floor(from / BUCKET)
        const { rows } = await sql<{ facts: NumberList }>`
          select ${list(factSince(sql.lit(base)))} as facts
          from (select at, price, confidence from pricing_snapshots_clean
            where pool = ${pool} and at >= ${from} and at < ${to} order by at) as found`.execute(db)
        return numbersFrom(rows[0]?.facts).map((fact) => sampleFrom(fact, base))
      }
      const starts: number[] = []
      for (let from: number = range.from; from < range.to; from += MOST_AT_ONCE) starts.push(from)
      return (await Promise.all(starts.map(part))).flat()
    },

    async samplesOf(asked) {
      const found: SamplePoint[][] = asked.map(() => [])
      // A query of its own for each row keeps PostgreSQL from joining all prices.
      const { rows } = await sql<{ n: number; facts: NumberList }>`
        select given.n, (select ${list(sql`fact`)} from (
          select ${factSince(sql`given.base`)} as fact from pricing_snapshots_clean c
          where c.pool = given.pool and c.at >= given.from_at and c.at < given.to_at order by c.at) as found) as facts
        from ${rowsOf(db, STRETCH, numbered(asked))}`.execute(db)
      for (const { n, facts } of rows)
        found[n] = numbersFrom(facts).map((fact) =>
          sampleFrom(fact, Math.floor((asked[n]?.from ?? 0) / BUCKET)),
        )
      return found
    },

    async coverageOf(asked) {
      const found: Interval[][] = asked.map(() => [])
      const column = (name: RawBuilder<unknown>) => sql`(select ${list(name)} from (
        select from_at, to_at from price_coverage c
        where c.pool = given.pool and c.to_at > given.from_at and c.from_at < given.to_at order by c.to_at) as found)`
      const { rows } = await sql<{ n: number; starts: NumberList; ends: NumberList }>`
        select given.n, ${column(sql`found.from_at`)} as starts, ${column(sql`found.to_at`)} as ends
        from ${rowsOf(db, STRETCH, numbered(asked))}`.execute(db)
      for (const { n, starts, ends } of rows) {
        const to = numbersFrom(ends)
        found[n] = numbersFrom(starts).map((from_at, i) =>
          within({ from_at, to_at: to[i] ?? from_at }, asked[n] as Stretch),
        )
      }
      return found
    },

    async changesOf(asked) {
      const found: PriceChange[][] = asked.map(() => [])
      const column = (name: RawBuilder<unknown>) => sql`(select ${list(name)} from (
        select at, price from price_changes c
        where c.pool = given.pool and c.at < given.to_at and c.at >= coalesce((select max(b.at) from price_changes b
          where b.pool = given.pool and b.at <= given.from_at), given.from_at) order by c.at) as found)`
      const { rows } = await sql<{ n: number; times: NumberList; prices: NumberList }>`
        select given.n, ${column(sql`found.at`)} as times, ${column(sql`found.price`)} as prices
        from ${rowsOf(db, STRETCH, numbered(asked))}`.execute(db)
      for (const { n, times, prices } of rows) {
        const price = numbersFrom(prices)
        found[n] = numbersFrom(times).map((at, i) => toChange({ at, price: price[i] ?? 0 }))
      }
      return found
    },

    async changes(pool, range) {
      const before = await db
        .selectFrom('price_changes')
        .select(['at', 'price'])
        .where('pool', '=', pool)
        .where('at', '<=', range.from)
        .orderBy('at', 'desc')
        .limit(1)
        .execute()
      const { rows } = await sql<{ times: NumberList; prices: NumberList }>`
        select ${list(sql`at`)} as times, ${list(sql`price`)} as prices
        from (select at, price from price_changes
          where pool = ${pool} and at > ${range.from} and at < ${range.to} order by at) as found`.execute(db)
      const price = numbersFrom(rows[0]?.prices)
      const within = numbersFrom(rows[0]?.times).map((at, i) => toChange({ at, price: price[i] ?? 0 }))
      return [...before.map(toChange), ...within]
    },

    async coverage(pool, range) {
      const rows = await db
        .selectFrom('price_coverage')
        .select(['from_at', 'to_at'])
        .where('pool', '=', pool)
        .where('to_at', '>', range.from)
        .where('from_at', '<', range.to)
        .orderBy('to_at')
        .execute()
      return rows.map((row) => within(row, range))
    },

    async interpolated(pool, range) {
      const rows = await db
        .selectFrom('pricing_snapshots_interpolated')
        .select(['at', 'price', 'confidence'])
        .where('pool', '=', pool)
        .where('at', '>=', range.from)
        .where('at', '<', range.to)
        .orderBy('at')
        .execute()
      return rows.map((row) => ({ ...toChange(row), confidence: row.confidence }))
    },

    async edges(pool, { from, to }) {
      const { rows } = await sql<
        Record<'before' | 'first' | 'after' | `covered_${'before' | 'first' | 'after'}`, number | null>
      >`
        select
          (select max(at) from pricing_snapshots_clean where pool = ${pool} and at < ${from}) as before,
          (select min(at) from pricing_snapshots_clean where pool = ${pool} and at >= ${from} and at < ${to}) as first,
          (select min(at) from pricing_snapshots_clean where pool = ${pool} and at >= ${to}) as after,
          (select max(to_at) from price_coverage where pool = ${pool} and from_at < ${from}) as covered_before,
          (select min(from_at) from price_coverage where pool = ${pool} and from_at >= ${from} and from_at < ${to}) as covered_first,
          (select from_at from price_coverage where pool = ${pool} and to_at > ${to} order by to_at limit 1) as covered_after`.execute(
        db,
      )
      const [row] = rows
      if (!row) return { before: undefined, first: undefined, after: undefined }
      // A bucket is covered when its start is: the last one that starts before the end of a coverage.
      const lastOf = (end: number | null) =>
        end === null ? null : Math.min(bucketFrom(instant(end)), from) - BUCKET
      return {
        before: extreme(Math.max, row.before, lastOf(row.covered_before)),
        first: extreme(
          Math.min,
          row.first,
          row.covered_first === null ? null : bucketFrom(instant(row.covered_first)),
        ),
        after: extreme(
          Math.min,
          row.after,
          row.covered_after === null ? null : Math.max(bucketFrom(instant(row.covered_after)), to),
        ),
      }
    },

    async latest(pools) {
      const asked = pools?.map((id) => ({ id }))
      const wanted = asked ? sql`(select id from ${rowsOf(db, { id: 'bigint' }, asked)}) as p` : sql`pools p`
      const sampled = await sql<{ pool: number; at: number; price: number; confidence: number }>`
        select c.pool, c.at, c.price, c.confidence
        from (select p.id, (select max(at) from pricing_snapshots_clean where pool = p.id) as last from ${wanted}) as newest
        join pricing_snapshots_clean c on c.pool = newest.id and c.at = newest.last`.execute(db)
      const covered = await sql<{ pool: number; until: number; price: number | null }>`
        select newest.id as pool, newest.until, (select price from price_changes
          where pool = newest.id and at < newest.until order by at desc limit 1) as price
        from (select p.id, (select max(to_at) from price_coverage where pool = p.id) as until from ${wanted}) as newest
        where newest.until is not null`.execute(db)
      return newestOf(sampled.rows, covered.rows)
    },
  }
}

const STRETCH = { n: 'bigint', pool: 'bigint', from_at: 'bigint', to_at: 'bigint', base: 'bigint' } as const

/** With the bucket of each start, since which `sampleFrom` counts. */
const numbered = (asked: readonly Stretch[]) =>
  asked.map(({ pool, from, to }, n) => ({
    n,
    pool,
    from_at: from,
    to_at: to,
    base: Math.floor(from / BUCKET),
  }))

const within = (row: { from_at: number; to_at: number }, range: Interval): Interval => ({
  from: instant(Math.max(row.from_at, range.from)),
  to: instant(Math.min(row.to_at, range.to)),
})

function newestOf(
  sampled: readonly { pool: number; at: number; price: number; confidence: number }[],
  covered: readonly { pool: number; until: number; price: number | null }[],
): Map<number, LatestPrice> {
  const latest = new Map<number, LatestPrice>()
  for (const { pool, at, price, confidence } of sampled)
    latest.set(pool, {
      at: instant(at),
      price: microUsd(price),
      source: confidence === 100 ? 'primary' : 'replica',
      confidence,
    })
  for (const { pool, until, price } of covered) {
    const at = instant(until - 1)
    const known = latest.get(pool)
    if (price === null || (known && known.at + BUCKET > at)) continue
    latest.set(pool, { at, price: microUsd(price), source: 'history', confidence: 100 })
  }
  return latest
}

function extreme(
  choose: (...values: number[]) => number,
  a: number | null,
  b: number | null,
): Instant | undefined {
  const known = [a, b].filter((value) => value !== null)
  return known.length === 0 ? undefined : instant(choose(...known))
}

const toChange = ({ at, price }: { at: number; price: number }): PriceChange => ({
  at: instant(at),
  price: microUsd(price),
})

/**
 * A sample as one whole number, which a double holds exactly: buckets since a base above, micro-dollars up to 17,179 dollars
 * below, then whether a primary sent it. A row object for each sample, or a text for each of its facts, would take most of a read.
 */
function sampleFrom(fact: number, base: number): SamplePoint {
  const buckets = Math.floor(fact / OF_TIME)
  const rest = fact - buckets * OF_TIME
  return {
    at: instant((base + buckets) * BUCKET),
    price: microUsd(Math.floor(rest / 2)),
    confidence: rest % 2 === 1 ? 100 : 95,
  }
}

const factSince = (base: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`(at / ${sql.lit(BUCKET)} - ${base}) * ${sql.lit(OF_TIME)} + price * 2
    + case when confidence = 100 then 1 else 0 end`

const OF_TIME = 2 ** 35
/** 45 days, and less than 2^18 buckets. The parts of a longer time are read at once, by as many connections as there are. */
const MOST_AT_ONCE = 45 * 288 * BUCKET
