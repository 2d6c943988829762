import { type Instant, instant, type Millis, millis } from '../core/time.ts'
import { BUCKET } from './bucket.ts'
import { type PriceChange, stepAt } from './history.ts'
import { type Interval, intersect, normalise } from './interval.ts'
import { HOUR_MS, indexAt, type PriceEvent, type PricePath, toPricePath } from './price-path.ts'

/** Real prices of one pool: the steps of its history with where they are complete, and samples by bucket. */
export interface PoolFacts {
  readonly changes: readonly PriceChange[]
  readonly covered: readonly Interval[]
  readonly samples: readonly PriceChange[]
}

/** The last stretch of time in which the price of a pool is known without a long hole. */
export interface KnownPrices {
  /** It begins where the stretch does: what was before a hole is not carried across it. */
  readonly path: PricePath
  readonly from: Instant
  /** Nothing is known from here on. */
  readonly until: Instant
  /** Holes within the stretch in which the price of before was held. */
  readonly bridged: readonly Interval[]
}

/** A hole longer than this is a blackout: nothing is carried across it. */
export const LONGEST_HOLE = millis(4 * HOUR_MS)

/**
 * The last stretch of `range`. History stands where it is complete, samples elsewhere; what was interpolated is no price.
 * Undefined where nothing is known. `changes` and `samples` must be in order.
 */
export const knownPrices = (
  facts: PoolFacts,
  range: Interval,
  longestHole: Millis = LONGEST_HOLE,
): KnownPrices | undefined => knownStretches(facts, range, longestHole).at(-1)

/** All stretches of `range` that a longer hole lies between. */
export function knownStretches(
  { changes, covered, samples }: PoolFacts,
  range: Interval,
  longestHole: Millis,
): KnownPrices[] {
  const complete = intersect(covered, [range]).flatMap((interval) => withPrice(changes, interval))
  const sampled = samples.filter(({ at }) => at >= range.from && at < range.to)
  const buckets = sampled.map(({ at }) => ({ from: at, to: instant(Math.min(at + BUCKET, range.to)) }))
  const events = [
    ...complete.flatMap((interval) => stepsOf(changes, interval)),
    ...outside(sampled, complete),
  ].sort((a, b) => a.at - b.at)
  const stretches: { from: Instant; until: Instant; bridged: Interval[] }[] = []
  for (const { from, to } of normalise([...complete, ...buckets])) {
    const last = stretches.at(-1)
    if (last && from - last.until <= longestHole) {
      last.bridged.push({ from: last.until, to: from })
      last.until = to
    } else stretches.push({ from, until: to, bridged: [] })
  }
  return stretches.map((stretch) => ({
    ...stretch,
    path: toPricePath(events.filter(({ at }) => at >= stretch.from && at < stretch.until)),
  }))
}

/** The price at the start, and the changes within. */
const stepsOf = (changes: readonly PriceChange[], { from, to }: Interval): PriceEvent[] => [
  { at: from, price: stepAt(changes, from) as PriceEvent['price'] },
  ...changes.filter(({ at }) => at > from && at < to),
]

/** A covered time from where on the pool has a price. */
function withPrice(changes: readonly PriceChange[], { from, to }: Interval): Interval[] {
  if (stepAt(changes, from) !== undefined) return [{ from, to }]
  const first = changes.find(({ at }) => at > from)
  return first && first.at < to ? [{ from: first.at, to }] : []
}

/** Both in order. */
function outside(samples: readonly PriceChange[], covered: readonly Interval[]): PriceChange[] {
  let next = 0
  return samples.filter(({ at }) => {
    while (next < covered.length && (covered[next] as Interval).to <= at) next++
    const interval = covered[next]
    return !interval || at < interval.from
  })
}

/** How long before `t` the price was last known to hold; Infinity before the first. */
export const priceAge = ({ path, until }: KnownPrices, t: Instant): number =>
  indexAt(path.at, t) < 0 ? Number.POSITIVE_INFINITY : Math.max(0, t - until)
