import { hours, type Millis } from '../core/time.ts'
import type { InterruptionBand } from '../market/pool.ts'

/** A month of 365 days in hours, twelve to the year. */
const HOURS_PER_MONTH = 730
/** The middle of each band; AWS gives no upper end for the last. Share of instances interrupted in a month. */
export const bandShares = [0.025, 0.075, 0.125, 0.175, 0.25] as const
/** What a type that the Advisor does not know counts as. */
const UNKNOWN_BAND = 3

/**
 * Interruptions per instance-hour that a band of the Spot Advisor means, `-ln(1 - share) / 730`: a constant hazard by which
 * that share is interrupted within a month.
 */
export const advisorHazard = (band: InterruptionBand | null): number =>
  -Math.log1p(-bandShares[band ?? UNKNOWN_BAND]) / HOURS_PER_MONTH

const DAY = hours(24)
/** By chance alone one band in five is the right one. */
const LEAST_UNCHANGED = 0.2

/**
 * The share of bands that are still the same after a time: a straight line in the logarithm through what three copies of the
 * Advisor's file show, 80 % after 7 days and 37 % after 560. A band of unknown age counts as chance.
 */
export function stillTrue(age: Millis | null): number {
  if (age === null) return LEAST_UNCHANGED
  const days = Math.max(age / DAY, 1)
  const slope = (0.8 - 0.37) / Math.log(560 / 7)
  return Math.max(LEAST_UNCHANGED, 0.8 - slope * Math.log(days / 7))
}
