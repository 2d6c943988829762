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
 * The prices of `range` up to its end. History stands where it is complete, samples elsewhere; what was interpolated is no
 * price. Undefined where nothing is known. `changes` and `samples` must be in order.
 */
export function knownPrices(
  { changes, covered, samples }: PoolFacts,
  range: Interval,
  longestHole: Millis = LONGEST_HOLE,
): KnownPrices | undefined {
  const complete = intersect(covered, [range]).flatMap((interval) => withPrice(changes, interval))
  const sampled = samples.filter(({ at }) => at >= range.from && at < range.to)
  const buckets = sampled.map(({ at }) => ({ from: at, to: instant(Math.min(at + BUCKET, range.to)) }))
  const known = normalise([...complete, ...buckets])
  const last = known.at(-1)
  if (!last) return undefined
  let from = last.from
  const bridged: Interval[] = []
  for (let i = known.length - 2; i >= 0; i--) {
    const before = known[i] as Interval
    if (from - before.to > longestHole) break
    bridged.unshift({ from: before.to, to: from })
    from = before.from
  }
  const events: PriceEvent[] = []
  for (const interval of complete) {
    if (interval.from < from) continue
    events.push({ at: interval.from, price: stepAt(changes, interval.from) as PriceEvent['price'] })
    for (const change of changes)
      if (change.at > interval.from && change.at < interval.to) events.push(change)
  }
  for (const sample of outside(sampled, complete)) if (sample.at >= from) events.push(sample)
  return { path: toPricePath(events), from, until: last.to, bridged }
}

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
