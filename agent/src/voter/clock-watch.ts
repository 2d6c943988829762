import { between, type Millis, type Mono, millis } from '@understudy/shared/core/time'
import type { LeasePolicy } from '@understudy/shared/failover/lease'

/** So far two clocks of one machine may differ between two looks; one of them is read in steps of 10 ms. */
const DISAGREEMENT = millis(200)

/** Two clocks that are read together: one stands still while the machine is suspended, the other goes on. */
export interface ClockReading {
  readonly mono: Mono
  readonly boot: Mono
}

/**
 * Why leases cannot be counted any more, from two looks that should lie one heartbeat apart; undefined when they can.
 * A clock that was set, a machine that was suspended, or a thread that did not run for a whole lease: what is in its
 * sockets then is from before. A shorter stall is no doubt; the clocks have counted it. Pure.
 */
export function clockDoubt(
  before: ClockReading,
  now: ClockReading,
  { heartbeat, lease }: LeasePolicy,
): string | undefined {
  const elapsed = between(before.mono, now.mono)
  const apart: Millis = millis(Math.abs(elapsed - between(before.boot, now.boot)))
  if (apart > DISAGREEMENT) return `the clocks of this machine disagree by ${Math.round(apart)} ms`
  const late = elapsed - heartbeat
  return late > lease ? `this instance stood still for ${Math.round(late)} ms` : undefined
}
