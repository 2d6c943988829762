import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { MicroUsd } from '@understudy/shared/core/money'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, type Instant, instant, minutes } from '@understudy/shared/core/time'
import { BUCKET, bucketFrom, bucketOf } from '@understudy/shared/market/bucket'
import { type Gap, gapOf } from '@understudy/shared/market/gap'
import { type PriceChange, stepSeries } from '@understudy/shared/market/history'
import { fillGap, isPeer, type Peer } from '@understudy/shared/market/interpolate'
import { type Interval, minus, union } from '@understudy/shared/market/interval'
import type { Logger } from 'pino'
import type { GapRow } from '../storage/database.ts'
import { type FoundGap, type GapStore, UNDONE } from './gap-store.ts'
import type { KnownPool, PoolStore } from './pool-store.ts'
import type { PriceStore } from './price-store.ts'

/** Fetches real prices for gaps, which is tried before any is interpolated. */
export interface HistoryFetcher {
  /** Records what it finds. @throws AppError when it cannot, which leaves the gaps to interpolation */
  fetchHistory(
    ask: { readonly pools: readonly string[]; readonly range: Interval },
    signal: AbortSignal,
  ): Promise<unknown>
}

export interface ScanRequest {
  readonly range: Interval
  /** All of them if not said. */
  readonly pools?: readonly string[] | undefined
  /** False: gaps are only counted, and nothing is written. */
  readonly fill?: boolean | undefined
}

export interface ScanResult {
  /** Under which `undo` takes back what was filled. */
  readonly batchId: string
  readonly pools: number
  /** All gaps that touch the range, new or not. */
  readonly gaps: number
  /** Gaps that were filled now, and with how many prices. */
  readonly filled: number
  readonly rows: number
  /** Gaps that stay empty: nothing real to compute them from, too long, or only looked for. */
  readonly empty: number
  /** Gaps that have not ended. */
  readonly open: number
  readonly millis: number
}

type NumberedPool = KnownPool & { readonly id: number }

export interface GapFillerParts {
  readonly clock: Clock
  readonly log: Logger
  readonly pools: PoolStore
  readonly prices: PriceStore
  readonly gaps: GapStore
  readonly inOrder: <T>(task: () => Promise<T>) => Promise<T>
  readonly history?: HistoryFetcher | undefined
  /** Called after each scan, also of those that run by themselves. */
  readonly onScan?: ((result: ScanResult) => void) | undefined
}

export interface GapFiller extends Service {
  scan(request: ScanRequest, signal?: AbortSignal): Promise<ScanResult>
}

const EVERY = minutes(15)
const BACK = minutes(24 * 60)
/** Prices within an hour of a gap are what it is filled from. */
const AROUND = 12
const NEAR = AROUND * BUCKET
/** While one pool is computed, PostgreSQL reads others; SQLite takes them one after the other. */
const AT_ONCE = 4
/** Pools for which history is asked at once. */
const TOGETHER = 50

/**
 * Finds the gaps of a few pools at a time and fills what can be filled: for each one read, rules in shared/market, one
 * transaction. A pool that is as it was is not written. Between some and the next everything else has its turn.
 */
export function createGapFiller(parts: GapFillerParts): GapFiller {
  const { clock, log, pools, prices, gaps, inOrder, history } = parts

  async function scan(request: ScanRequest, signal = new AbortController().signal): Promise<ScanResult> {
    const started = clock.mono()
    const to = instant(Math.min(bucketOf(request.range.to), bucketOf(clock.now())))
    const range = { from: bucketFrom(request.range.from), to }
    const batch = { id: randomUUID(), at: clock.now() }
    const all = await pools.all()
    const wanted = request.pools && new Set(request.pools)
    const scanned = wanted ? all.filter(({ poolId }) => wanted.has(poolId)) : all
    const fill = request.fill ?? true
    let total: Counted = { gaps: 0, filled: 0, rows: 0, empty: 0, open: 0 }
    for (let start = 0; start < scanned.length; start += TOGETHER) {
      const chunk = scanned.slice(start, start + TOGETHER)
      if (fill && history) await fetchFor(chunk, range, history, signal)
      for (let i = 0; i < chunk.length; i += AT_ONCE) {
        signal.throwIfAborted()
        const some = chunk.slice(i, i + AT_ONCE)
        const counted = await inOrder(() =>
          allEnded(some.map((pool) => scanPool(pool, range, fill, all, batch))),
        )
        for (const one of counted) total = sumOf(total, one)
        await setImmediate()
      }
    }
    const result = { batchId: batch.id, pools: scanned.length, ...total, millis: clock.mono() - started }
    parts.onScan?.(result)
    return result
  }

  /** History first: what can still be fetched is not interpolated. */
  async function fetchFor(
    chunk: readonly NumberedPool[],
    range: Interval,
    from: HistoryFetcher,
    signal: AbortSignal,
  ): Promise<void> {
    const lacking: string[] = []
    let missing: Interval[] = []
    for (const pool of chunk) {
      signal.throwIfAborted()
      const { holes, ends } = await look(pool.id, range)
      await setImmediate()
      const closed = holes.filter((hole) => hole.to <= ends)
      if (closed.length === 0) continue
      lacking.push(pool.poolId)
      missing = union(missing, closed)
    }
    const first = missing[0]
    const last = missing.at(-1)
    if (!first || !last) return
    try {
      await from.fetchHistory({ pools: lacking, range: { from: first.from, to: last.to } }, signal)
    } catch (error) {
      if (!isAppError(error)) throw error
      log.info({ event: 'gaps.no_history', code: error.code, why: messageOf(error), pools: lacking.length })
    }
  }

  /** Real prices by bucket from an hour before the gaps to an hour after them, and where there are none. */
  async function look(pool: number, range: Interval) {
    const edges = await prices.edges(pool, range)
    const inner = { from: edges.before ?? edges.first ?? range.to, to: edges.after ?? range.to }
    const wide = { from: instant(inner.from - NEAR), to: instant(inner.to + NEAR + BUCKET) }
    const covered = await prices.coverage(pool, wide)
    const real = await realPrices(pool, wide, covered)
    return {
      real,
      // History that begins without a price is complete all the same.
      holes: minus(holesOf(real, inner), covered.map(wholeBuckets)).filter(
        (hole) => hole.to > range.from && hole.from < range.to,
      ),
      // What has no price after it has not ended.
      ends: real.at(-1)?.at ?? range.from,
    }
  }

  async function realPrices(
    pool: number,
    range: Interval,
    covered: readonly Interval[],
  ): Promise<PriceChange[]> {
    return withHistory(pool, range, covered, await prices.samples(pool, range))
  }

  async function withHistory(
    pool: number,
    range: Interval,
    covered: readonly Interval[],
    samples: readonly PriceChange[],
  ): Promise<PriceChange[]> {
    if (covered.length === 0) return [...samples]
    const sampled = new Set(samples.map(({ at }) => at))
    const steps = stepSeries(await prices.changes(pool, range), covered, range)
    return [...samples, ...steps.filter(({ at }) => !sampled.has(at))].sort((a, b) => a.at - b.at)
  }

  async function scanPool(
    pool: NumberedPool,
    range: Interval,
    fill: boolean,
    all: readonly NumberedPool[],
    batch: { readonly id: string; readonly at: Instant },
  ) {
    const { real, holes, ends } = await look(pool.id, range)
    // The end that is written down of an open gap may lie before the range: the gap itself reaches into it.
    const from = instant(Math.min(range.from, holes[0]?.from ?? range.from))
    const rows = await gaps.known(pool.id, { from, to: range.to })
    const known = new Map(rows.map((row) => [row.from_at, row]))
    const counted = { gaps: holes.length, filled: 0, rows: 0, empty: 0, open: 0 }
    const found: FoundGap[] = []
    const looked = holes.map((hole) => gapOf(hole.from, hole.to))
    const ask = looked.filter((gap) => fill && needsPeers(gap, ends, known.get(gap.from)))
    const peers = await peersOf(pool, ask, real, all)
    for (const gap of looked) {
      const row = known.get(gap.from)
      if (row && isFinal(row, gap)) {
        known.delete(gap.from)
        if (row.status === 'empty') counted.empty += 1
        continue
      }
      const outcome = gap.to > ends ? { ...gap, ...OPEN } : close(gap, real, fill, peers.get(gap))
      counted[outcome.status] += 1
      counted.rows += outcome.rows.length
      if (isSame(row, outcome)) known.delete(gap.from)
      else found.push(outcome)
    }
    if (fill && known.size + found.length > 0) await gaps.replace(pool.id, [...known.values()], found, batch)
    return counted
  }

  /** The prices of the peers in each of these gaps, in two queries however many there are. */
  async function peersOf(
    pool: NumberedPool,
    found: readonly Gap[],
    real: readonly PriceChange[],
    all: readonly NumberedPool[],
  ): Promise<ReadonlyMap<Gap, Peer[]>> {
    const others = all.filter((other) => other.region === pool.region && isPeer(pool, other))
    const asked = found.flatMap((gap) => {
      const from = real[firstFrom(real, gap.from) - 1]?.at ?? gap.from
      return others.map((other) => ({ gap, poolId: other.poolId, pool: other.id, from, to: gap.to }))
    })
    const peers = new Map<Gap, Peer[]>()
    if (asked.length === 0) return peers
    const samples = await prices.samplesOf(asked)
    const covered = await prices.coverageOf(asked)
    for (const [i, ask] of asked.entries()) {
      await setImmediate()
      const points = await withHistory(ask.pool, ask, covered[i] ?? [], samples[i] ?? [])
      const known = new Map<Instant, MicroUsd>(points.map(({ at, price }) => [at, price]))
      peers.set(ask.gap, [...(peers.get(ask.gap) ?? []), { poolId: ask.poolId, prices: known }])
    }
    return peers
  }

  return {
    name: 'gap-filler',
    scan,
    run: (signal) =>
      everyPeriod(clock, EVERY, signal, async () => {
        try {
          const now = clock.now()
          const result = await scan({ range: { from: instant(now - BACK), to: now } }, signal)
          if (result.filled > 0) log.info({ event: 'gaps.filled', ...result })
          await rescan(signal)
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'gaps.failed', err: error })
        }
      }),
  }

  /** Late prices may have come into gaps of long ago. */
  async function rescan(signal: AbortSignal): Promise<void> {
    const stale = await gaps.stale()
    if (stale.length === 0) return
    const names = new Map((await pools.all()).map(({ id, poolId }) => [id, poolId]))
    for (const { pool, range } of stale) {
      const name = names.get(pool)
      if (name !== undefined) await scan({ range, pools: [name] }, signal)
    }
  }
}

type Counted = Pick<ScanResult, 'gaps' | 'filled' | 'rows' | 'empty' | 'open'>

const sumOf = (a: Counted, b: Counted): Counted => ({
  gaps: a.gaps + b.gaps,
  filled: a.filled + b.filled,
  rows: a.rows + b.rows,
  empty: a.empty + b.empty,
  open: a.open + b.open,
})

/** As `Promise.all`, but no failure leaves another at work. */
async function allEnded<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work)
  return Promise.all(work)
}

const wholeBuckets = ({ from, to }: Interval): Interval => ({ from: bucketFrom(from), to: bucketFrom(to) })

/** What is not looked at again until real prices come. */
const isFinal = (row: GapRow | undefined, gap: Gap): boolean =>
  row?.to_at === gap.to && (row.status === 'filled' || (row.status === 'empty' && row.reason === UNDONE))

const needsPeers = (gap: Gap, ends: Instant, row: GapRow | undefined): boolean =>
  gap.class === 'long' && gap.to <= ends && !isFinal(row, gap)

const OPEN = { status: 'open', reason: 'no price has come since', rows: [] } as const

/** How far the end of an open gap may have moved before it is written down. */
const MOVED = minutes(6 * 60)

/** A gap that stays empty, or stays open and in its class, is not written again: an open one would be at every look. */
const isSame = (row: GapRow | undefined, gap: FoundGap): boolean =>
  gap.rows.length === 0 &&
  row?.from_at === gap.from &&
  (row.to_at === gap.to || isOnlyLonger(row, gap)) &&
  row.status === gap.status &&
  row.reason === gap.reason

const isOnlyLonger = (row: GapRow, gap: FoundGap): boolean =>
  gap.status === 'open' && row.gap_class === gap.class && row.to_at <= gap.to && gap.to - row.to_at < MOVED

function close(
  gap: Gap,
  real: readonly PriceChange[],
  fill: boolean,
  peers: readonly Peer[] = [],
): FoundGap & { status: 'filled' | 'empty' } {
  if (!fill) return { ...gap, status: 'empty', reason: 'not filled: it was only looked for', rows: [] }
  const next = firstFrom(real, gap.to)
  const before = real.slice(Math.max(0, next - AROUND), next)
  const after = real.slice(next, next + AROUND + 1)
  const filling = fillGap(gap, before, after, peers)
  if ('empty' in filling) return { ...gap, status: 'empty', reason: filling.reason, rows: [] }
  const reason = filling.left > 0 ? `${filling.left} buckets in which no peer has a price stay empty` : null
  return { ...gap, status: 'filled', reason, rows: filling.rows }
}

/** The index of the first price at `at` or later. */
function firstFrom(real: readonly PriceChange[], at: Instant): number {
  let low = 0
  let high = real.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((real[middle] as PriceChange).at < at) low = middle + 1
    else high = middle
  }
  return low
}

/** Where no bucket of `real`, which is in order, lies. */
function holesOf(real: readonly PriceChange[], range: Interval): Interval[] {
  const holes: Interval[] = []
  let next = range.from
  for (const { at } of real) {
    if (at < next) continue
    if (at >= range.to) break
    if (at > next) holes.push({ from: next, to: at })
    next = instant(at + BUCKET)
  }
  if (next < range.to) holes.push({ from: next, to: range.to })
  return holes
}
