import { setImmediate } from 'node:timers/promises'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import type { Clock } from '@understudy/shared/core/time'
import { type PriceChange, stepSeries } from '@understudy/shared/market/history'
import { type Interval, normalise } from '@understudy/shared/market/interval'
import type { PoolFacts } from '@understudy/shared/market/known-prices'
import type { Known } from '@understudy/shared/market/sample'
import { mergeSeries, type SeriesPoint } from '@understudy/shared/market/series'
import type { Logger } from 'pino'
import type { Kysely, Schema } from '../storage/database.ts'
import { createGapFiller, type HistoryFetcher, type ScanRequest, type ScanResult } from './gap-filler.ts'
import { createGapStore, type GapQuery, type ListedGap } from './gap-store.ts'
import type { HistorySink } from './history-sink.ts'
import { createHistoryStore } from './history-store.ts'
import { createIngest, type IngestResult, type Submission } from './ingest.ts'
import { createPoolStore, type KnownPool } from './pool-store.ts'
import { createPriceStore, type LatestPrice, type SamplePoint } from './price-store.ts'
import { createRetention, type RetentionPolicy } from './retention.ts'

export type { Backfill } from './backfill.ts'
export type { FetchRequest } from './backfill-plan.ts'

/** One history of prices per pool, in which what was seen, what was fetched and what was computed stay apart. */
export interface Market extends HistorySink {
  /** What runs beside the calls: the gap filler, every 15 minutes over a day, and retention. */
  readonly services: readonly Service[]
  /** Takes any number of rows; each is accepted, known already, or refused with its reason. */
  ingest(submission: Submission): Promise<IngestResult>
  recordHistory(...given: Parameters<HistorySink['recordHistory']>): Promise<number>
  /** The times within the range for which history is complete. */
  coverage(poolId: string, range: Interval): Promise<Interval[]>
  /** The same of many pools; one of which nothing is known is not among them. */
  coverageOf(poolIds: readonly string[], range: Interval): Promise<ReadonlyMap<string, readonly Interval[]>>
  /** Changes, of which the first may lie before the range, and where they are complete. */
  history(poolId: string, range: Interval): Promise<{ changes: PriceChange[]; covered: Interval[] }>
  /** Real prices of many pools at once; a pool of which nothing is known is left out. */
  facts(poolIds: readonly string[], range: Interval): Promise<ReadonlyMap<string, PoolFacts>>
  /** Calls `listener` with each pool of which prices may have come, until what it returns is called. */
  watch(listener: (poolId: string) => void): () => void
  /** Clean samples by bucket. */
  samples(poolId: string, range: Interval): Promise<SamplePoint[]>
  /** One point for every bucket of the range: a sample, else history, else interpolated, else a gap. */
  series(poolId: string, range: Interval): Promise<SeriesPoint[]>
  /** The last real price of each pool that has one. */
  latest(poolIds?: readonly string[]): Promise<ReadonlyMap<string, LatestPrice>>
  pools(): Promise<readonly KnownPool[]>
  /** Those of these pools of which nothing is known yet. */
  unknownPools(poolIds: Iterable<string>): Promise<string[]>
  /** The latest gap first. */
  gaps(query: GapQuery): Promise<{ items: ListedGap[]; next: string | null }>
  /** Finds gaps and fills them; a second scan of the same prices changes nothing. */
  scan(request: ScanRequest, signal?: AbortSignal): Promise<ScanResult>
  /** Takes back what the scan of that batch has filled. */
  undo(batchId: string): Promise<{ rows: number; gaps: number }>
  /** Deletes what is older than is kept. */
  purge(signal?: AbortSignal): Promise<number>
}

export interface MarketParts {
  /** The handle for long work. */
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  /** What samples are measured against. */
  readonly known: Omit<Known, 'now'>
  readonly retention: RetentionPolicy
  /** False: gaps are filled on demand only. */
  readonly gapFiller: boolean
  /** Asked before anything is interpolated. */
  readonly history?: HistoryFetcher | undefined
  readonly onScan?: ((result: ScanResult) => void) | undefined
  /** Waited for after each transaction that records history; a turn of the event loop if not said. */
  readonly pause?: (() => Promise<unknown>) | undefined
}

/** Pools of one read: a few milliseconds. */
const POOLS_AT_ONCE = 50
/** Pools of one query. */
const AT_ONCE = 500

export function createMarket(parts: MarketParts): Market {
  const { db, clock, log } = parts
  const inOrder = createSerial()
  const pools = createPoolStore(db)
  const prices = createPriceStore(db)
  const gaps = createGapStore(db)
  const filler = createGapFiller({
    clock,
    log,
    pools,
    prices,
    gaps,
    inOrder,
    history: parts.history,
    onScan: parts.onScan,
  })
  const retention = createRetention({ db, clock, log, pools, inOrder, policy: parts.retention })
  const ingest = createIngest({ db, clock, pools, gaps, inOrder, known: parts.known })
  const history = createHistoryStore({ db, clock, pools, gaps, inOrder, pause: parts.pause })
  const listeners = new Set<(poolId: string) => void>()
  const tell = (poolIds: Iterable<unknown>) => {
    for (const id of poolIds) for (const listener of listeners) if (typeof id === 'string') listener(id)
  }

  /** Reads something of a pool, or nothing where the pool is unknown. */
  async function of<T>(poolId: string, read: (pool: number) => Promise<T[]>): Promise<T[]> {
    const pool = await pools.find(poolId)
    return pool === undefined ? [] : read(pool)
  }

  async function historyOf(poolId: string, range: Interval) {
    const covered = await of(poolId, (pool) => prices.coverage(pool, range))
    const changes = covered.length === 0 ? [] : await of(poolId, (pool) => prices.changes(pool, range))
    return { changes, covered }
  }

  return {
    services: parts.gapFiller ? [filler, retention] : [retention],
    async ingest(submission) {
      const result = await ingest(submission)
      if (result.accepted > 0) tell(new Set(submission.rows.map(({ given }) => given.pool)))
      return result
    },
    async recordHistory(poolId, ...rest) {
      const written = await history.recordHistory(poolId, ...rest)
      tell([poolId])
      return written
    },
    watch(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async facts(poolIds, range) {
      const found = new Map<string, PoolFacts>()
      for (let start = 0; start < poolIds.length; start += POOLS_AT_ONCE) {
        const slice = poolIds.slice(start, start + POOLS_AT_ONCE)
        const unknown = new Set(await pools.unknown(slice))
        const ids = slice.filter((id) => !unknown.has(id))
        const asked = await Promise.all(
          ids.map(async (id) => ({ pool: (await pools.find(id)) as number, ...range })),
        )
        const covered = await prices.coverageOf(asked)
        const changes = await prices.changesOf(asked)
        const samples = await prices.samplesOf(asked)
        for (const [i, id] of ids.entries())
          found.set(id, { covered: covered[i] ?? [], changes: changes[i] ?? [], samples: samples[i] ?? [] })
        // Everything else has its turn: SQLite reads in this thread.
        await setImmediate()
      }
      return found
    },
    coverage: async (poolId, range) => normalise(await of(poolId, (pool) => prices.coverage(pool, range))),
    async coverageOf(poolIds, range) {
      const wanted = new Set(poolIds)
      const asked = (await pools.all()).filter(({ poolId }) => wanted.has(poolId))
      const found = new Map<string, readonly Interval[]>()
      for (let start = 0; start < asked.length; start += AT_ONCE) {
        const part = asked.slice(start, start + AT_ONCE)
        const covered = await prices.coverageOf(part.map(({ id }) => ({ pool: id, ...range })))
        for (const [i, { poolId }] of part.entries()) found.set(poolId, normalise(covered[i] ?? []))
      }
      return found
    },
    samples: (poolId, range) => of(poolId, (pool) => prices.samples(pool, range)),
    history: historyOf,
    async series(poolId, range) {
      const [samples, interpolated, { changes, covered }] = await Promise.all([
        of(poolId, (pool) => prices.samples(pool, range)),
        of(poolId, (pool) => prices.interpolated(pool, range)),
        historyOf(poolId, range),
      ])
      return mergeSeries({ samples, history: stepSeries(changes, covered, range), interpolated }, range)
    },
    async latest(poolIds) {
      const all = await pools.all()
      const wanted = poolIds && new Set(poolIds)
      const asked = wanted ? all.filter(({ poolId }) => wanted.has(poolId)) : all
      const latest = await prices.latest(wanted && asked.map(({ id }) => id))
      return new Map(
        asked.flatMap(({ id, poolId }) => {
          const price = latest.get(id)
          return price ? [[poolId, price] as const] : []
        }),
      )
    },
    pools: () => pools.all(),
    unknownPools: pools.unknown,
    gaps: (query) => gaps.list(query),
    scan: filler.scan,
    undo: (batchId) => inOrder(() => gaps.undo(batchId)),
    purge: retention.purge,
  }
}
