import type { ReplayCosts, ReplayPolicy } from './replay.ts'
import { priceOf, type ReplayMarket, type Workload } from './replay-market.ts'

const HOUR = 3_600_000
/** USD per hour without capacity: above any price, so that capacity comes first and cost second. */
const OUTAGE_USD = 1e6

/**
 * What somebody who knew all prices in advance would have done: dynamic programming over ticks and pools, a move costing its
 * overlap. Least time without capacity first, least cost among those.
 */
export function hindsightPolicy(market: ReplayMarket, workload: Workload, costs: ReplayCosts): ReplayPolicy {
  const path = bestPath(market, workload, costs)
  return { choose: ({ tick, running }) => (path[tick] === running ? undefined : path[tick]) }
}

/** For each tick the pool to be in; undefined where none can be had. One state per pool, and a last one that stands for waiting. */
function bestPath(
  market: ReplayMarket,
  { pools, home, from }: Workload,
  costs: ReplayCosts,
): readonly (number | undefined)[] {
  const { ticks } = market
  const width = pools.length
  const states = width + 1
  const back = new Int16Array(ticks * states)
  const priceAt = (state: number, tick: number) =>
    state === width ? Number.NaN : priceOf(market, pools[state] as number, tick)
  let cost = new Float64Array(states).fill(Number.POSITIVE_INFINITY)
  // The first tick is spent at home by everybody (replay.ts), where home can be had.
  const first = priceOf(market, home, from)
  const isHome = !Number.isNaN(first) && !market.isBlind(from)
  cost[Number.isNaN(first) ? width : pools.indexOf(home)] = isHome ? (first * market.tick) / HOUR : 0
  if (isHome) back.fill(pools.indexOf(home), from * states, (from + 1) * states)
  for (let tick = isHome ? from + 1 : from; tick < ticks; tick++) {
    const row = back.subarray(tick * states, (tick + 1) * states)
    if (market.isBlind(tick)) row.set(Array.from(row.keys()))
    else cost = step(cost, row, { priceAt: (state) => priceAt(state, tick), tick: market.tick, costs })
  }
  return walkBack(back, { ticks, from, states, last: cheapestOf(cost, () => true) }).map((state) =>
    state === undefined ? undefined : pools[state],
  )
}

/** The least cost of being in each state after one more tick; `row` takes the state that it was reached from. */
function step(
  cost: Float64Array,
  row: Int16Array,
  { priceAt, tick, costs }: { priceAt(state: number): number; tick: number; costs: ReplayCosts },
): Float64Array<ArrayBuffer> {
  const waiting = cost.length - 1
  const isUp = (state: number) => !Number.isNaN(priceAt(state))
  const leaver = cheapestOf(cost, isUp)
  const loser = cheapestOf(cost, (state) => !isUp(state))
  const next = new Float64Array(cost.length)
  for (let state = 0; state < cost.length; state++) {
    const up = isUp(state)
    const price = up ? priceAt(state) : 0
    const moved = at(cost, leaver) + (price * costs.overlap) / HOUR
    const launched = at(cost, loser) + (up ? (OUTAGE_USD * costs.launch) / HOUR : 0)
    const stayed = up || state === waiting ? at(cost, state) : Number.POSITIVE_INFINITY
    const least = Math.min(moved, launched, stayed)
    row[state] = least === stayed ? state : least === moved ? leaver : loser
    const dead = state === waiting ? OUTAGE_USD : Number.POSITIVE_INFINITY
    next[state] = least + ((up ? price : dead) * tick) / HOUR
  }
  return next
}

function walkBack(
  back: Int16Array,
  { ticks, from, states, last }: { ticks: number; from: number; states: number; last: number },
): (number | undefined)[] {
  const path: (number | undefined)[] = Array.from({ length: ticks }, () => undefined)
  let state = last
  for (let tick = ticks - 1; tick >= from; tick--) {
    path[tick] = state
    state = back[tick * states + state] ?? state
  }
  return path
}

/** Beyond the end for a state that is not there: infinitely dear. */
const at = (array: Float64Array, i: number): number => array[i] ?? Number.POSITIVE_INFINITY

function cheapestOf(cost: Float64Array, among: (state: number) => boolean): number {
  let best = cost.length
  for (let s = 0; s < cost.length; s++) if (among(s) && at(cost, s) < at(cost, best)) best = s
  return best
}
