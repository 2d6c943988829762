import fc from 'fast-check'
import { expect, test } from 'vitest'
import { instant } from '../core/time.ts'
import { type Interval, intersect, lengthOf, minus, normalise, union } from './interval.ts'

const DAY = 60

const intervals = fc.array(
  fc
    .tuple(fc.integer({ min: 0, max: DAY }), fc.integer({ min: 0, max: DAY }))
    .map(([from, to]): Interval => ({ from: instant(from), to: instant(to) })),
  { maxLength: 8 },
)

/** The naive model: one yes or no per millisecond. */
const bitmap = (list: readonly Interval[]): boolean[] =>
  Array.from({ length: DAY }, (_, at) => list.some(({ from, to }) => from <= at && at < to))

const isNormal = (list: readonly Interval[]): boolean =>
  list.every(({ from, to }, i) => from < to && (i === 0 || (list[i - 1] as Interval).to < from))

test('arithmetic of intervals is that of a bitmap', () => {
  fc.assert(
    fc.property(intervals, intervals, (a, b) => {
      const left = bitmap(a)
      const right = bitmap(b)
      expect(bitmap(normalise(a))).toEqual(left)
      expect(bitmap(union(a, b))).toEqual(left.map((yes, i) => yes || right[i]))
      expect(bitmap(minus(a, b))).toEqual(left.map((yes, i) => yes && !right[i]))
      expect(bitmap(intersect(a, b))).toEqual(left.map((yes, i) => yes && right[i]))
      expect(lengthOf(a)).toBe(left.filter(Boolean).length)
    }),
    { numRuns: 500 },
  )
})

test('what comes out is in order, disjoint, and merged where one ends as the next starts', () => {
  fc.assert(
    fc.property(intervals, intervals, (a, b) => {
      for (const list of [normalise(a), union(a, b), minus(a, b), intersect(a, b)])
        expect(isNormal(list)).toBe(true)
    }),
  )
  const [first, second] = [
    { from: instant(0), to: instant(5) },
    { from: instant(5), to: instant(9) },
  ]
  expect(union([second], [first])).toEqual([{ from: 0, to: 9 }])
})
