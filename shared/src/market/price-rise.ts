import type { Instant, Millis } from '../core/time.ts'
import { indexAt, type PricePath, value } from './price-path.ts'

/** What `price instability` means: the price rises above `factor` times the present one within `horizon`. */
export interface RiseTarget {
  readonly horizon: Millis
  readonly factor: number
}

/** The target of the default model: `max price over (t, t + 12 h] > 1.03 · price(t)`. */
export const PRICE_INSTABILITY_12H: RiseTarget = { horizon: (12 * 3_600_000) as Millis, factor: 1.03 }

/**
 * When the price first exceeds `factor · price(t)` in `(t, t + horizon]`, undefined if it does not. It cannot tell a
 * calm price from one that nobody fetched: ask only where the history covers the whole window.
 */
export function firstRise(
  path: PricePath,
  t: Instant,
  target: RiseTarget = PRICE_INSTABILITY_12H,
): Instant | undefined {
  const now = indexAt(path.at, t)
  if (now < 0) return undefined
  const limit = value(path.price, now) * target.factor
  for (let i = now + 1; i < path.at.length && value(path.at, i) <= t + target.horizon; i++)
    if (value(path.price, i) > limit) return value(path.at, i) as Instant
  return undefined
}
