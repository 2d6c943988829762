import { hours, type Instant, instant, millis } from '@understudy/shared/core/time'
import { type Interval, lengthOf, minus } from '@understudy/shared/market/interval'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AskedFetch,
  type DataNeed,
  dataGap,
  daysOf,
  gapDays,
  percentCovered,
  planFill,
  requiredInterval,
  shareOf,
} from './data-gap.ts'

const DAY = hours(24)
const REACH = millis(90 * DAY)
const NOW = instant(Date.UTC(2025, 10, 28))
const ago = (days: number): Instant => instant(NOW - days * DAY)
const dateAgo = (days: number): string => new Date(ago(days)).toISOString().slice(0, 10)
const pair = { instanceType: 'c5.large', region: 'us-east-1' }
const pool = (...covered: Interval[]) => ({ ...pair, poolId: 'c5.large@us-east-1a', covered })
const days = (from: number, to: number): Interval => ({ from: ago(from), to: ago(to) })
const fetch = (from: number, to: number, more: Partial<AskedFetch> = {}): AskedFetch => ({
  id: 'f-1',
  ended: true,
  instanceTypes: ['c5.large'],
  regions: ['us-east-1'],
  ...days(from, to),
  ...more,
})
const gapOf = (more: Partial<DataNeed>) =>
  dataGap({
    trainedUntil: dateAgo(28),
    now: NOW,
    reach: REACH,
    slack: hours(1),
    wanted: [pair],
    pools: [pool()],
    asked: [],
    ...more,
  })

describe('what a model needs', () => {
  test('trained until 2025-10-31, today 2025-11-28: a gap of 28 days, and the prices of 7 days more', () => {
    expect(gapDays('2025-10-31', instant(NOW + hours(13)))).toBe(28)
    expect(requiredInterval('2025-10-31', NOW)).toEqual({
      from: Date.UTC(2025, 9, 24),
      to: NOW,
    })
    const gap = gapOf({ trainedUntil: '2025-10-31' })
    expect(gap).toMatchObject({ readiness: 'MISSING', unfillable: null, missingMillis: 35 * DAY })
  })

  test('trained until 120 days ago: 37 days with the look-back cannot be filled, and it never is whole', () => {
    const trainedUntil = dateAgo(120)
    const before = gapOf({ trainedUntil })
    expect(before).toMatchObject({ readiness: 'MISSING', unfillable: days(127, 90) })
    expect(daysOf(before.unfillable as Interval)).toBe(120 + 7 - 90)
    const after = gapOf({ trainedUntil, pools: [pool(days(90, 0))] })
    expect(after).toMatchObject({ readiness: 'PARTIAL', unfillable: days(127, 90), missingMillis: 0 })
    expect(percentCovered(after)).toBe(70.8)
    expect(after.pools[0]?.current).toBe(true)
  })

  test('trained 100 days ago: not 100 per cent, however little is missing', () => {
    const gap = gapOf({ trainedUntil: dateAgo(100), pools: [pool(days(106.999, 0))] })
    expect(gap.readiness).toBe('PARTIAL')
    expect(percentCovered(gap)).toBeLessThan(100)
    expect(shareOf(9_999_999, 10_000_000)).toBe(99.9)
    expect(shareOf(5, 5)).toBe(100)
  })

  test('all covered but the last minutes is READY; when these have become too many it is not', () => {
    const until = (end: number) => gapOf({ pools: [pool({ from: ago(35), to: instant(NOW - end) })] })
    expect(until(hours(1))).toMatchObject({ readiness: 'READY', missingMillis: 0 })
    expect(percentCovered(until(hours(1)))).toBe(100)
    expect(until(hours(2))).toMatchObject({ readiness: 'MISSING', missingMillis: hours(2) })
    expect(until(hours(2)).pools[0]?.current).toBe(false)
  })

  test('a stretch that the source has answered without a price is not asked for again', () => {
    const pools = [pool(days(20, 0))]
    expect(gapOf({ pools })).toMatchObject({ readiness: 'MISSING' })
    const asked = [fetch(35, 0)]
    expect(gapOf({ pools, asked })).toMatchObject({ readiness: 'READY', missingMillis: 0 })
    expect(gapOf({ pools, asked: [fetch(35, 0, { ended: false })] })).toMatchObject({ readiness: 'MISSING' })
    expect(gapOf({ pools, asked: [fetch(35, 0, { regions: ['us-west-2'] })] }).readiness).toBe('MISSING')
  })

  test('nothing is required of a pool that is gone, or of a type that is not sold in the region', () => {
    const asked = [fetch(90, 3)]
    expect(gapOf({ asked, pools: [pool(days(400, 300))] })).toMatchObject({
      readiness: 'UNKNOWN',
      pools: [],
      withoutHistory: ['c5.large@us-east-1a'],
    })
    expect(gapOf({ pools: [] })).toMatchObject({ readiness: 'MISSING', unknown: [pair], notOffered: [] })
    expect(gapOf({ pools: [], trainedUntil: dateAgo(120) })).toMatchObject({
      missingMillis: REACH,
      unfillableMillis: 37 * DAY,
      requiredMillis: 127 * DAY,
    })
    expect(gapOf({ pools: [], asked })).toMatchObject({ readiness: 'UNKNOWN', notOffered: [pair] })
    expect(gapOf({ wanted: [] })).toMatchObject({ readiness: 'UNKNOWN', pools: [] })
  })

  test('covered, missing, unfillable and not offered are the whole of what is required, and never overlap', () => {
    const stretch = fc
      .tuple(fc.integer({ min: 0, max: 150 }), fc.integer({ min: 0, max: 60 }))
      .map(([from, length]) => days(from, Math.max(0, from - length)))
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 140 }),
        fc.array(stretch, { maxLength: 5 }),
        fc.array(stretch, { maxLength: 3 }),
        (age, covered, told) => {
          const asked = told.map(({ from, to }) => fetch(0, 0, { from, to }))
          const gap = gapOf({
            trainedUntil: dateAgo(age),
            pools: [pool(...covered)],
            asked,
            slack: millis(0),
          })
          const [own] = gap.pools
          if (!own) return
          const lacking = minus(minus([gap.required], covered), told)
          expect(lengthOf([...own.missing, ...own.unfillable])).toBe(lengthOf(lacking))
          expect(minus(own.missing, [days(90, 0)])).toEqual([])
          expect(minus(own.unfillable, [days(400, 90)])).toEqual([])
          expect(gap.readiness === 'READY').toBe(lacking.length === 0)
          expect(percentCovered(gap) === 100).toBe(lacking.length === 0)
        },
      ),
    )
  })
})

describe('the plan of a fill', () => {
  const plan = (more: Partial<DataNeed>) => planFill(gapOf(more), more.asked ?? [], REACH)

  test('types of a region with the same gap are one fetch, of whole days, as far back as the source knows', () => {
    const wanted = ['c5.large', 'm5.large', 'r5.large'].map((instanceType) => ({ ...pair, instanceType }))
    const at = (instanceType: string, zone: string, ...covered: Interval[]) => ({
      instanceType,
      region: pair.region,
      poolId: `${instanceType}@us-east-1${zone}`,
      covered,
    })
    const { requests, adopted } = plan({
      trainedUntil: dateAgo(120),
      wanted,
      pools: [
        at('c5.large', 'a'),
        at('c5.large', 'b', days(90, 0)),
        at('r5.large', 'a', days(90, 1.5)),
        at('x1.large', 'a'),
      ],
    })
    const region = { regions: ['us-east-1'], to: NOW }
    expect(requests).toEqual([
      { ...region, instanceTypes: ['c5.large', 'm5.large'], from: ago(90) },
      { ...region, instanceTypes: ['r5.large'], from: ago(2) },
    ])
    expect(adopted).toEqual([])
  })

  test('what a fetch under way will bring is waited for and not fetched twice', () => {
    expect(plan({ asked: [fetch(90, 0, { ended: false })] })).toEqual({ requests: [], adopted: ['f-1'] })
    expect(plan({ asked: [fetch(20, 0, { ended: false })] }).requests).toHaveLength(1)
  })

  test('after it has been carried out there is nothing left to fetch', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 80 }), (age, old) => {
        const there = days(old + 10, old)
        const more = { trainedUntil: dateAgo(age), pools: [pool(there)] }
        const { requests } = plan(more)
        const covered = [there, ...requests.map(({ from, to }) => ({ from, to }))]
        expect(plan({ ...more, pools: [pool(...covered)] }).requests).toEqual([])
      }),
    )
  })
})
