import { fromUsd, type MicroUsd } from '../../shared/src/core/money.ts'
import type { Instant } from '../../shared/src/core/time.ts'
import type { PoolHistory } from './price-file.ts'

/**
 * The same market at another pace: `time` stretches it (2 is half as fast), `moves` multiplies every change of the
 * logarithm of a price. The on-demand price stays where it is, as the ceiling that it was; without one the first price
 * does. A model that is also trained on such copies depends less on the pace of the market that it was made from.
 */
export interface Scale {
  readonly time: number
  readonly moves: number
}

export function scaleMarket(
  histories: readonly PoolHistory[],
  onDemand: ReadonlyMap<string, MicroUsd>,
  { time, moves }: Scale,
  origin: Instant,
): PoolHistory[] {
  return histories.map(({ pool, events }) => {
    const fixed = onDemand.get(pool.instanceType) ?? events[0]?.price ?? 1
    return {
      pool,
      events: events.map(({ at, price }) => ({
        at: scaleTime(at, time, origin),
        price: Math.max(1, fromUsd((fixed * (price / fixed) ** moves) / 1e6)) as MicroUsd,
      })),
    }
  })
}

export const scaleTime = (at: Instant, time: number, origin: Instant): Instant =>
  Math.round(origin + (at - origin) * time) as Instant
