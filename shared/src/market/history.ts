import type { MicroUsd } from '../core/money.ts'
import { type Instant, instant, type Millis } from '../core/time.ts'
import { BUCKET, bucketFrom } from './bucket.ts'
import { type Interval, intersect, normalise } from './interval.ts'

/** A price and since when it holds: until the next change, and no longer than history is complete. */
export interface PriceChange {
  readonly at: Instant
  readonly price: MicroUsd
}

/**
 * One answer of DescribeSpotPriceHistory. Pages may repeat rows, and the first row of a pool may lie before the
 * time that was asked for: it is the price at its start.
 */
export interface HistoryPage {
  readonly changes: readonly (PriceChange & { readonly poolId: string })[]
  /** Whether this page says that no other follows it. */
  readonly last: boolean
}

/** What is known of one pool, and for which times nothing is missing. */
export interface PoolHistory {
  readonly changes: readonly PriceChange[]
  readonly covered: readonly Interval[]
}

/**
 * The pages of one request, joined. Without the last page nothing is covered, since rows of any time may be on it: what came
 * is kept and the request is made again. A pool without rows is not covered either: EC2 does not offer it, and a
 * price carried over from long ago would be invented.
 */
export function mergePages(pages: readonly HistoryPage[], asked: Interval): ReadonlyMap<string, PoolHistory> {
  const covered = pages.some((page) => page.last) ? normalise([asked]) : []
  const pools = new Map<string, PriceChange[]>()
  for (const { poolId, at, price } of pages.flatMap((page) => page.changes)) {
    const changes = pools.get(poolId) ?? []
    if (changes.length === 0) pools.set(poolId, changes)
    changes.push({ at, price })
  }
  return new Map([...pools].map(([pool, changes]) => [pool, { changes: mergeChanges([changes]), covered }]))
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

/**
 * The times during which a file of prices was being collected: from row to row, as long as no two in succession, of whatever
 * pool, are more than `longest` apart. `times` must be in order.
 */
export function collectedRuns(times: readonly Instant[], longest: Millis): Interval[] {
  const runs: { from: Instant; to: Instant }[] = []
  for (const at of times) {
    const run = runs.at(-1)
    if (run && at - run.to <= longest) run.to = at
    else runs.push({ from: at, to: at })
  }
  return runs.filter(({ from, to }) => from < to)
}

/**
 * What a file covers of one pool: in every run from the pool's first row on. What it cost before that is not in the file,
 * and the price from before a break may not hold after it. `changes` must be in order.
 */
export const coveredByFile = (changes: readonly PriceChange[], runs: readonly Interval[]): Interval[] =>
  normalise(
    runs.flatMap(({ from, to }) => {
      const first = changes.find((change) => change.at >= from)
      return first && first.at < to ? [{ from: first.at, to }] : []
    }),
  )
