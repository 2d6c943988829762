import type { MicroUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET, bucketFrom } from './bucket.ts'
import { type Interval, intersect } from './interval.ts'

/** A price and since when it holds: until the next change, and no longer than history is complete. */
export interface PriceChange {
  readonly at: Instant
  readonly price: MicroUsd
}

/**
 * Changes in order, each moment once. Where two sources disagree about a moment the lower price stands, so that the
 * order of the sources does not matter. A price that is repeated stays: another source may bring a change between the two.
 */
export function mergeChanges(lists: readonly (readonly PriceChange[])[]): PriceChange[] {
  const inOrder = lists.flat().sort((a, b) => a.at - b.at || a.price - b.price)
  return inOrder.filter((change, i) => change.at !== inOrder[i - 1]?.at)
}

/** The price that holds at `at`: that of the last change up to then. `changes` must be in order. */
export function stepAt(changes: readonly PriceChange[], at: Instant): MicroUsd | undefined {
  let low = 0
  let high = changes.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((changes[middle] as PriceChange).at <= at) low = middle + 1
    else high = middle
  }
  return changes[low - 1]?.price
}

/**
 * The price at the start of every bucket of `range` that is covered. A bucket before the pool's first change has none.
 * `changes` must be in order.
 */
export function stepSeries(
  changes: readonly PriceChange[],
  covered: readonly Interval[],
  range: Interval,
): PriceChange[] {
  const points: PriceChange[] = []
  let next = 0
  let price: MicroUsd | undefined
  for (const { from, to } of intersect(covered, [range]))
    for (let at = bucketFrom(from); at < to; at = instant(at + BUCKET)) {
      for (; next < changes.length && (changes[next] as PriceChange).at <= at; next++)
        price = changes[next]?.price
      if (price !== undefined) points.push({ at, price })
    }
  return points
}
