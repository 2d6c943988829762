import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type MicroUsd, microUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET, eachBucket } from './bucket.ts'
import type { PriceChange } from './history.ts'
import { type Filling, fillGap, type InterpolatedRow, isPeer, type Peer } from './interpolate.ts'
import { parsePool } from './pool.ts'

const at = (text: string): Instant => instant(Date.parse(`2025-11-20T${text}:00Z`))
const point = (text: string, usd: number): PriceChange => ({
  at: at(text),
  price: microUsd(Math.round(usd * 1e6)),
})

const rowsOf = (filling: Filling): readonly InterpolatedRow[] => {
  if ('empty' in filling) throw new Error(`left empty: ${filling.reason}`)
  return filling.rows
}

test("the seed's example: 0.0416 at 09:55, 0.0420 at 10:20, four buckets between them", () => {
  const before = point('09:55', 0.0416)
  const after = point('10:20', 0.042)
  const rows = rowsOf(fillGap({ from: at('10:00'), to: at('10:20') }, [before], [after]))
  // By hand, 10:00 is 5 minutes after the one and 20 before the other: weights 1/6 and 1/21, that is 7 : 2, so
  // 0.0416 + 0.0004 * 2/9. At 10:05 they are 1/11 and 1/16: 0.0416 + 0.0004 * 11/27. Then the same mirrored.
  expect(rows.map((row) => row.price)).toEqual([41_689, 41_763, 41_837, 41_911])
  expect(rows.map((row) => row.at)).toEqual(['10:00', '10:05', '10:10', '10:15'].map(at))
  for (const row of rows)
    expect(row).toMatchObject({
      confidence: 75,
      gapClass: 'medium',
      method: 'weighted-average',
      inputs: { points: 2, from: before.at, to: after.at },
      before,
      after,
    })
})

test('a short gap lies on the line between its neighbours', () => {
  const rows = rowsOf(
    fillGap({ from: at('10:00'), to: at('10:10') }, [point('09:55', 0.03)], [point('10:10', 0.06)]),
  )
  expect(rows.map(({ price, method, confidence }) => [price, method, confidence])).toEqual([
    [40_000, 'linear', 85],
    [50_000, 'linear', 85],
  ])
})

test('a medium gap looks an hour to both sides of each bucket, and no further', () => {
  const gap = { from: at('10:00'), to: at('10:15') }
  const near = [point('09:55', 0.04), point('09:10', 0.05), point('09:00', 0.08)]
  const rows = rowsOf(fillGap(gap, [...near, point('08:59', 9)], [point('10:15', 0.04)]))
  expect(rows.map((row) => row.inputs)).toEqual([
    { points: 4, from: at('09:00'), to: at('10:15') },
    { points: 3, from: at('09:10'), to: at('10:15') },
    { points: 3, from: at('09:10'), to: at('10:15') },
  ])
})

/** A peer with one price per bucket from 09:55 on. */
const peer = (zone: string, ...prices: number[]): Peer => ({
  poolId: `c5.large@us-east-1${zone}`,
  prices: new Map(prices.map((price, i) => [instant(at('09:55') + i * BUCKET), microUsd(price)])),
})
const steady = (zone: string, first: number, later: number, buckets: number): Peer =>
  peer(zone, first, ...Array<number>(buckets).fill(later))

test.each([
  [7, 70],
  [24, 70],
  [25, 60],
  [48, 60],
])('a gap of %i buckets moves as the median peer does, with confidence %i', (buckets, confidence) => {
  const to = instant(at('10:00') + buckets * BUCKET)
  const peers = [
    steady('d', 50_000, 500_000, buckets),
    steady('b', 50_000, 55_000, buckets),
    steady('c', 20_000, 20_000, buckets),
  ]
  const filling = fillGap(
    { from: at('10:00'), to },
    [point('09:55', 0.04)],
    [{ at: to, price: microUsd(1) }],
    peers,
  )
  const rows = rowsOf(filling)
  expect(rows).toHaveLength(buckets)
  expect(new Set(rows.map((row) => row.price))).toEqual(new Set([44_000]))
  expect(rows[0]).toMatchObject({
    confidence,
    method: 'cross-pool',
    inputs: { peers: ['c5.large@us-east-1b', 'c5.large@us-east-1c', 'c5.large@us-east-1d'], move: 1.1 },
  })
})

test('of two peers the mean of their moves counts', () => {
  const gap = { from: at('10:00'), to: at('10:35') }
  const peers = [steady('b', 10, 12, 7), steady('c', 10, 14, 7)]
  const [row] = rowsOf(fillGap(gap, [point('09:55', 0.1)], [point('10:35', 0.1)], peers))
  expect(row?.price).toBe(130_000)
})

test('buckets in which no peer has a price stay empty', () => {
  const gap = { from: at('10:00'), to: at('10:35') }
  const filling = fillGap(
    gap,
    [point('09:55', 0.04)],
    [point('10:35', 0.04)],
    [
      peer('b', 10, 10, 10, 10),
      { poolId: 'c5.large@us-east-1c', prices: new Map([[at('10:30'), microUsd(1)]]) },
    ],
  )
  expect(rowsOf(filling).map((row) => row.at)).toEqual(['10:00', '10:05', '10:10'].map(at))
  expect(filling).toMatchObject({ left: 4 })
})

const around: [PriceChange[], PriceChange[]] = [[point('09:55', 0.04)], [point('16:00', 0.04)]]

test.each<[string, Filling, object]>([
  [
    'blackout',
    fillGap({ from: at('10:00'), to: at('14:05') }, [point('09:55', 0.04)], [point('14:05', 0.04)], []),
    { empty: 'blackout', reason: 'longer than 4 hours: nothing is invented for it' },
  ],
  [
    'no_price_before',
    fillGap({ from: at('10:00'), to: at('10:05') }, [point('08:55', 0.04)], [point('10:05', 0.04)]),
    { empty: 'no_price_before', reason: 'there is no real price in the hour before it' },
  ],
  [
    'no_price_after',
    fillGap({ from: at('10:00'), to: at('10:05') }, around[0], around[1]),
    { empty: 'no_price_after', reason: 'there is no real price in the hour after it' },
  ],
  [
    'no_peers',
    fillGap({ from: at('10:00'), to: at('11:00') }, [point('09:55', 0.04)], [point('11:00', 0.04)], []),
    {
      empty: 'no_peers',
      reason:
        'no pool of the same type in another zone of the region has prices both before it and during it',
    },
  ],
])('left empty, with the reason: %s', (_, filling, expected) => {
  expect(filling).toEqual(expected)
})

test('a peer is of the same type, in another zone of the same region', () => {
  const pool = parsePool('c5.large@us-west-2a')
  expect(isPeer(pool, parsePool('c5.large@us-west-2b'))).toBe(true)
  expect(isPeer(pool, parsePool('c5.large@us-west-2-lax-1a'))).toBe(true)
  expect(isPeer(pool, pool)).toBe(false)
  expect(isPeer(pool, parsePool('c5.xlarge@us-west-2b'))).toBe(false)
  expect(isPeer(pool, parsePool('c5.large@us-west-1b'))).toBe(false)
})

const price: fc.Arbitrary<MicroUsd> = fc.integer({ min: 1, max: 5_000_000 }).map(microUsd)
const start = at('10:00')
const HOUR = 12 * BUCKET
const neighbours = fc.record({
  buckets: fc.integer({ min: 1, max: 6 }),
  before: fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), price), { minLength: 1 }),
  after: fc.array(fc.tuple(fc.integer({ min: 0, max: 12 }), price), { minLength: 1 }),
})

test('where no price is within an hour of a bucket, that bucket stays empty', () => {
  const to = instant(start + 6 * BUCKET)
  const before = [{ at: instant(start - 9 * BUCKET), price: microUsd(1) }]
  const after = [{ at: instant(to + 11 * BUCKET), price: microUsd(1) }]
  const filling = fillGap({ from: start, to }, before, after)
  expect(filling).toMatchObject({ left: 1 })
  expect(rowsOf(filling).map(({ at, price }) => [(at - start) / BUCKET, price])).toEqual([
    [0, 1],
    [1, 1],
    [2, 1],
    [3, 1],
    [5, 1],
  ])
})

test('what is linear or weighted lies within the prices it is made of, in every bucket that has one near', () => {
  fc.assert(
    fc.property(neighbours, ({ buckets, ...given }) => {
      const to = instant(start + buckets * BUCKET)
      const before = given.before.map(([i, p]) => ({ at: instant(start - i * BUCKET), price: p }))
      const after = given.after.map(([i, p]) => ({ at: instant(to + i * BUCKET), price: p }))
      const rows = rowsOf(fillGap({ from: start, to }, before, after))
      const prices = [...before, ...after].map((known) => known.price)
      // In the middle of a gap whose neighbours are far away no price may be within the hour.
      const isNear = (at: number) =>
        buckets <= 2 || [...before, ...after].some((known) => Math.abs(known.at - at) <= HOUR)
      expect(rows.map((row) => row.at)).toEqual([...eachBucket(start, to)].filter(isNear))
      for (const row of rows) {
        expect(row.price).toBeGreaterThanOrEqual(Math.min(...prices))
        expect(row.price).toBeLessThanOrEqual(Math.max(...prices))
        expect(Number.isInteger(row.price)).toBe(true)
      }
      const [low, high] = [rows[0]?.before.price ?? 0, rows[0]?.after.price ?? 0].toSorted((a, b) => a - b)
      if (buckets <= 2)
        for (const row of rows) expect(row.price >= (low ?? 0) && row.price <= (high ?? 0)).toBe(true)
    }),
    { examples: [[{ buckets: 6, before: [[9, microUsd(1)]], after: [[11, microUsd(1)]] }]] },
  )
})

test('the same inputs in any order give the same rows', () => {
  const peers = fc.uniqueArray(
    fc.record({ zone: fc.constantFrom('b', 'c', 'd', 'e'), prices: fc.array(price, { maxLength: 12 }) }),
    { selector: ({ zone }) => zone },
  )
  fc.assert(
    fc.property(neighbours, fc.integer({ min: 1, max: 12 }), peers, (given, buckets, others) => {
      const to = instant(start + buckets * BUCKET)
      const before = given.before.map(([i, p]) => ({ at: instant(start - i * BUCKET), price: p }))
      const after = given.after.map(([i, p]) => ({ at: instant(to + i * BUCKET), price: p }))
      const all = others.map(({ zone, prices }) => peer(zone, ...prices))
      const once = fillGap({ from: start, to }, before, after, all)
      const again = fillGap({ from: start, to }, before.toReversed(), after.toReversed(), all.toReversed())
      expect(again).toEqual(once)
    }),
  )
})
