import { microUsd } from '@understudy/shared/core/money'
import { type Clock, hours, type Instant, instant, millis } from '@understudy/shared/core/time'
import { BUCKET } from '@understudy/shared/market/bucket'
import type { PriceChange } from '@understudy/shared/market/history'
import { type Interval, union } from '@understudy/shared/market/interval'
import type { GivenSample } from '@understudy/shared/market/sample'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import type { HistoryQuery, HistorySource } from '../cloud/history-source.ts'
import type { OpenDatabase } from '../storage/database.ts'
import type { Dialect } from '../storage/dialect.ts'
import { testDatabase } from '../storage/testing.ts'
import { type Backfill, createBackfill } from './backfill.ts'
import { readInUse } from './daily-backfill.ts'
import { createFetchStore } from './fetch-store.ts'
import type { HistoryFetcher } from './gap-filler.ts'
import type { HistorySink } from './history-sink.ts'
import type { SubmittedRow } from './ingest.ts'
import { createMarket, type Market } from './market.ts'

export const silent = pino({ level: 'silent' })

/** Keeps what is recorded as the market would: each change once, coverage as one set per pool. */
export interface MemorySink extends HistorySink {
  readonly changes: Map<string, Map<number, number>>
  readonly coverage: Map<string, readonly Interval[]>
  /** Called before anything is kept. */
  before: () => Promise<void> | void
}

export function createMemorySink(): MemorySink {
  const sink: MemorySink = {
    changes: new Map(),
    coverage: new Map(),
    before: () => undefined,
    async recordHistory(pool: string, changes: readonly PriceChange[], covered: readonly Interval[]) {
      await sink.before()
      const own = sink.changes.get(pool) ?? new Map<number, number>()
      sink.changes.set(pool, own)
      for (const { at, price } of changes) own.set(at, price)
      if (covered.length > 0) sink.coverage.set(pool, union(sink.coverage.get(pool) ?? [], covered))
    },
  }
  return sink
}

/** A source that answers from a function, one page per element; a thrown page is an answer too. */
export function createTestSource(
  pages: (query: HistoryQuery) => readonly (readonly GivenSample[] | Error)[],
  silence: HistorySource['silence'] = null,
): HistorySource & { readonly asked: HistoryQuery[] } {
  const asked: HistoryQuery[] = []
  return {
    asked,
    reach: hours(90 * 24),
    silence,
    async *fetch(query, signal) {
      asked.push(query)
      for (const page of pages(query)) {
        signal.throwIfAborted()
        if (page instanceof Error) throw page
        yield await Promise.resolve(page)
      }
    },
  }
}

export const T0 = Date.UTC(2025, 10, 20, 0)
/** The start of a bucket, counted from `T0`. */
export const at = (bucket: number): Instant => instant(T0 + bucket * BUCKET)
export const POOL = 'c5.large@ap-south-1a'
export const day = hours(24)

/** A sample some seconds into a bucket. */
export function row(
  bucket: number,
  price: number,
  more: Partial<SubmittedRow> & { after?: number; pool?: string } = {},
): SubmittedRow {
  const { after = 7_000, pool = POOL, ...rest } = more
  const given = { pool, at: at(bucket) + after, price }
  return { given, instanceId: 'i-0a', role: 'primary' as const, ...rest }
}

/** A market with a backfill from `source`, as the coordinator puts them together. */
export function testPrices({ db, bulk }: OpenDatabase, source: HistorySource, clock: Clock) {
  const market = createMarket({
    db: bulk,
    clock,
    log: silent,
    known: { isKnownZone: () => undefined, onDemand: () => undefined },
    retention: { submissions: millis(day * 30), prices: millis(day * 400) },
    gapFiller: false,
  })
  const backfill: Backfill = createBackfill({
    source,
    sink: market,
    store: createFetchStore(db),
    known: () => ({ now: clock.now(), isKnownZone: () => undefined, onDemand: () => undefined }),
    clock,
    log: silent,
  })
  const typesInUse = async (regions: readonly string[]) => readInUse(bulk, regions, clock.now())
  return { market, backfill, typesInUse }
}

const tables = [
  'pricing_submissions_raw',
  'pricing_snapshots_clean',
  'price_changes',
  'price_coverage',
  'pricing_snapshots_interpolated',
  'data_gaps',
  'pools',
] as const

/** A market on a database of its own, empty before every test of the suite. */
export function testMarket(dialect: Dialect) {
  const world = {
    database: undefined as unknown as OpenDatabase,
    market: undefined as unknown as Market,
    now: at(500),
    /** What the gap filler asks first. */
    history: undefined as HistoryFetcher | undefined,
    send: (...rows: SubmittedRow[]) => world.market.ingest({ submissionId: 's', agentId: 'a', rows }),
    clean: async () =>
      (
        await world.database.db
          .selectFrom('spot_prices')
          .selectAll()
          .orderBy('pool_id')
          .orderBy('at')
          .execute()
      ).map(({ pool_id, at: bucket, price, source, confidence }) => ({
        pool_id,
        at: bucket,
        price,
        source,
        confidence,
      })),
    range: (from: number, to: number) => ({ from: at(from), to: at(to) }),
    pricesOf: async (from: number, to: number) =>
      (await world.market.series(POOL, world.range(from, to))).map(({ price, source }) =>
        price === null ? null : `${price} ${source}`,
      ),
    scan: (from: number, to: number) => world.market.scan({ range: world.range(from, to) }),
  }
  beforeAll(async () => {
    world.database = await testDatabase(dialect)
  })
  afterAll(() => world.database.close())
  beforeEach(async () => {
    for (const table of tables) await world.database.db.deleteFrom(table).execute()
    world.now = at(500)
    world.history = undefined
    world.market = createMarket({
      db: world.database.bulk,
      clock: { now: () => world.now, mono: () => performance.now() as never, timer: () => () => undefined },
      log: silent,
      known: { isKnownZone: (zone) => zone !== 'us-east-1z', onDemand: () => microUsd(85_000) },
      retention: { submissions: millis(day * 30), prices: millis(day * 400) },
      gapFiller: true,
      history: { fetchHistory: async (...asked) => world.history?.fetchHistory(...asked) },
    })
  })
  return world
}
