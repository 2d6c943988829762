import type { Random } from './random.ts'
import { type Millis, millis } from './time.ts'

export interface BackoffPolicy {
  /** Upper bound of the first wait. */
  readonly base: Millis
  /** Upper bound of every wait. */
  readonly cap: Millis
}

/**
 * Full jitter: a uniform wait in [0, min(cap, base · 2^attempt)). It spreads a fleet that lost its coordinator at the
 * same instant better than any fixed schedule. `attempt` counts from 0.
 */
export const fullJitter = (policy: BackoffPolicy, attempt: number, random: Random): Millis =>
  millis(random() * Math.min(policy.cap, policy.base * 2 ** Math.min(attempt, 30)))
