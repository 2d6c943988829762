import fc from 'fast-check'
import { expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET, eachBucket } from './bucket.ts'
import { mergeChanges, type PriceChange, stepAt, stepSeries } from './history.ts'
import type { Interval } from './interval.ts'

const at = (text: string): Instant => instant(Date.parse(`2025-11-20T${text}:00Z`))
const change = (text: string, usd: number): PriceChange => ({
  at: at(text),
  price: microUsd(Math.round(usd * 1e6)),
})
test('a price holds until it changes: two events at 10:00 and 13:00 are 36 buckets of the first, then the second', () => {
  const range = { from: at('10:00'), to: at('14:00') }
  const series = stepSeries([change('10:00', 0.1), change('13:00', 0.12)], [range], range)
  expect(series.map(({ price }) => price)).toEqual([
    ...Array<number>(36).fill(100_000),
    ...Array<number>(12).fill(120_000),
  ])
})

test('the last change before the range is the price at its start', () => {
  const range = { from: at('10:00'), to: at('10:10') }
  expect(stepSeries([change('07:31', 0.1)], [range], range)).toEqual([
    change('10:00', 0.1),
    change('10:05', 0.1),
  ])
})

test('before its first change a pool has no price, and outside what is covered none either', () => {
  const range = { from: at('10:00'), to: at('11:00') }
  const covered = [
    { from: at('10:00'), to: at('10:20') },
    { from: at('10:50'), to: at('10:55') },
  ]
  expect(stepSeries([change('10:07', 0.1)], covered, range)).toEqual([
    change('10:10', 0.1),
    change('10:15', 0.1),
    change('10:50', 0.1),
  ])
})

const changes = fc.array(
  fc.record({
    at: fc.integer({ min: 0, max: 40 }).map((i) => instant(i * (BUCKET / 2))),
    price: fc.integer({ min: 1, max: 5 }).map(microUsd),
  }),
  { maxLength: 15 },
)

test('changes merge alike in whatever order and however often they come', () => {
  fc.assert(
    fc.property(changes, changes, (a, b) => {
      const merged = mergeChanges([a, b])
      expect(mergeChanges([b.toReversed(), a, merged, b])).toEqual(merged)
      expect(merged.map((each) => each.at)).toEqual(
        [...new Set([...a, ...b].map((each) => each.at))].toSorted((x, y) => x - y),
      )
    }),
  )
})

test('the series is the price of each moment, looked up one by one', () => {
  const time = fc.integer({ min: 0, max: 20 * BUCKET }).map(instant)
  const interval = fc.tuple(time, time).map(([from, to]): Interval => ({ from, to }))
  fc.assert(
    fc.property(changes, fc.array(interval, { maxLength: 3 }), interval, (some, covered, range) => {
      const known = mergeChanges([some])
      const expected = [...eachBucket(range.from, range.to)]
        .filter((start) => covered.some(({ from, to }) => from <= start && start < to))
        .flatMap((start) => {
          const price = known.findLast((each) => each.at <= start)?.price
          expect(stepAt(known, start)).toBe(price)
          return price === undefined ? [] : [{ at: start, price }]
        })
      expect(stepSeries(known, covered, range)).toEqual(expected)
    }),
  )
})
