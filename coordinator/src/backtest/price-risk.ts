import { hours } from '@understudy/shared/core/time'
import type { ReplayMarket, ReplayPool } from './replay-market.ts'

/** Probability that the price of a pool rises by more than 3 % within 12 h, from what was known by then. */
export interface RiskSource {
  readonly name: string
  instability12h(pool: number, tick: number): number | null
}

const RISE = 1.03
const HORIZON = hours(12)
/** Upper ends of the return over the past 12 h. */
const EDGES = [-0.03, -1e-9, 1e-9, 0.01, 0.03, 0.06] as const
/** The last one: the return is not known. */
const BUCKETS = EDGES.length + 2
/** So much does the rate of all weigh in the rate of one bucket, in rows. */
const PRIOR_ROWS = 50

/**
 * Counts, tick by tick, how often a return over the past 12 h was followed by such a rise, over all pools and only over windows
 * that had ended: the strongest single feature of prices, and it looks at nothing that lay ahead.
 */
export function countedRises(market: ReplayMarket): RiskSource {
  const window = Math.max(1, Math.round(HORIZON / market.tick))
  const rates = new Float64Array(market.ticks * BUCKETS)
  const rows = new Float64Array(BUCKETS)
  const rises = new Float64Array(BUCKETS)
  for (let tick = 0; tick < market.ticks; tick++) {
    const ended = tick - window
    if (ended >= 0) for (const pool of market.pools) countWindow(pool, ended, window, rows, rises)
    const all = (sum(rises) + 0.01) / (sum(rows) + 1)
    for (let bucket = 0; bucket < BUCKETS; bucket++)
      rates[tick * BUCKETS + bucket] =
        (at(rises, bucket) + PRIOR_ROWS * all) / (at(rows, bucket) + PRIOR_ROWS)
  }
  return {
    name: 'past-12h-return, counted as it goes',
    instability12h(pool, tick) {
      const given = market.pools[pool]
      return given ? at(rates, tick * BUCKETS + bucketOf(given, tick, window)) : null
    },
  }
}

/** A window whose prices are not all known counts for nothing. */
function countWindow(
  pool: ReplayPool,
  from: number,
  window: number,
  rows: Float64Array,
  rises: Float64Array,
): void {
  const start = at(pool.price, from)
  let most = start
  for (let i = from + 1; i <= from + window; i++) {
    const price = at(pool.price, i)
    if (Number.isNaN(price)) return
    if (price > most) most = price
  }
  if (Number.isNaN(start)) return
  const bucket = bucketOf(pool, from, window)
  rows[bucket] = at(rows, bucket) + 1
  if (most > RISE * start) rises[bucket] = at(rises, bucket) + 1
}

function bucketOf({ price }: ReplayPool, tick: number, window: number): number {
  const change = tick < window ? Number.NaN : at(price, tick) / at(price, tick - window) - 1
  if (Number.isNaN(change)) return BUCKETS - 1
  const bucket = EDGES.findIndex((edge) => change <= edge)
  return bucket < 0 ? EDGES.length : bucket
}

const at = (array: Float64Array, i: number): number => array[i] as number
const sum = (array: Float64Array): number => array.reduce((total, value) => total + value, 0)
