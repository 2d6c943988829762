import fc from 'fast-check'
import { expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { instant } from '../core/time.ts'
import { BUCKET } from './bucket.ts'
import { decimate, FEWEST_POINTS } from './decimate.ts'
import type { SeriesPoint } from './series.ts'

const value = fc.oneof(
  { weight: 4, arbitrary: fc.record({ price: fc.integer({ min: 1, max: 1000 }), doubt: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant(null) },
)

const toPoint = (given: { price: number; doubt: boolean } | null, i: number): SeriesPoint => {
  const at = instant(i * BUCKET)
  if (!given) return { at, price: null, source: null, confidence: null }
  return given.doubt
    ? { at, price: microUsd(given.price), source: 'interpolated', confidence: 75 }
    : { at, price: microUsd(given.price), source: 'history', confidence: 100 }
}

const series = fc
  .oneof(
    fc.array(value, { maxLength: 300 }),
    fc
      .array(fc.tuple(value, fc.integer({ min: 1, max: 20 })), { maxLength: 30 })
      .map((runs) => runs.flatMap(([each, length]) => Array<typeof each>(length).fill(each))),
  )
  .map((values) => values.map(toPoint))
const most = fc.integer({ min: FEWEST_POINTS, max: 120 })

test('no more points than asked for, each as it was, in order, with both ends', () => {
  fc.assert(
    fc.property(series, most, (points, limit) => {
      const kept = decimate(points, limit)
      expect(kept.length).toBeLessThanOrEqual(limit)
      const places = kept.map((point) => points.indexOf(point))
      expect(places.every((place, i) => place >= 0 && (i === 0 || place > (places[i - 1] ?? -1)))).toBe(true)
      expect([kept[0], kept.at(-1)]).toEqual([points[0], points.at(-1)])
      if (points.length <= limit) expect(kept).toEqual(points)
    }),
    { numRuns: 500 },
  )
})

test('the lowest and the highest price and the lowest confidence are kept', () => {
  fc.assert(
    fc.property(series, most, (points, limit) => {
      const known = points.filter((point) => point.price !== null)
      const kept = decimate(points, limit).filter((point) => point.price !== null)
      for (const extreme of [Math.min, Math.max])
        expect(extreme(...kept.map((point) => point.price))).toBe(
          extreme(...known.map((point) => point.price)),
        )
      expect(Math.min(...kept.map((point) => point.confidence))).toBe(
        Math.min(...known.map((point) => point.confidence)),
      )
    }),
    { numRuns: 500 },
  )
})

test('a line through what is kept crosses no gap', () => {
  fc.assert(
    fc.property(series, most, (points, limit) => {
      const kept = decimate(points, limit)
      for (let i = 1; i < kept.length; i++) {
        const [a, b] = [kept[i - 1] as SeriesPoint, kept[i] as SeriesPoint]
        if (a.price === null || b.price === null) continue
        const between = points.slice(points.indexOf(a) + 1, points.indexOf(b))
        expect(between.every((point) => point.price !== null)).toBe(true)
      }
    }),
    { numRuns: 500 },
  )
})

test('90 days come down to a thousand points, and use them', () => {
  const points = Array.from({ length: 25_920 }, (_, i) =>
    toPoint({ price: 1 + ((i * 7919) % 997), doubt: false }, i),
  )
  const kept = decimate(points, 1000)
  expect(kept.length).toBeLessThanOrEqual(1000)
  expect(kept.length).toBeGreaterThan(900)
})

test('one interpolated price among real ones stays, though it is neither the lowest nor the highest', () => {
  const points = Array.from({ length: 1000 }, (_, i) => toPoint({ price: 1 + (i % 9), doubt: i === 499 }, i))
  expect(points[499]?.price).toBe(5)
  expect(decimate(points, 100)).toContain(points[499])
})

test('fewer points than can show a series are refused', () => {
  expect(() => decimate([], FEWEST_POINTS - 1)).toThrow('a series has at least 10 points: 9')
  expect(() => decimate([], Number.NaN)).toThrow(RangeError)
})
