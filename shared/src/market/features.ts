import { AppError } from '../core/app-error.ts'
import type { MicroUsd } from '../core/money.ts'
import type { Instant } from '../core/time.ts'
import { DEFAULT_MODEL_FEATURES, type FeatureName, OTHER_FEATURES, OWN_FEATURES } from './feature-catalog.ts'
import { createCursors, OWN_WIDTH, ownFeatures } from './own-features.ts'
import { type Pool, poolId } from './pool.ts'
import { createGroupStatistics, familyGroups } from './pool-groups.ts'
import type { PricePath } from './price-path.ts'

/** A pool with what its features are made from. */
export interface PoolPrices {
  readonly pool: Pool
  readonly path: PricePath
  /** On-demand price of the type in the region, where known. */
  readonly onDemand?: MicroUsd | undefined
}

/**
 * Features of all pools of a market at one moment: the one place where they are made, for training and for serving.
 * Only prices at or before that moment count, and of those older than 168 h only the one that held then. It keeps its
 * working memory between calls.
 */
export interface FeatureTable {
  /** The pools in the order of the rows: by id, so that the order in which they were given does not matter. */
  readonly pools: readonly Pool[]
  readonly names: readonly FeatureName[]
  /**
   * One row per pool, `names.length` numbers each, NaN for what is not known; only NaN for a pool that has no price
   * yet. Give `out` to write into memory that is there. Cheapest when `t` moves forward.
   */
  rowsAt(t: Instant, out?: Float32Array): Float32Array
}

/**
 * @param names which features, in which order: a model's manifest says
 * @throws AppError `input_invalid` when a pool is given twice
 */
export function createFeatureTable(
  given: readonly PoolPrices[],
  names: readonly FeatureName[] = DEFAULT_MODEL_FEATURES,
): FeatureTable {
  const prices = sortById(given)
  const pools = prices.map(({ pool }) => pool)
  const width = names.length
  const market = createMarket(prices)
  const columns = names.map(market.column)
  return {
    pools,
    names,
    rowsAt(t, out = new Float32Array(pools.length * width)) {
      if (out.length !== pools.length * width)
        throw new RangeError(`${pools.length} rows of ${width} features do not fit ${out.length} numbers`)
      market.moveTo(t)
      for (let j = 0; j < width; j++) {
        const { values, stride, offset } = columns[j] as Column
        for (let i = 0; i < pools.length; i++) {
          const v = values[i * stride + offset] as number
          out[i * width + j] = Number.isNaN(market.log[i]) ? Number.NaN : Math.abs(v) < DUST ? 0 : v
        }
      }
      return out
    },
  }
}

/** What is smaller is left over from rounding: a price that came back to where it was has not moved. */
const DUST = 1e-9

/** Where the values of a feature lie: that of pool i at `i * stride + offset`. */
interface Column {
  readonly values: Float64Array
  readonly stride: number
  readonly offset: number
}

function createMarket(prices: readonly PoolPrices[]) {
  const n = prices.length
  const cursors = createCursors(n)
  const statistics = createGroupStatistics(familyGroups(prices.map(({ pool }) => pool)))
  const log = new Float64Array(n)
  const own = new Float64Array(n * OWN_WIDTH)
  const logOnDemand = Float64Array.from(prices, ({ onDemand }) => Math.log(onDemand ?? Number.NaN))
  const position = new Float64Array(n)
  const columns = new Map<FeatureName, Column>()
  for (const [offset, { name }] of OWN_FEATURES.entries())
    columns.set(name, { values: own, stride: OWN_WIDTH, offset })
  for (const { name } of OTHER_FEATURES)
    columns.set(name, { values: new Float64Array(n), stride: 1, offset: 0 })
  const column = (name: FeatureName) => columns.get(name) as Column
  const [headroom, discount, stressMean, stressMax] = (
    ['headroom', 'discount_depth', 'family_stress_mean', 'family_stress_max'] as const
  ).map((name) => column(name).values) as [Float64Array, Float64Array, Float64Array, Float64Array]
  const positionAt = column('price_position').offset

  return {
    /** Logarithm of each pool's price in micro-dollars, NaN before the first. */
    log,
    column,
    moveTo(t: Instant): void {
      for (let i = 0; i < n; i++) {
        const x = ownFeatures((prices[i] as PoolPrices).path, t, own, cursors, i)
        log[i] = x
        headroom[i] = Math.max(0, (logOnDemand[i] as number) - x)
        discount[i] = 1 - Math.exp(-(headroom[i] as number))
        position[i] = Number.isNaN(x) ? Number.NaN : (own[i * OWN_WIDTH + positionAt] as number)
      }
      statistics(position, stressMean, stressMax)
      for (const [name, now] of Object.entries(clockFeatures(t)))
        column(name as keyof ReturnType<typeof clockFeatures>).values.fill(now)
    },
  }
}

function clockFeatures(t: Instant) {
  const hour = new Date(t).getUTCHours()
  const day = new Date(t).getUTCDay()
  const weekend = day === 0 || day === 6
  return {
    hour_sin: Math.sin((2 * Math.PI * hour) / 24),
    hour_cos: Math.cos((2 * Math.PI * hour) / 24),
    is_weekend: Number(weekend),
    is_business_hours: Number(!weekend && hour >= 9 && hour < 17),
  }
}

function sortById(given: readonly PoolPrices[]): readonly PoolPrices[] {
  const byId = new Map(given.map((prices) => [poolId(prices.pool), prices]))
  if (byId.size < given.length)
    throw new AppError('input_invalid', 'a pool is there twice', {
      hint: 'Give each pool once, with all its prices.',
    })
  return [...byId].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, prices]) => prices)
}
