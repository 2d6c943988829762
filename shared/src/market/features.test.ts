import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { type FeatureName, featureCatalog, isFeatureName } from './feature-catalog.ts'
import { createFeatureTable, type PoolPrices } from './features.ts'
import { parsePool, poolId } from './pool.ts'
import { HOUR_MS, type PriceEvent, toPricePath } from './price-path.ts'

const names = featureCatalog.map(({ name }) => name)
const START = Date.UTC(2026, 0, 5)
const hour = (h: number): Instant => instant(START + h * HOUR_MS)

/** Prices in USD by hour since Monday, 5 January 2026. */
type Steps = readonly (readonly [hour: number, usd: number])[]

function market(pools: Readonly<Record<string, Steps>>, onDemandUsd?: number): PoolPrices[] {
  return Object.entries(pools).map(([id, steps]) => ({
    pool: parsePool(id),
    path: toPricePath(steps.map(([h, usd]) => ({ at: hour(h), price: fromUsd(usd) }))),
    onDemand: onDemandUsd === undefined ? undefined : fromUsd(onDemandUsd),
  }))
}

/** Every feature of every pool at hour `h`, by pool and name. */
function featuresAt(pools: readonly PoolPrices[], h: number) {
  const table = createFeatureTable(pools, names)
  const rows = table.rowsAt(hour(h))
  return Object.fromEntries(
    table.pools.map((pool, i) => [
      poolId(pool),
      Object.fromEntries(names.map((name, j) => [name, rows[i * names.length + j]])) as Record<
        FeatureName,
        number
      >,
    ]),
  )
}

const arbitrarySteps = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: 600 }),
    fc.integer({ min: 1, max: 40 }).map((n) => n / 100),
  ),
  { minLength: 1, maxLength: 30 },
)
const ids = ['c5.large@sa-east-1a', 'c5.large@sa-east-1b', 'c5.xlarge@sa-east-1a', 'm5.large@sa-east-1a']
const arbitraryMarket = fc
  .tuple(...ids.map(() => arbitrarySteps))
  .map((all) => Object.fromEntries(ids.map((id, i) => [id, all[i] as Steps])))

test('a week that can be worked out by hand', () => {
  const pools = market(
    {
      'c5.large@sa-east-1a': [
        [0, 0.1],
        [160, 0.08],
        [190, 0.1],
        [196, 0.104],
      ],
    },
    0.2,
  )
  const row = featuresAt(pools, 200)['c5.large@sa-east-1a']
  expect(row?.ret_6h).toBeCloseTo(Math.log(1.04), 6)
  expect(row?.ret_12h).toBeCloseTo(Math.log(0.104 / 0.08), 6)
  expect(row?.ret_168h).toBeCloseTo(Math.log(1.04), 6)
  expect(row?.last_step).toBeCloseTo(Math.log(1.04), 6)
  expect(row?.hours_since_change).toBe(4)
  expect(row?.changes_24h).toBe(2)
  expect(row?.changes_168h).toBe(3)
  expect(row?.overdue).toBeCloseTo((4 * 3) / 168, 6)
  expect(row?.risen_24h).toBeCloseTo(Math.log(0.104 / 0.08), 6)
  expect(row?.mean_step_168h).toBeCloseTo((2 * Math.log(1.25) + Math.log(1.04)) / 3, 6)
  expect(row?.range_width).toBeCloseTo(Math.log(0.104 / 0.08), 6)
  expect(row?.price_position).toBe(1)
  const mean24 = (14 * Math.log(0.08) + 6 * Math.log(0.1) + 4 * Math.log(0.104)) / 24
  expect(row?.above_mean_24h).toBeCloseTo(Math.log(0.104) - mean24, 6)
  expect(row?.headroom).toBeCloseTo(Math.log(0.2 / 0.104), 6)
  expect(row?.discount_depth).toBeCloseTo(1 - 0.104 / 0.2, 6)
})

test('family stress is that of all sizes and zones of the family in the region', () => {
  const rows = featuresAt(
    market({
      'c5.24xlarge@sa-east-1a': [
        [0, 1],
        [190, 2],
      ],
      'c5.large@sa-east-1b': [
        [0, 2],
        [190, 1],
      ],
      'm5.large@sa-east-1a': [[0, 1]],
      'c5.large@us-east-1a': [[0, 1]],
    }),
    200,
  )
  expect(rows['c5.large@sa-east-1b']).toMatchObject({ family_stress_mean: 0.5, family_stress_max: 1 })
  expect(rows['m5.large@sa-east-1a']).toMatchObject({ family_stress_mean: 0, family_stress_max: 0 })
  expect(rows['c5.large@us-east-1a']).toMatchObject({ family_stress_max: 0 })
})

test('what is not known is NaN: no on-demand price, a window before the first price, a pool without a price', () => {
  const pools = market({ 'c5.large@sa-east-1a': [[100, 0.1]], 'm5.large@sa-east-1a': [[300, 0.1]] })
  const rows = featuresAt(pools, 120)
  expect(rows['c5.large@sa-east-1a']).toMatchObject({ headroom: Number.NaN, ret_24h: Number.NaN, ret_12h: 0 })
  expect(Object.values(rows['m5.large@sa-east-1a'] ?? {})).toEqual(names.map(() => Number.NaN))
})

test('a spot price above the on-demand price has no headroom, not a negative one', () => {
  const row = featuresAt(market({ 'i3en.large@sa-east-1a': [[0, 0.3]] }, 0.2), 200)['i3en.large@sa-east-1a']
  expect(row).toMatchObject({ headroom: 0, discount_depth: 0 })
})

test('changing the future changes nothing', () => {
  fc.assert(
    fc.property(arbitraryMarket, arbitraryMarket, fc.integer({ min: 0, max: 600 }), (past, other, h) => {
      const mixed = Object.fromEntries(
        ids.map((id) => [
          id,
          [
            ...(past[id] ?? []).filter(([at]) => at <= h),
            ...(other[id] ?? []).filter(([at]) => at > h),
            [601, 9] as const,
          ],
        ]),
      )
      expect(featuresAt(market(mixed, 0.5), h)).toEqual(
        featuresAt(
          market(Object.fromEntries(ids.map((id) => [id, [...(past[id] ?? []), [601, 9] as const]])), 0.5),
          h,
        ),
      )
    }),
  )
})

test('what is older than 168 h does not matter, but for the price that held then', () => {
  fc.assert(
    fc.property(arbitraryMarket, fc.integer({ min: 168, max: 600 }), (all, h) => {
      const cut = Object.fromEntries(
        Object.entries(all).map(([id, steps]) => {
          const sorted = [...steps].sort(([a], [b]) => a - b)
          const old = sorted.filter(([at]) => at <= h - 168)
          return [id, [...old.slice(-1), ...sorted.filter(([at]) => at > h - 168)]]
        }),
      )
      expect(featuresAt(market(cut), h)).toEqual(featuresAt(market(all), h))
    }),
  )
})

test('the order of the pools does not matter', () => {
  fc.assert(
    fc.property(arbitraryMarket, fc.shuffledSubarray(ids, { minLength: ids.length }), (all, order) => {
      const pools = market(all)
      const shuffled = order.map((id) => pools.find(({ pool }) => poolId(pool) === id) as PoolPrices)
      expect(featuresAt(shuffled, 300)).toEqual(featuresAt(pools, 300))
    }),
  )
})

test('a table that is asked for any moments in any order says the same as a new one', () => {
  fc.assert(
    fc.property(
      arbitraryMarket,
      fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 20 }),
      (all, moments) => {
        const pools = market(all)
        const kept = createFeatureTable(pools, names)
        for (const h of moments)
          expect(kept.rowsAt(hour(h))).toEqual(createFeatureTable(pools, names).rowsAt(hour(h)))
      },
    ),
  )
})

test('only ratios count: a market at seven times the price has the same features', () => {
  fc.assert(
    fc.property(arbitraryMarket, fc.integer({ min: 0, max: 600 }), (all, h) => {
      const dear = Object.fromEntries(
        Object.entries(all).map(([id, steps]) => [id, steps.map(([at, usd]) => [at, usd * 7] as const)]),
      )
      const a = createFeatureTable(market(all, 0.5), names).rowsAt(hour(h))
      const b = createFeatureTable(market(dear, 3.5), names).rowsAt(hour(h))
      a.forEach((v, i) => {
        if (Number.isNaN(v)) expect(b[i]).toBeNaN()
        else expect(b[i]).toBeCloseTo(v, 4)
      })
    }),
  )
})

test('every value lies within the range of its definition, and only nullable ones are NaN', () => {
  fc.assert(
    fc.property(arbitraryMarket, fc.integer({ min: 0, max: 600 }), (all, h) => {
      for (const row of Object.values(featuresAt(market(all), h))) {
        if (Number.isNaN(row.changes_24h)) continue
        for (const { name, nullable, min, max } of featureCatalog) {
          const v = row[name]
          if (Number.isNaN(v)) expect([name, nullable]).toEqual([name, true])
          else expect(v >= min && v <= max, `${name} ${v}`).toBe(true)
        }
      }
    }),
  )
})

test('a pool that is given twice is refused', () => {
  const pools = market({ 'c5.large@sa-east-1a': [[0, 1]] })
  expect(() => createFeatureTable([...pools, ...pools])).toThrow('a pool is there twice')
  expect(isFeatureName('ret_24h')).toBe(true)
  expect(isFeatureName('pool_id')).toBe(false)
})

test('a repeated price is no change, and of two at one moment the later in the list holds', () => {
  const at = (h: number, price: number): PriceEvent => ({ at: hour(h), price: fromUsd(price) })
  const path = toPricePath([at(24, 1), at(0, 1), at(48, 3), at(48, 2), at(72, 2)])
  expect([...path.at]).toEqual([hour(0), hour(48)])
  expect([...path.price]).toEqual([1e6, 2e6])
  expect(() => toPricePath([{ at: hour(0), price: fromUsd(0) }])).toThrow('cannot be')
})
