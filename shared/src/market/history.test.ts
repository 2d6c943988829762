import fc from 'fast-check'
import { expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { hours, type Instant, instant, minutes } from '../core/time.ts'
import { BUCKET, eachBucket } from './bucket.ts'
import {
  collectedRuns,
  coveredByFile,
  type HistoryPage,
  mergeChanges,
  mergePages,
  type PriceChange,
  stepAt,
  stepSeries,
} from './history.ts'
import type { Interval } from './interval.ts'

const at = (text: string): Instant => instant(Date.parse(`2025-11-20T${text}:00Z`))
const change = (text: string, usd: number): PriceChange => ({
  at: at(text),
  price: microUsd(Math.round(usd * 1e6)),
})
const POOL = 'c5.large@us-east-1a'
const page = (last: boolean, ...changes: PriceChange[]): HistoryPage => ({
  changes: changes.map((each) => ({ ...each, poolId: POOL })),
  last,
})

test('a price holds until it changes: two events at 10:00 and 13:00 are 36 buckets of the first, then the second', () => {
  const range = { from: at('10:00'), to: at('14:00') }
  const series = stepSeries([change('10:00', 0.1), change('13:00', 0.12)], [range], range)
  expect(series.map(({ price }) => price)).toEqual([
    ...Array<number>(36).fill(100_000),
    ...Array<number>(12).fill(120_000),
  ])
})

test('the first row of an answer may lie before the time that was asked for: it is the price at its start', () => {
  const asked = { from: at('10:00'), to: at('10:10') }
  const { changes = [], covered = [] } = mergePages([page(true, change('07:31', 0.1))], asked).get(POOL) ?? {}
  expect(stepSeries(changes, covered, asked)).toEqual([change('10:00', 0.1), change('10:05', 0.1)])
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

test('a page that comes twice changes nothing', () => {
  const asked = { from: at('10:00'), to: at('12:00') }
  const first = page(false, change('11:00', 0.3), change('10:30', 0.2))
  const second = page(true, change('10:30', 0.2), change('09:00', 0.1))
  const once = mergePages([first, second], asked)
  expect(mergePages([first, second, second, first], asked)).toEqual(once)
  expect(once.get(POOL)).toEqual({
    changes: [change('09:00', 0.1), change('10:30', 0.2), change('11:00', 0.3)],
    covered: [asked],
  })
})

test('without its last page a request covers nothing, and what came of it is kept', () => {
  const asked = { from: at('10:00'), to: at('12:00') }
  const half = mergePages([page(false, change('11:00', 0.3))], asked).get(POOL)
  expect(half).toEqual({ changes: [change('11:00', 0.3)], covered: [] })
  expect(mergePages([page(true)], asked).size, 'a pool without rows is not covered').toBe(0)
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

test('a file covers a pool from its first row on, and nothing over a break in the collecting', () => {
  const other = ['10:10', '10:40', '11:00', '15:10', '15:30']
  const mine = [change('10:30', 0.1), change('15:20', 0.2)]
  const times = [...mine.map((row) => row.at), ...other.map(at)].toSorted((a, b) => a - b)
  const runs = collectedRuns(times, minutes(60))
  expect(runs).toEqual([
    { from: at('10:10'), to: at('11:00') },
    { from: at('15:10'), to: at('15:30') },
  ])
  expect(coveredByFile(mine, runs)).toEqual([
    { from: at('10:30'), to: at('11:00') },
    { from: at('15:20'), to: at('15:30') },
  ])
  expect(collectedRuns(times, hours(5))).toEqual([{ from: at('10:10'), to: at('15:30') }])
})
