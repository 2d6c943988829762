import { type MicroUsd, microUsd } from '@understudy/shared/core/money'
import { type Random, seededRandom } from '@understudy/shared/core/random'
import { type Instant, systemClock } from '@understudy/shared/core/time'
import type { CatalogPool } from './catalog.ts'
import { createPriceHistory, type PriceHistory } from './price-history.ts'

/**
 * Prices and capacity of the simulated pools. Prices move in steps, as real ones do since 2017: small ones for most
 * of the time, upwards while a pool is getting tight, and now and then a spike. Capacity goes before the price does.
 *
 * - `calm`: small steps around the pool's own level every hour or so; instances can be had.
 * - `tight`: steps upwards every quarter of an hour; launches fail now and then, interruptions are likelier.
 * - `surge`: near the on-demand price; nothing can be had.
 */
export type Regime = 'calm' | 'tight' | 'surge'

export interface PoolState {
  readonly id: string
  readonly price: MicroUsd
  readonly regime: Regime
  /** Whether a launch would find capacity now. */
  readonly hasCapacity: boolean
  /** Interruptions per running instance and hour. */
  readonly interruptionsPerHour: number
}

export interface SimulatedMarket {
  /** Lets `minutes` of market time pass. */
  advance(minutes: number): void
  state(poolId: string): PoolState | undefined
  states(): readonly PoolState[]
  /** Every change of price since the market opened, by the wall clock. */
  readonly history: PriceHistory
  /** Makes a pool what a test or a story needs it to be. */
  force(poolId: string, regime: Regime): void
}

/** Per regime: minutes between steps, chance of each next regime per hour, and the two hazards. */
const regimes: Readonly<
  Record<
    Regime,
    { stepMinutes: number; next: readonly (readonly [Regime, number])[]; fails: number; hazard: number }
  >
> = {
  calm: { stepMinutes: 55, next: [['tight', 0.04]], fails: 0, hazard: 0.001 },
  tight: {
    stepMinutes: 14,
    next: [
      ['calm', 0.35],
      ['surge', 0.15],
    ],
    fails: 0.3,
    hazard: 0.05,
  },
  surge: { stepMinutes: 22, next: [['tight', 0.8]], fails: 1, hazard: 0.4 },
}

interface MutablePool {
  readonly id: string
  readonly onDemand: number
  /** Where the price is drawn to while the pool is calm, as a part of on-demand. */
  readonly level: number
  readonly random: Random
  part: number
  regime: Regime
  minutesToStep: number
  hasCapacity: boolean
}

export function createMarket(
  seed: number,
  pools: readonly CatalogPool[],
  now: () => Instant = systemClock.now,
): SimulatedMarket {
  const all = new Map<string, MutablePool>()
  const history = createPriceHistory()
  pools.forEach((entry, index) => {
    // A generator per pool: looking at one does not change the story of another.
    const random = seededRandom(seed * 7919 + index)
    const level = 0.3 + random() * 0.18 + entry.interruptionBand * 0.02
    all.set(entry.id, {
      id: entry.id,
      onDemand: entry.onDemandPrice,
      level,
      random,
      part: level,
      regime: 'calm',
      minutesToStep: random() * regimes.calm.stepMinutes,
      hasCapacity: true,
    })
  })

  const toState = (pool: MutablePool): PoolState => ({
    id: pool.id,
    // EC2 quotes spot prices to a hundredth of a cent.
    price: microUsd(Math.round((pool.onDemand * pool.part) / 100) * 100),
    regime: pool.regime,
    hasCapacity: pool.hasCapacity,
    interruptionsPerHour: regimes[pool.regime].hazard,
  })

  const note = (pool: MutablePool) => history.note(pool.id, now(), toState(pool).price)
  for (const pool of all.values()) note(pool)

  return {
    history,
    advance(minutes) {
      for (const pool of all.values()) {
        advancePool(pool, minutes)
        note(pool)
      }
    },
    state: (id) => {
      const pool = all.get(id)
      return pool && toState(pool)
    },
    states: () => [...all.values()].map(toState),
    force(id, regime) {
      const pool = all.get(id)
      if (!pool) return
      enter(pool, regime)
      note(pool)
    },
  }
}

function advancePool(pool: MutablePool, minutes: number): void {
  for (let left = minutes; left > 0; ) {
    const slice = Math.min(left, pool.minutesToStep, 5)
    left -= slice
    pool.minutesToStep -= slice
    maybeChangeRegime(pool, slice)
    if (pool.minutesToStep <= 0) step(pool)
  }
}

function maybeChangeRegime(pool: MutablePool, minutes: number): void {
  for (const [next, perHour] of regimes[pool.regime].next)
    if (pool.random() < 1 - Math.exp((-perHour * minutes) / 60)) return enter(pool, next)
}

function enter(pool: MutablePool, regime: Regime): void {
  pool.regime = regime
  pool.minutesToStep = 0
  step(pool)
}

function step(pool: MutablePool): void {
  const { random, regime, level } = pool
  const { stepMinutes, fails } = regimes[regime]
  if (regime === 'calm') pool.part += (level - pool.part) * 0.3 + (random() - 0.5) * 0.02
  else if (regime === 'tight') pool.part *= 1.02 + random() * 0.05
  else pool.part = 0.75 + random() * 0.25
  pool.part = Math.min(Math.max(pool.part, 0.1), 1)
  pool.hasCapacity = random() >= fails
  pool.minutesToStep = stepMinutes * (0.3 + random() * 1.4)
}
