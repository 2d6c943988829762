import { type Instant, instant, millis } from '../core/time.ts'

/** Prices are kept per bucket of five minutes. A bucket is named by its start, a multiple of this length. */
export const BUCKET = millis(300_000)

/** The bucket in which `at` lies. */
export const bucketOf = (at: Instant): Instant => instant(Math.floor(at / BUCKET) * BUCKET)

/** The first bucket that starts at `at` or later. */
export const bucketFrom = (at: Instant): Instant => instant(Math.ceil(at / BUCKET) * BUCKET)

/** How many buckets start in `[from, to)`. */
export const bucketsBetween = (from: Instant, to: Instant): number =>
  Math.max(0, (bucketFrom(to) - bucketFrom(from)) / BUCKET)

/** The buckets that start in `[from, to)`, in order. */
export function* eachBucket(from: Instant, to: Instant): Generator<Instant> {
  for (let at = bucketFrom(from); at < to; at = instant(at + BUCKET)) yield at
}
