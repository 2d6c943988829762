import { type MicroUsd, microUsd } from '../core/money.ts'
import { type Instant, minutes } from '../core/time.ts'
import { bucketOf, eachBucket } from './bucket.ts'
import { type Gap, type GapClass, gapOf } from './gap.ts'
import type { PriceChange } from './history.ts'
import { type Pool, regionOf } from './pool.ts'

export const interpolationMethods = ['linear', 'weighted-average', 'cross-pool'] as const
export type InterpolationMethod = (typeof interpolationMethods)[number]

/** In hundredths: short, medium, long up to 2 hours, long up to 4 hours. */
export type InterpolationConfidence = 85 | 75 | 70 | 60

/** What a price was computed from: real prices of the pool itself, or the moves of its peers. */
export type InterpolationInputs =
  | { readonly points: number; readonly from: Instant; readonly to: Instant }
  | { readonly peers: readonly string[]; readonly move: number }

/** A price that nobody saw. It is kept apart from real ones and says how it came about. */
export interface InterpolatedRow {
  readonly at: Instant
  readonly price: MicroUsd
  readonly confidence: InterpolationConfidence
  readonly gapClass: GapClass
  readonly method: InterpolationMethod
  readonly inputs: InterpolationInputs
  readonly before: PriceChange
  readonly after: PriceChange
}

/** A pool of the same type in another zone of the region, with its real prices by bucket. */
export interface Peer {
  readonly poolId: string
  readonly prices: ReadonlyMap<Instant, MicroUsd>
}

export const emptyCodes = ['blackout', 'no_price_before', 'no_price_after', 'no_peers'] as const
export type EmptyCode = (typeof emptyCodes)[number]

/** Rows for the buckets that could be computed, or why there are none. `left` buckets stay empty. */
export type Filling =
  | { readonly rows: readonly InterpolatedRow[]; readonly left: number }
  | { readonly empty: EmptyCode; readonly reason: string }

/** Prices further than this from a bucket say nothing about it. */
const WINDOW = minutes(60)
/** The longest gap that peers fill with the higher of the two confidences, in buckets. */
const LONG_SURE = 24

const sentences: Readonly<Record<EmptyCode, string>> = {
  blackout: 'longer than 4 hours: nothing is invented for it',
  no_price_before: 'there is no real price in the hour before it',
  no_price_after: 'there is no real price in the hour after it',
  no_peers: 'no pool of the same type in another zone of the region has prices both before it and during it',
}

/**
 * What a gap is filled with where history cannot be fetched. Every price given here must be real: a sample or history.
 * The order of the inputs does not matter, and the same inputs give the same rows.
 * Methods and confidences: seeds/system-overview.md, scenario 5; design/rulings.md for gaps of 2 to 4 hours.
 * @param before prices of the pool before the gap; those of the last hour are used
 * @param after prices of the pool from the gap's end on; those of the first hour are used
 * @param peers only read for long gaps
 */
export function fillGap(
  gap: Pick<Gap, 'from' | 'to'>,
  before: readonly PriceChange[],
  after: readonly PriceChange[],
  peers: readonly Peer[] = [],
): Filling {
  const { from, to, buckets, class: gapClass } = gapOf(gap.from, gap.to)
  if (gapClass === 'blackout') return emptyFor('blackout')
  const known = inOrder([
    ...before.filter(({ at }) => at < from && at >= from - WINDOW),
    ...after.filter(({ at }) => at >= to && at <= to + WINDOW),
  ])
  const last = known.findLast(({ at }) => at < from)
  const first = known.find(({ at }) => at >= to)
  if (!last) return emptyFor('no_price_before')
  if (!first) return emptyFor('no_price_after')

  const valueAt = valuesFrom(gapClass, last, first, known, peers)
  const rows = [...eachBucket(from, to)].flatMap((at): InterpolatedRow[] => {
    const value = valueAt(at)
    if (!value) return []
    const { inputs, method } = value
    const price = microUsd(Math.max(1, Math.round(value.price)))
    const confidence = confidenceOf(gapClass, buckets)
    return [{ at, price, confidence, gapClass, method, inputs, before: last, after: first }]
  })
  return rows.length === 0 ? emptyFor('no_peers') : { rows, left: buckets - rows.length }
}

/** Whether the prices of `other` may fill a long gap of `pool`. */
export const isPeer = (pool: Pool, other: Pool): boolean =>
  pool.instanceType === other.instanceType &&
  pool.availabilityZone !== other.availabilityZone &&
  regionOf(pool.availabilityZone) === regionOf(other.availabilityZone)

interface Value {
  readonly price: number
  readonly method: InterpolationMethod
  readonly inputs: InterpolationInputs
}

function valuesFrom(
  gapClass: GapClass,
  last: PriceChange,
  first: PriceChange,
  known: readonly PriceChange[],
  peers: readonly Peer[],
): (at: Instant) => Value | undefined {
  if (gapClass === 'short') return (at) => linear(at, last, first)
  if (gapClass === 'medium') return (at) => weighted(at, known)
  const anchor = bucketOf(last.at)
  const useful = peers
    .filter((peer) => peer.prices.has(anchor))
    .sort((a, b) => (a.poolId < b.poolId ? -1 : a.poolId > b.poolId ? 1 : 0))
  return (at) => crossPool(at, last, anchor, useful)
}

function linear(at: Instant, last: PriceChange, first: PriceChange): Value {
  const share = (at - last.at) / (first.at - last.at)
  return {
    price: last.price + (first.price - last.price) * share,
    method: 'linear',
    inputs: { points: 2, from: last.at, to: first.at },
  }
}

/** The mean of the prices within an hour, each weighed by 1 / (minutes away + 1). Undefined where there is none. */
function weighted(at: Instant, known: readonly PriceChange[]): Value | undefined {
  const near = known.filter((point) => Math.abs(point.at - at) <= WINDOW)
  if (near.length === 0) return undefined
  let sum = 0
  let weights = 0
  for (const point of near) {
    const weight = 1 / (Math.abs(point.at - at) / 60_000 + 1)
    sum += point.price * weight
    weights += weight
  }
  const from = near[0]?.at ?? at
  const to = near.at(-1)?.at ?? at
  return { price: sum / weights, method: 'weighted-average', inputs: { points: near.length, from, to } }
}

/** The last real price, moved as the median peer has moved since. */
function crossPool(
  at: Instant,
  last: PriceChange,
  anchor: Instant,
  peers: readonly Peer[],
): Value | undefined {
  const moves = peers.flatMap(({ poolId, prices }) => {
    const now = prices.get(at)
    const then = prices.get(anchor)
    return now === undefined || !then ? [] : [{ poolId, move: now / then }]
  })
  if (moves.length === 0) return undefined
  const move = median(moves.map((peer) => peer.move))
  const inputs = { peers: moves.map((peer) => peer.poolId), move }
  return { price: last.price * move, method: 'cross-pool', inputs }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const upper = sorted[sorted.length >> 1] as number
  const lower = sorted[(sorted.length - 1) >> 1] as number
  return (lower + upper) / 2
}

function confidenceOf(gapClass: GapClass, buckets: number): InterpolationConfidence {
  if (gapClass === 'short') return 85
  if (gapClass === 'medium') return 75
  return buckets <= LONG_SURE ? 70 : 60
}

/** In order of time; two of one moment by price, so that sums of them are the same to the last bit. */
const inOrder = (points: readonly PriceChange[]): PriceChange[] =>
  points.toSorted((a, b) => a.at - b.at || a.price - b.price)

const emptyFor = (code: EmptyCode): Filling => ({ empty: code, reason: sentences[code] })
