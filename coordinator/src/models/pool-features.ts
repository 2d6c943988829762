import { AppError } from '@understudy/shared/core/app-error'
import type { MicroUsd } from '@understudy/shared/core/money'
import { hours, type Instant } from '@understudy/shared/core/time'
import { type FeatureName, isFeatureName } from '@understudy/shared/market/feature-catalog'
import { createFeatureTable, type FeatureTable } from '@understudy/shared/market/features'
import { priceAge } from '@understudy/shared/market/known-prices'
import { type Pool, poolId } from '@understudy/shared/market/pool'
import { HOUR_MS, type PricePath, toPricePath } from '@understudy/shared/market/price-path'
import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type { PoolPrices, PricedPool } from './pool-prices.ts'

/** As old as the decision pipeline lets a price be (`maxPriceAge`). */
const OLDEST_PRICE = hours(6)
/** With less of a pool's prices than this a model would take what nobody has seen for calm. */
const SHORTEST_HISTORY = hours(24)

/** Rows for a model, and why the other pools have none. */
export interface FeatureRows {
  readonly at: Instant
  /** One for each row. */
  readonly pools: readonly PricedPool[]
  /** Row after row, as the manifest says; NaN for what is missing. */
  readonly values: Float32Array
  readonly left: ReadonlyMap<string, LeftOut>
}

export type LeftOut = 'NO_PRICES' | 'STALE_PRICE' | 'SHORT_HISTORY' | 'FEATURE_UNKNOWN'

export const leftOutReasons: Readonly<Record<LeftOut, string>> = {
  NO_PRICES: 'no price of it is known',
  STALE_PRICE: 'its last price is more than 6 h old',
  SHORT_HISTORY: 'its prices are known for less than 24 h',
  FEATURE_UNKNOWN: 'a feature that the model needs is not known',
}

/** Features of pools as a model takes them, by the functions that have made its training data. */
export interface PoolFeatures {
  /**
   * @param only these pools; without it all of the region
   * @throws AppError `not_supported` when the model takes features that are not in the catalog
   */
  rows(manifest: ModelManifest, region: string, at: Instant, only?: Iterable<string>): FeatureRows
}

/** Memory of a region and a list of features. */
interface RegionTable {
  readonly given: readonly PricedPool[]
  readonly table: FeatureTable
  /** In the order of the rows. */
  readonly pools: readonly PricedPool[]
  readonly rowOf: ReadonlyMap<string, number>
  readonly values: Float32Array
  /** In the order of `given`. */
  readonly onDemand: readonly (MicroUsd | undefined)[]
  checkedAt: Instant
  /** Of the rows: a path whose price is too old by then counts as none. */
  readonly moment: { at: Instant }
}

/** On-demand prices are looked up again after this. */
const TABLE_KEPT = hours(1)
const MOST_TABLES = 64
const NOTHING: PricePath = toPricePath([])

export function createPoolFeatures(
  prices: Pick<PoolPrices, 'inRegion'>,
  onDemandOf: (pool: Pool) => MicroUsd | undefined,
): PoolFeatures {
  const tables = new Map<string, RegionTable>()

  /** To make one for thousands of pools takes longer than to use it: only where an on-demand price is another one. */
  function isCurrent(table: RegionTable, at: Instant): boolean {
    if (at - table.checkedAt < TABLE_KEPT) return true
    if (table.given.some(({ pool }, i) => onDemandOf(pool) !== table.onDemand[i])) return false
    table.checkedAt = at
    return true
  }

  function tableOf(names: readonly FeatureName[], region: string, at: Instant): RegionTable {
    const key = `${region} ${names.join(' ')}`
    const known = tables.get(key)
    const given = prices.inRegion(region)
    if (known && known.given === given && isCurrent(known, at)) return known
    if (tables.size >= MOST_TABLES) tables.clear()
    const byId = new Map(given.map((priced) => [priced.id, priced]))
    const moment = { at }
    const onDemand = given.map(({ pool }) => onDemandOf(pool))
    const table = createFeatureTable(
      given.map((priced, i) => ({
        pool: priced.pool,
        onDemand: onDemand[i],
        get path() {
          const { known } = priced
          return known && moment.at - known.until <= OLDEST_PRICE ? known.path : NOTHING
        },
      })),
      names,
    )
    const made = {
      given,
      table,
      pools: table.pools.map((pool) => byId.get(poolId(pool)) as PricedPool),
      rowOf: new Map(table.pools.map((pool, row) => [poolId(pool), row])),
      values: new Float32Array(given.length * names.length),
      onDemand,
      checkedAt: at,
      moment,
    }
    tables.set(key, made)
    return made
  }

  return {
    rows({ input }, region, at, only) {
      const names = toNames(input.features.map(({ name }) => name))
      const { table, pools, rowOf, values, moment } = tableOf(names, region, at)
      moment.at = at
      table.rowsAt(at, values)
      const width = names.length
      const needed = input.features.flatMap(({ nullable }, j) => (nullable ? [] : [j]))
      const kept: PricedPool[] = []
      const rowsKept: number[] = []
      const left = new Map<string, LeftOut>()
      const look = (id: string, row: number | undefined): void => {
        const why = row === undefined ? 'NO_PRICES' : whyNot(pools[row], at, values, row * width, needed)
        if (why) left.set(id, why)
        else {
          rowsKept.push(row as number)
          kept.push(pools[row as number] as PricedPool)
        }
      }
      if (only) for (const id of new Set(only)) look(id, rowOf.get(id))
      else for (const [row, { id }] of pools.entries()) look(id, row)
      return { at, pools: kept, values: takeRows(values, rowsKept, width), left }
    },
  }
}

/** In one copy for each stretch of rows that follow each other: mostly all of them. */
function takeRows(from: Float32Array, rows: readonly number[], width: number): Float32Array {
  const out = new Float32Array(rows.length * width)
  for (let start = 0, end = 1; start < rows.length; start = end, end += 1) {
    while (end < rows.length && rows[end] === (rows[end - 1] as number) + 1) end += 1
    const first = rows[start] as number
    out.set(from.subarray(first * width, (first + end - start) * width), start * width)
  }
  return out
}

/**
 * @param start of its row in `values`
 * @param needed columns that may not be missing
 */
function whyNot(
  priced: PricedPool | undefined,
  at: Instant,
  values: Float32Array,
  start: number,
  needed: readonly number[],
): LeftOut | undefined {
  const known = priced?.known
  const age = known ? priceAge(known, at) : Number.POSITIVE_INFINITY
  if (!known || age === Number.POSITIVE_INFINITY) return 'NO_PRICES'
  if (age > OLDEST_PRICE) return 'STALE_PRICE'
  if (at - known.from < SHORTEST_HISTORY) return 'SHORT_HISTORY'
  for (const j of needed) if (Number.isNaN(values[start + j])) return 'FEATURE_UNKNOWN'
  return undefined
}

/** Share of the look-back of a row in which the price was held over a hole, or not known at all. */
export function filledShare({ known }: PricedPool, at: Instant, lookback = 168 * HOUR_MS): number {
  if (!known) return 1
  const start = at - lookback
  const held = known.bridged.reduce((sum, { from, to }) => sum + Math.max(0, to - Math.max(from, start)), 0)
  const unknown = Math.max(0, known.from - start) + Math.max(0, at - known.until)
  return Math.min(1, (held + unknown) / lookback)
}

function toNames(names: readonly string[]): readonly FeatureName[] {
  const unknown = names.filter((name) => !isFeatureName(name))
  if (unknown.length > 0)
    throw new AppError(
      'not_supported',
      `the model takes features that are not known here: ${unknown.join(', ')}`,
      {
        hint: 'Train it with features of shared/src/market/feature-catalog.ts: pnpm models:features writes all of them.',
      },
    )
  return names as readonly FeatureName[]
}
