import { type Instant, instant } from '../core/time.ts'
import { BUCKET, bucketFrom } from './bucket.ts'
import { type Interval, minus, union } from './interval.ts'

export const gapClasses = ['short', 'medium', 'long', 'blackout'] as const
export type GapClass = (typeof gapClasses)[number]

/** Buckets in a row for which there is neither a sample nor a fetched history. */
export interface Gap extends Interval {
  readonly buckets: number
  readonly class: GapClass
}

/** The longest gap of each class, in buckets: 10 minutes, 30 minutes, 4 hours. */
const SHORT = 2
const MEDIUM = 6
const LONG = 48

export function classOf(buckets: number): GapClass {
  if (buckets <= SHORT) return 'short'
  if (buckets <= MEDIUM) return 'medium'
  return buckets <= LONG ? 'long' : 'blackout'
}

export const gapOf = (from: Instant, to: Instant): Gap => {
  const buckets = (to - from) / BUCKET
  return { from, to, buckets, class: classOf(buckets) }
}

/**
 * The gaps of `range`, in order.
 * @param present the buckets with a sample, ascending
 * @param covered times whose history is complete; a bucket is covered when its start is
 */
export function findGaps(
  present: readonly Instant[],
  range: Interval,
  covered: readonly Interval[] = [],
): Gap[] {
  const sampled = present.map((at) => ({ from: at, to: instant(at + BUCKET) }))
  const known = union(sampled, covered.map(wholeBuckets))
  return minus([wholeBuckets(range)], known).map(({ from, to }) => gapOf(from, to))
}

/** The buckets that start in an interval, as an interval. */
const wholeBuckets = ({ from, to }: Interval): Interval => ({ from: bucketFrom(from), to: bucketFrom(to) })
