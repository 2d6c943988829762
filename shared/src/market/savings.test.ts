import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromUsd, microUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET } from './bucket.ts'
import type { PriceChange } from './history.ts'
import type { Interval } from './interval.ts'
import {
  addSavings,
  effectiveRate,
  netOf,
  noSavings,
  type Occupancy,
  type PriceStep,
  priceSteps,
  type Rates,
  savingsOf,
  usdOf,
} from './savings.ts'

const HOUR = 3_600_000
const at = (text: string): Instant => instant(Date.parse(`2025-11-20T${text}:00Z`))
const stay = (
  instanceId: string,
  role: Occupancy['role'],
  poolId: string,
  from: string,
  to: string,
): Occupancy => ({ instanceId, role, poolId, from: at(from), to: at(to) })
const step = (from: string, to: string, usd: number): PriceStep => ({
  from: at(from),
  to: at(to),
  price: fromUsd(usd),
})
const ratesOf = (pools: Readonly<Record<string, readonly PriceStep[]>>, onDemand = 0.1): Rates => ({
  spot: (pool) => pools[pool] ?? [],
  onDemand: (pool) => (pools[pool] ? fromUsd(onDemand) : undefined),
})
const all = { from: at('10:00'), to: at('16:00') }

test('four hours on spot beside a standby, with a move, by hand', () => {
  const rates = ratesOf({
    a: [step('00:00', '12:00', 0.03), step('12:00', '23:00', 0.05)],
    b: [step('00:00', '23:00', 0.04)],
  })
  const occupancy = [
    stay('i-1', 'primary', 'a', '10:00', '13:00'),
    stay('i-2', 'standby', 'b', '11:00', '13:00'),
    stay('i-2', 'primary', 'b', '13:00', '14:00'),
  ]
  const sum = savingsOf(occupancy, [{ at: at('13:00'), cost: 1500 }], rates, all)
  // 2 h at 0.03, 1 h at 0.05, 1 h at 0.04; 2 h of standby at 0.04; 4 h at 0.10 on demand.
  expect(usdOf(sum.spot)).toBe(0.15)
  expect(usdOf(sum.doubleRunning)).toBe(0.08)
  expect(usdOf(sum.onDemand)).toBe(0.4)
  expect(usdOf(sum.switchCost)).toBe(0.0015)
  expect(usdOf(netOf(sum))).toBe(0.1685)
  expect(sum).toMatchObject({ switches: 1, unmeasured: 0, counted: 4 * HOUR, unknown: 0 })
  const unmeasured = savingsOf(occupancy, [{ at: at('13:00'), cost: undefined }], rates, all)
  expect(unmeasured).toMatchObject({ switches: 1, unmeasured: 1, switchCost: 0n })
  expect(usdOf(netOf(unmeasured))).toBe(0.17)
})

test('time in which a price is missing counts on neither side', () => {
  const rates = ratesOf({ a: [step('10:00', '11:00', 0.03), step('12:00', '13:00', 0.03)], b: [] })
  const primary = stay('i-1', 'primary', 'a', '10:00', '13:00')
  expect(savingsOf([primary], [], rates, all)).toMatchObject({ counted: 2 * HOUR, unknown: HOUR })
  const beside = stay('i-2', 'standby', 'b', '12:00', '12:30')
  expect(savingsOf([primary, beside], [], rates, all)).toMatchObject({
    counted: 1.5 * HOUR,
    unknown: 1.5 * HOUR,
  })
  const unpriced = { ...rates, onDemand: () => undefined }
  expect(savingsOf([primary], [], unpriced, all)).toEqual({ ...noSavings, unknown: 3 * HOUR })
})

test('of two primaries at once only one would have run on demand', () => {
  const rates = ratesOf({ a: [step('10:00', '16:00', 0.03)] })
  const sum = savingsOf(
    [stay('i-2', 'primary', 'a', '10:30', '12:00'), stay('i-1', 'primary', 'a', '10:00', '11:00')],
    [],
    rates,
    all,
  )
  expect([sum.onDemand, sum.spot, sum.doubleRunning].map(usdOf)).toEqual([0.2, 0.06, 0.015])
})

test('a standby alone has no counterpart on demand', () => {
  const rates = ratesOf({ a: [step('10:00', '16:00', 0.03)] })
  const sum = savingsOf([stay('i-1', 'standby', 'a', '10:00', '11:00')], [], rates, all)
  expect(usdOf(netOf(sum))).toBe(-0.03)
})

test('a sample holds for its bucket and goes before history; between and beyond nothing is known', () => {
  const steps = priceSteps(
    [
      { at: at('10:05'), price: microUsd(7) },
      { at: at('12:00'), price: microUsd(8) },
    ],
    [
      { at: at('09:00'), price: microUsd(1) },
      { at: at('10:20'), price: microUsd(2) },
    ],
    [{ from: at('10:00'), to: at('10:30') }],
  )
  expect(steps).toEqual([
    { from: at('10:00'), to: at('10:05'), price: 1 },
    { from: at('10:05'), to: at('10:10'), price: 7 },
    { from: at('10:10'), to: at('10:20'), price: 1 },
    { from: at('10:20'), to: at('10:30'), price: 2 },
    { from: at('12:00'), to: at('12:05'), price: 8 },
  ])
})

test('on-demand is taken at the rate that is paid', () => {
  expect(effectiveRate(fromUsd(0.085), 72)).toBe(61_200)
  expect(() => effectiveRate(fromUsd(0.085), 0)).toThrow(
    'an effective rate is above 0 and up to 100 per cent: 0',
  )
  expect(() => effectiveRate(fromUsd(0.085), 101)).toThrow(RangeError)
})

const END = 40 * BUCKET
const time = fc.integer({ min: 0, max: END }).map(instant)
const interval = fc.tuple(time, time).map(([from, to]): Interval => ({ from, to }))
const price = fc.integer({ min: 1, max: 3_000_000 }).map(microUsd)
const pools = ['a', 'b', 'c']

const world = fc.record({
  occupancy: fc.array(
    fc
      .tuple(interval, fc.constantFrom('i-1', 'i-2', 'i-3'), fc.constantFrom(...pools))
      .chain(([{ from, to }, instanceId, poolId]) =>
        fc
          .constantFrom('primary' as const, 'standby' as const)
          .map((role): Occupancy => ({ from, to, instanceId, poolId, role })),
      ),
    { maxLength: 6 },
  ),
  switches: fc.array(fc.record({ at: time, cost: fc.integer({ min: 0, max: 10_000 }) }), { maxLength: 4 }),
  prices: fc.array(
    fc.record({
      samples: fc.uniqueArray(
        fc.record({ at: fc.integer({ min: 0, max: 39 }).map((i) => instant(i * BUCKET)), price }),
        { selector: (sample) => sample.at, maxLength: 8 },
      ),
      changes: fc.uniqueArray(fc.record({ at: time, price }), { selector: (each) => each.at, maxLength: 8 }),
      covered: fc.array(interval, { maxLength: 3 }),
    }),
    { minLength: 2, maxLength: 2 },
  ),
})

type Prices = Record<'samples' | 'changes', PriceChange[]> & { covered: Interval[] }

const inOrder = (list: readonly PriceChange[]) => list.toSorted((a, b) => a.at - b.at)

const stepsOf = ({ samples, changes, covered }: Prices): PriceStep[] =>
  priceSteps(inOrder(samples), inOrder(changes), covered)

/** The third pool has no price at all. */
function ratesIn(prices: readonly Prices[]): Rates {
  const steps = prices.map(stepsOf)
  return { spot: (pool) => steps[pools.indexOf(pool)] ?? [], onDemand: () => microUsd(85_000) }
}

test('the sums of any split of a time are those of the whole, to the last digit', () => {
  fc.assert(
    fc.property(world, fc.array(time, { maxLength: 6 }), ({ occupancy, switches, prices }, cuts) => {
      const rates = ratesIn(prices)
      const edges = [instant(0), ...cuts.toSorted((a, b) => a - b), instant(END)]
      const whole = savingsOf(occupancy, switches, rates, { from: instant(0), to: instant(END) })
      const parts = edges
        .slice(1)
        .map((to, i) => savingsOf(occupancy, switches, rates, { from: edges[i] as Instant, to }))
      expect(parts.reduce(addSavings, noSavings)).toEqual(whole)
    }),
    { numRuns: 300 },
  )
})

test('every moment of an agent is counted or unknown, once', () => {
  fc.assert(
    fc.property(world, ({ occupancy, switches, prices }) => {
      const sum = savingsOf(occupancy, switches, ratesIn(prices), { from: instant(0), to: instant(END) })
      const edges = [...new Set(occupancy.flatMap(({ from, to }) => [from, to]))].toSorted((a, b) => a - b)
      const ran = edges.slice(1).reduce((length, to, i) => {
        const from = edges[i] as Instant
        return length + (occupancy.some((each) => each.from <= from && each.to >= to) ? to - from : 0)
      }, 0)
      expect(sum.counted + sum.unknown).toBe(ran)
      expect(sum.spot >= 0n && sum.doubleRunning >= 0n && sum.onDemand >= 0n).toBe(true)
    }),
  )
})

test('price steps are in order and never overlap', () => {
  fc.assert(
    fc.property(world, ({ prices }) => {
      for (const each of prices) {
        const steps = stepsOf(each)
        for (let i = 1; i < steps.length; i++)
          expect((steps[i] as PriceStep).from).toBeGreaterThanOrEqual((steps[i - 1] as PriceStep).to)
      }
    }),
  )
})

test('money is divided once, at the end', () => {
  expect(usdOf(3_600_000n / 2n)).toBe(0.000001)
  expect(usdOf(-3_600_000n / 2n)).toBe(-0.000001)
  expect(usdOf(3_600_000n / 2n - 1n)).toBe(0)
})
