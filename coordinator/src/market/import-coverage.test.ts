import { hours, type Instant, instant, minutes } from '@understudy/shared/core/time'
import { lengthOf } from '@understudy/shared/market/interval'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFileCoverage, createRuns, SILENCE } from './import-coverage.ts'

const START = Date.UTC(2020, 0, 1)
const at = (hour: number) => instant(START + hours(hour))
const span = (from: number, to: number) => ({ from: at(from), to: at(to) })
type Row = readonly [pool: string, hour: number]

function coverage(rows: readonly Row[], whole = true) {
  const file = createFileCoverage()
  for (const [pool, hour] of rows) file.add(pool, 'sa-east-1', at(hour))
  return file.finish(whole)
}
/** Pools that each repeat their price once a day, spread over the day. */
const market = (pools: number, days: number): Row[] =>
  Array.from({ length: days }, (_, day) =>
    Array.from({ length: pools }, (_, i): Row => [`p${i}`, day * 24 + (i * 24) / pools]),
  ).flat()

test('from the first row of a pool to the last one of its region', () => {
  const { covered } = coverage([
    ['a', 0],
    ['b', 5],
    ['a', 20],
    ['b', 29],
    ['a', 41],
  ])
  expect(covered).toEqual(
    new Map([
      ['a', [span(0, 41)]],
      ['b', [span(5, 41)]],
    ]),
  )
})

test('a pool that is silent for longer than a day and a bit is not covered meanwhile', () => {
  const others = market(10, 6)
  const { covered, breaks } = coverage([...others, ['a', 0], ['a', 24], ['a', 90], ['a', 110]])
  expect(breaks).toEqual([])
  expect(covered.get('a')?.map(({ from }) => from)).toEqual([at(0), at(90)])
  // Up to 24 h it was seen; the others show that collecting went on, and still it did not repeat.
  expect(covered.get('a')?.[0]).toEqual(span(0, 24))
})

test('when a whole region is silent nobody was collecting, though each pool’s rows are within a day', () => {
  const before = market(200, 3)
  const after = market(200, 3).map(([pool, hour]): Row => [pool, hour + 72 + 20])
  const { covered, breaks } = coverage([...before, ...after])
  expect(breaks).toHaveLength(1)
  const [gap] = breaks
  expect(gap).toMatchObject({ region: 'sa-east-1', to: at(92) })
  for (const intervals of covered.values())
    for (const { from, to } of intervals) expect(from < at(92) && to > (gap?.from ?? 0)).toBe(false)
  expect(covered.size).toBe(200)
})

test('few pools are silent together without anybody having stopped', () => {
  const { breaks, covered } = coverage(market(2, 5))
  expect(breaks).toEqual([])
  expect(covered.get('p0')).toEqual([span(0, 108)])
})

test('after a refused row nothing is known until the pool must have had another one', () => {
  const file = createFileCoverage()
  for (const hour of [0, 20, 40, 60, 80]) file.add('a', 'r', at(hour))
  for (const hour of [0, 20, 40, 60, 80]) file.add('b', 'r', at(hour))
  file.lose('a', at(30))
  const { covered } = file.finish(true)
  expect(covered.get('a')).toEqual([span(0, 30), { from: instant(at(30) + SILENCE), to: at(80) }])
  expect(covered.get('b')).toEqual([span(0, 80)])
})

test('a refused row whose time is not to be trusted leaves its pool uncovered', () => {
  const file = createFileCoverage()
  for (const hour of [0, 20]) for (const pool of ['a', 'b']) file.add(pool, 'r', at(hour))
  file.lose('a', undefined)
  expect([...file.finish(true).covered.keys()]).toEqual(['b'])
})

test('a row of which nothing can be read could be any pool’s, at its place in the file', () => {
  const file = createFileCoverage()
  file.add('a', 'r', at(0))
  file.add('a', 'r', at(10))
  file.loseSomewhere()
  for (const hour of [12, 30, 50]) file.add('a', 'r', at(hour))
  expect(file.finish(true).covered.get('a')).toEqual([span(0, 10), span(38, 50)])
})

test('without order, what is missing could be anywhere', () => {
  const rows: Row[] = [
    ['a', 0],
    ['a', 20],
    ['b', 10],
    ['b', 20],
  ]
  expect(coverage(rows).order).toBe('mixed')
  expect(coverage(rows).covered.size).toBe(2)
  expect(coverage(rows, false).covered.size).toBe(0)
  const file = createFileCoverage()
  for (const [pool, hour] of rows) file.add(pool, 'r', at(hour))
  file.loseSomewhere()
  expect(file.finish(true).covered.size).toBe(0)
})

test('a file in order that breaks off is covered as far as it goes', () => {
  const rows: Row[] = [
    ['a', 0],
    ['b', 10],
    ['a', 20],
  ]
  expect(coverage(rows, false)).toMatchObject({ order: 'ascending', covered: coverage(rows).covered })
  expect(coverage([...rows].reverse(), false)).toMatchObject({
    order: 'descending',
    covered: coverage(rows).covered,
  })
})

const row = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 400 }))

test('the order of the rows, and rows that come twice, do not matter', () => {
  fc.assert(
    fc.property(
      fc.array(row, { minLength: 1, maxLength: 60 }),
      fc.infiniteStream(fc.nat()),
      (rows, numbers) => {
        const shuffled = [...rows, ...rows.slice(0, 5)]
          .map((entry) => ({ entry, key: numbers.next().value }))
          .sort((x, y) => x.key - y.key)
          .map(({ entry }) => entry)
        expect(new Map([...coverage(shuffled).covered].sort())).toEqual(
          new Map([...coverage(rows).covered].sort()),
        )
      },
    ),
  )
})

test('nothing is covered before a pool’s first row, nor for longer than the longest silence after any row', () => {
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 60 }), (rows) => {
      for (const [pool, intervals] of coverage(rows).covered) {
        const own = rows
          .filter(([name]) => name === pool)
          .map(([, hour]) => at(hour))
          .sort((a, b) => a - b)
        for (const { from, to } of intervals) {
          expect(own[0]).toBeLessThanOrEqual(from)
          const stops: Instant[] = [...own.filter((time) => time > from && time < to), to]
          let last = own.findLast((time) => time <= from) ?? from
          for (const stop of stops) {
            expect(stop - last).toBeLessThanOrEqual(SILENCE)
            last = stop
          }
        }
        expect(lengthOf(intervals)).toBeGreaterThan(0)
      }
    }),
  )
})

test('runs hold the same whatever order their points come in', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 1, maxLength: 80 }), (points) => {
      const runsOf = (list: readonly number[]) => {
        const runs = createRuns(minutes(10))
        for (const point of list) runs.add(instant(minutes(point)))
        return runs.list().map(({ from, to }) => ({ from, to }))
      }
      const sorted = [...points].sort((a, b) => a - b)
      expect(runsOf(points)).toEqual(runsOf(sorted))
      expect(runsOf(points)).toEqual(runsOf(sorted.reverse()))
    }),
  )
})
