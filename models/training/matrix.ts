import type { MicroUsd } from '../../shared/src/core/money.ts'
import type { Instant } from '../../shared/src/core/time.ts'
import type { FeatureName } from '../../shared/src/market/feature-catalog.ts'
import { createFeatureTable } from '../../shared/src/market/features.ts'
import { poolId } from '../../shared/src/market/pool.ts'
import { HOUR_MS, type PricePath, toPricePath } from '../../shared/src/market/price-path.ts'
import { firstRise, type RiseTarget } from '../../shared/src/market/price-rise.ts'
import type { PoolHistory } from './price-file.ts'

/** A stretch of time without a hole in the history. */
export interface Segment {
  readonly from: Instant
  readonly to: Instant
}

export interface MatrixSpec {
  readonly histories: readonly PoolHistory[]
  readonly onDemand: ReadonlyMap<string, MicroUsd>
  readonly names: readonly FeatureName[]
  readonly target: RiseTarget
  /** Milliseconds between rows of a pool. */
  readonly grid: number
  /** Milliseconds at the beginning of each segment that have no row. */
  readonly warmUp: number
  readonly segments: readonly Segment[]
}

/** The rows of one moment: those pools whose next 12 h are covered. */
export interface MatrixRows {
  readonly at: Instant
  readonly segment: number
  /** Numbers of the pools in `Matrix.pools`. */
  readonly pools: Uint16Array
  readonly features: Float32Array
  /** Hours until the price has risen by more than the target's factor, NaN where it does not within the horizon. */
  readonly rise: Float32Array
}

/** AWS says an unchanged price again after about 24 h: silence for longer means that nothing is known. */
const SILENCE_MS = 36 * HOUR_MS

/** Segments of a file: its whole span, cut at the seams. */
export function segmentsOf(histories: readonly PoolHistory[], seams: readonly Segment[]): Segment[] {
  let from = Number.POSITIVE_INFINITY
  let to = Number.NEGATIVE_INFINITY
  for (const { events } of histories)
    for (const { at } of events) {
      from = Math.min(from, at)
      to = Math.max(to, at)
    }
  const cuts = [...seams].sort((a, b) => a.from - b.from)
  const starts = [from, ...cuts.map((seam) => seam.to)]
  const ends = [...cuts.map((seam) => seam.from), to]
  return starts
    .map((start, i) => ({ from: start as Instant, to: ends[i] as Instant }))
    .filter((segment) => segment.from < segment.to)
}

/**
 * Walks the grid through each segment. A segment knows nothing of what was before it. A row is left out where its label
 * cannot be known: the window ends after the segment, or after the pool has fallen silent.
 */
export function* matrixRows(spec: MatrixSpec, numberOf: ReadonlyMap<string, number>): Generator<MatrixRows> {
  for (const [segment, span] of spec.segments.entries()) yield* segmentRows(spec, span, segment, numberOf)
}

function* segmentRows(
  { histories, onDemand, names, target, grid, warmUp }: MatrixSpec,
  span: Segment,
  segment: number,
  numberOf: ReadonlyMap<string, number>,
): Generator<MatrixRows> {
  const repeats = saysAgain(histories)
  const inside = histories
    .map(({ pool, events }) => ({
      pool,
      events: events.filter(({ at }) => at >= span.from && at <= span.to),
    }))
    .filter(({ events }) => events.length > 0)
  const paths = new Map<string, { path: PricePath; until: number }>()
  const given = inside.map(({ pool, events }) => {
    const path = toPricePath(events)
    paths.set(poolId(pool), { path, until: knownUntil(events, span, repeats) })
    return { pool, path, onDemand: onDemand.get(pool.instanceType) }
  })
  const table = createFeatureTable(given, names)
  const ordered = table.pools.map((pool) => {
    const id = poolId(pool)
    return { ...(paths.get(id) as { path: PricePath; until: number }), number: numberOf.get(id) as number }
  })
  const width = names.length
  const all = new Float32Array(ordered.length * width)
  for (let t = Math.ceil((span.from + warmUp) / grid) * grid; t + target.horizon <= span.to; t += grid) {
    const at = t as Instant
    table.rowsAt(at, all)
    const kept: number[] = []
    ordered.forEach(({ path, until }, i) => {
      if ((path.at[0] as number) <= t && t + target.horizon <= until) kept.push(i)
    })
    const features = new Float32Array(kept.length * width)
    const rise = new Float32Array(kept.length)
    kept.forEach((i, row) => {
      features.set(all.subarray(i * width, (i + 1) * width), row * width)
      const when = firstRise((ordered[i] as { path: PricePath }).path, at, target)
      rise[row] = when === undefined ? Number.NaN : (when - t) / HOUR_MS
    })
    yield {
      at,
      segment,
      pools: Uint16Array.from(kept, (i) => (ordered[i] as { number: number }).number),
      features,
      rise,
    }
  }
}

/** Whether the file repeats unchanged prices, so that silence means something. */
function saysAgain(histories: readonly PoolHistory[]): boolean {
  let same = 0
  let all = 0
  for (const { events } of histories)
    for (let i = 1; i < events.length; i++) {
      all += 1
      if (events[i]?.price === events[i - 1]?.price) same += 1
    }
  return same > 0.1 * all
}

function knownUntil(events: PoolHistory['events'], span: Segment, repeats: boolean): number {
  const last = events.reduce((latest, { at }) => Math.max(latest, at), 0)
  return !repeats || span.to - last <= SILENCE_MS ? span.to : last
}
