import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET, eachBucket } from './bucket.ts'
import { classOf, findGaps } from './gap.ts'
import type { Interval } from './interval.ts'

const at = (text: string): Instant => instant(Date.parse(`2025-11-20T${text}:00Z`))

test.each([
  [1, 'short'],
  [2, 'short'],
  [3, 'medium'],
  [6, 'medium'],
  [7, 'long'],
  [48, 'long'],
  [49, 'blackout'],
])('%i buckets are a %s gap', (buckets, name) => {
  expect(classOf(buckets)).toBe(name)
})

test('the gap of the seed: 10:00 to 10:15 are missing', () => {
  const present = [at('09:50'), at('09:55'), at('10:20'), at('10:25')]
  expect(findGaps(present, { from: at('09:50'), to: at('10:30') })).toEqual([
    { from: at('10:00'), to: at('10:20'), buckets: 4, class: 'medium' },
  ])
})

test('a bucket whose start is covered by history is no gap', () => {
  const covered = [{ from: at('10:00'), to: instant(at('10:05') + 1) }]
  expect(findGaps([], { from: at('10:00'), to: at('10:15') }, covered)).toEqual([
    { from: at('10:10'), to: at('10:15'), buckets: 1, class: 'short' },
  ])
})

test('gaps are exactly the buckets that are not there', () => {
  const LAST = 30
  const bucket = fc.integer({ min: 0, max: LAST - 1 }).map((i) => instant(i * BUCKET))
  const time = fc.integer({ min: 0, max: LAST * BUCKET }).map(instant)
  const interval = fc.tuple(time, time).map(([from, to]): Interval => ({ from, to }))
  fc.assert(
    fc.property(
      fc.uniqueArray(bucket),
      interval,
      fc.array(interval, { maxLength: 3 }),
      (some, range, covered) => {
        const present = some.toSorted((a, b) => a - b)
        const gaps = findGaps(present, range, covered)
        const missing = [...eachBucket(range.from, range.to)].filter(
          (start) => !present.includes(start) && !covered.some(({ from, to }) => from <= start && start < to),
        )
        expect(gaps.flatMap((gap) => [...eachBucket(gap.from, gap.to)])).toEqual(missing)
        for (const [i, gap] of gaps.entries()) {
          expect(gap.buckets).toBe((gap.to - gap.from) / BUCKET)
          expect(gap.class).toBe(classOf(gap.buckets))
          if (i > 0) expect(gap.from, 'two gaps in a row are one').toBeGreaterThan(gaps[i - 1]?.to ?? 0)
        }
      },
    ),
    { numRuns: 500 },
  )
})
