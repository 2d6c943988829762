import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET, bucketFrom, bucketOf, bucketsBetween, eachBucket } from './bucket.ts'

const at = (text: string): Instant => instant(Date.parse(text))

test('a bucket is named by its start', () => {
  expect(bucketOf(at('2025-11-20T10:04:59.999Z'))).toBe(at('2025-11-20T10:00:00Z'))
  expect(bucketOf(at('2025-11-20T10:05:00Z'))).toBe(at('2025-11-20T10:05:00Z'))
  expect(bucketFrom(at('2025-11-20T10:00:00.001Z'))).toBe(at('2025-11-20T10:05:00Z'))
})

test('a range holds the buckets that start in it', () => {
  expect(bucketsBetween(at('2025-11-20T10:00:00Z'), at('2025-11-20T10:30:00Z'))).toBe(6)
  expect(bucketsBetween(at('2025-11-20T10:01:00Z'), at('2025-11-20T10:05:00Z'))).toBe(0)
  expect(bucketsBetween(at('2025-11-20T10:30:00Z'), at('2025-11-20T10:00:00Z'))).toBe(0)
})

test('counting and walking the buckets of a range agree, and a time lies in its bucket', () => {
  const time = fc.integer({ min: 0, max: 20 * BUCKET }).map(instant)
  fc.assert(
    fc.property(time, time, (from, to) => {
      expect([...eachBucket(from, to)]).toHaveLength(bucketsBetween(from, to))
      expect(from - bucketOf(from)).toBeGreaterThanOrEqual(0)
      expect(from - bucketOf(from)).toBeLessThan(BUCKET)
    }),
  )
})
