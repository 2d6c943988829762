import { type Instant, instant, type Millis } from '@understudy/shared/core/time'
import { priceOf, type ReplayMarket, type Workload } from './replay-market.ts'

/** What a policy sees: nothing of the future. */
export interface ReplayState {
  readonly tick: number
  readonly now: Instant
  /** The pool it runs in; undefined when it has been taken away or could not be launched. */
  readonly running: number | undefined
  /** The pool it ran in last. */
  readonly last: number
  readonly launchedAt: Instant
  /** When it moved of its own accord. */
  readonly movedAt: readonly Instant[]
  /** Pools that took an instance away, and when. */
  readonly interruptions: readonly { readonly pool: number; readonly at: Instant }[]
  /** Pools that have refused a launch at this tick. */
  readonly refused: ReadonlySet<number>
}

export interface ReplayPolicy {
  /** Where to next; undefined stays, or waits while nothing runs. */
  choose(state: ReplayState): number | undefined
}

export interface ReplayCosts {
  /** Both instances run for this long while a move is made. */
  readonly overlap: Millis
  /** Nothing runs for this long after an instance was taken away, until the next one is up. */
  readonly launch: Millis
}

export interface ReplayResult {
  readonly costUsd: number
  /** Of its own accord. */
  readonly moves: number
  readonly interruptions: number
  readonly withoutCapacity: Millis
  readonly total: Millis
  /** Cost of each week, USD. */
  readonly weeks: Float64Array
}

const HOUR = 3_600_000
const WEEK = 7 * 24 * HOUR
/** A workload that is at home at the first tick has been there for a while. */
const LONG_AGO = WEEK

/**
 * Plays one workload through a market. An instance is lost when its pool has no price any more; a launch into such a pool
 * is refused at once, and the policy is asked again. A move of its own accord costs the overlap and no time.
 */
export function replay(
  market: ReplayMarket,
  workload: Workload,
  policy: ReplayPolicy,
  costs: ReplayCosts,
): ReplayResult {
  const play = createPlay(market, workload, costs)
  for (let tick = workload.from; tick < market.ticks; tick++)
    if (!market.isBlind(tick)) play.step(tick, policy)
  return play.result()
}

function createPlay(market: ReplayMarket, workload: Workload, costs: ReplayCosts) {
  const weeks = new Float64Array(Math.ceil((market.ticks * market.tick) / WEEK))
  const movedAt: Instant[] = []
  const interruptions: { pool: number; at: Instant }[] = []
  let running: number | undefined
  let last = workload.home
  let launchedAt = instant(market.start + workload.from * market.tick - LONG_AGO)
  let [costUsd, withoutCapacity, total, begun] = [0, 0, 0, false]

  const at = (tick: number): Instant => instant(market.start + tick * market.tick)
  function pay(tick: number, usd: number): void {
    costUsd += usd
    const week = Math.floor((tick * market.tick) / WEEK)
    weeks[week] = (weeks[week] ?? 0) + usd
  }
  function enter(pool: number, tick: number): void {
    running = pool
    last = pool
    launchedAt = at(tick)
    begun = true
  }
  /** Asks until a launch succeeds or the policy has no further wish. */
  function wish(tick: number, policy: ReplayPolicy): number | undefined {
    const refused = new Set<number>()
    for (let tries = 0; tries <= market.pools.length; tries++) {
      const state = { tick, now: at(tick), running, last, launchedAt, movedAt, interruptions, refused }
      const pool = policy.choose(state)
      if (pool === undefined || pool === running) return undefined
      if (!Number.isNaN(priceOf(market, pool, tick))) return pool
      refused.add(pool)
    }
    return undefined
  }
  function relaunch(tick: number, pool: number | undefined): void {
    const lost = pool === undefined ? market.tick : begun ? Math.min(costs.launch, market.tick) : 0
    withoutCapacity += lost
    if (pool === undefined) return
    enter(pool, tick)
  }

  return {
    step(tick: number, policy: ReplayPolicy): void {
      total += market.tick
      // The first tick is the same for all: its home, where that can be had.
      const first = tick === workload.from && !Number.isNaN(priceOf(market, workload.home, tick))
      if (running !== undefined && Number.isNaN(priceOf(market, running, tick))) {
        interruptions.push({ pool: running, at: at(tick) })
        running = undefined
      }
      if (first) {
        running = workload.home
        begun = true
      } else {
        const pool = wish(tick, policy)
        if (running === undefined) relaunch(tick, pool)
        else if (pool !== undefined) {
          pay(tick, (priceOf(market, pool, tick) * costs.overlap) / HOUR)
          movedAt.push(at(tick))
          enter(pool, tick)
        }
      }
      if (running !== undefined) pay(tick, (priceOf(market, running, tick) * market.tick) / HOUR)
    },
    result: (): ReplayResult => ({
      costUsd,
      moves: movedAt.length,
      interruptions: interruptions.length,
      withoutCapacity: withoutCapacity as Millis,
      total: total as Millis,
      weeks,
    }),
  }
}
