import { hours, instant, minutes } from '@understudy/shared/core/time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hindsightPolicy } from './hindsight.ts'
import { cheapestPolicy, pipelinePolicy, stayPolicy } from './policies.ts'
import { countedRises } from './price-risk.ts'
import { type ReplayPolicy, replay } from './replay.ts'
import type { ReplayMarket, Workload } from './replay-market.ts'

const NONE = Number.NaN
const costs = { overlap: minutes(10), launch: minutes(3) }

/** Pools `a`, `b`, … with a price for each hour. */
function marketOf(prices: readonly (readonly number[])[], blind: readonly number[] = []): ReplayMarket {
  const pools = prices.map((row, i) => {
    const availabilityZone = `sa-east-1${String.fromCharCode(97 + i)}`
    return {
      id: `c5.large@${availabilityZone}`,
      instanceType: 'c5.large',
      availabilityZone,
      vcpu: 2,
      memGib: 4,
      arch: 'x86_64' as const,
      gpu: 0,
      onDemandUsd: 10,
      price: Float64Array.from(row),
    }
  })
  const ticks = prices[0]?.length ?? 0
  return {
    start: instant(Date.UTC(2020, 0, 1)),
    tick: hours(1),
    ticks,
    pools,
    isBlind: (at) => blind.includes(at),
  }
}

const workloadOf = ({ pools }: ReplayMarket): Workload => ({
  name: 'one',
  pools: pools.map((_, i) => i),
  home: 0,
  vcpu: 2,
  memGib: 4,
  arch: 'x86_64',
  gpu: 0,
  onDemandUsd: 10,
  from: 0,
})

const play = (market: ReplayMarket, policy: (workload: Workload) => ReplayPolicy) => {
  const workload = workloadOf(market)
  return replay(market, workload, policy(workload), costs)
}
const pipeline = (market: ReplayMarket) => (workload: Workload) =>
  pipelinePolicy({
    market,
    workload,
    ranking: 'effective-cost-v1',
    risk: countedRises(market),
    pricesSeen: true,
    costs,
  })

test('staying pays what its pool costs, and waits while it cannot be had', () => {
  const market = marketOf([
    [2, 3, NONE, NONE, 4],
    [1, 1, 1, 1, 1],
  ])
  expect(play(market, stayPolicy)).toMatchObject({
    costUsd: 9,
    moves: 0,
    interruptions: 1,
    withoutCapacity: hours(2) + minutes(3),
    total: hours(5),
  })
})

test('the cheapest moves at once, pays both while it does, and is up again after a launch', () => {
  const market = marketOf([
    [2, 2, 2, 6],
    [3, 1.2, NONE, 6],
  ])
  const result = play(market, (workload) => cheapestPolicy(market, workload))
  expect(result.costUsd).toBeCloseTo(2 + (1.2 + 0.2) + 2 + 6, 12)
  expect(result).toMatchObject({ moves: 1, interruptions: 1, withoutCapacity: minutes(3) })
})

test('a launch that is refused is tried elsewhere at the same tick', () => {
  const market = marketOf([
    [1, NONE, NONE],
    [1, NONE, NONE],
    [1, 1, NONE],
  ])
  const seen = {
    ...market,
    pools: market.pools.map((pool) => ({ ...pool, price: new Float64Array(3).fill(1) })),
  }
  const result = play(market, (workload) => cheapestPolicy(seen, workload))
  expect(result).toMatchObject({ costUsd: 2, interruptions: 2, withoutCapacity: minutes(3) + hours(1) })
})

test('what nobody knows anything of is passed over', () => {
  const market = marketOf([[2, NONE, 2]], [1])
  expect(play(market, stayPolicy)).toMatchObject({ costUsd: 4, interruptions: 0, total: hours(2) })
})

test('the pipeline moves where it saves enough, and leaves a pool that is gone', () => {
  const calm = Array.from({ length: 30 }, () => 2)
  const saving = marketOf([calm, calm.map((price) => price * 0.85)])
  expect(play(saving, pipeline(saving))).toMatchObject({ moves: 1, interruptions: 0 })
  const gone = marketOf([calm.map((price, i) => (i < 5 ? price : NONE)), calm.map((price) => price * 1.5)])
  expect(play(gone, pipeline(gone))).toMatchObject({
    moves: 0,
    interruptions: 1,
    withoutCapacity: minutes(3),
  })
})

test('a small saving is taken once not taking it has cost a move', () => {
  const calm = Array.from({ length: 30 }, () => 2)
  const market = marketOf([calm, calm.map((price) => price * 0.95)])
  const result = play(market, pipeline(market))
  expect(result.moves).toBe(1)
  // A move costs $0.317 and waiting $0.10 an hour: five hours at home, the first of them uncounted, then 25 elsewhere.
  expect(result.costUsd).toBeCloseTo(5 * 2 + 25 * 1.9 + 1.9 / 6, 9)
})

const prices = fc.integer({ min: 1, max: 6 }).chain((pools) =>
  fc.array(fc.array(fc.double({ min: 0.1, max: 5, noNaN: true }), { minLength: 40, maxLength: 40 }), {
    minLength: pools,
    maxLength: pools,
  }),
)

test('nobody does better than hindsight', () => {
  fc.assert(
    fc.property(prices, (rows) => {
      const market = marketOf(rows)
      const best = play(market, (workload) => hindsightPolicy(market, workload, costs)).costUsd
      const others = [
        play(market, stayPolicy),
        play(market, (workload) => cheapestPolicy(market, workload)),
        play(market, pipeline(market)),
      ]
      for (const { costUsd } of others) expect(costUsd).toBeGreaterThanOrEqual(best - 1e-9)
    }),
    { numRuns: 30 },
  )
})

test('hindsight spends the first tick at home, as everybody does, and leaves when that is cheapest then', () => {
  const market = marketOf([
    [0.8, 3.8, 0.1, 0.1],
    [0.1, 3.3, 0.1, 0.1],
  ])
  // Leaving in the second hour costs 3.3 / 6 for both running, more than the 0.5 that it saves.
  const best = play(market, (workload) => hindsightPolicy(market, workload, costs))
  expect(best).toMatchObject({ moves: 0 })
  expect(best.costUsd).toBeCloseTo(4.8, 9)
})

test('hindsight prefers capacity to cost', () => {
  const market = marketOf([
    [1, 1, NONE, NONE, 1],
    [4, 4, 4, 4, 4],
  ])
  expect(play(market, (workload) => hindsightPolicy(market, workload, costs)).withoutCapacity).toBe(0)
})

test('the counted risk knows nothing of the future', () => {
  fc.assert(
    fc.property(prices, fc.integer({ min: 0, max: 38 }), (rows, until) => {
      const changed = rows.map((row) => row.map((price, i) => (i <= until ? price : price * 3)))
      const [one, other] = [countedRises(marketOf(rows)), countedRises(marketOf(changed))]
      for (let tick = 0; tick <= until; tick++)
        expect(one.instability12h(0, tick)).toBe(other.instability12h(0, tick))
    }),
    { numRuns: 30 },
  )
})

test('the counted risk comes near the share of rises', () => {
  const rising = Array.from({ length: 800 }, (_, i) => 1.01 ** i)
  const flat = Array.from({ length: 800 }, () => 1)
  const risk = countedRises(marketOf([rising, flat]))
  expect(risk.instability12h(0, 799)).toBeGreaterThan(0.9)
  expect(risk.instability12h(1, 799)).toBeLessThan(0.1)
  expect(risk.instability12h(2, 799)).toBeNull()
})
