/**
 * An interval around a mean that holds at every n at once, so that it may be looked at as often as one likes.
 * Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences" (2021), two-sided, with the
 * mixture tuned to be the narrowest at the planned n.
 */
export interface Interval {
  readonly n: number
  readonly mean: number
  readonly sd: number
  /** All values were the same: the interval is made from `SD_FLOOR`. */
  readonly floored: boolean
  readonly lower: number
  readonly upper: number
}

export interface Sequence {
  /** The chance of ever being wrong, 0 to 1. */
  readonly alpha: number
  /** The n at which the interval is the narrowest. */
  readonly planned: number
}

/** Values that do not differ at all are no proof that they never will. */
export const SD_FLOOR = 1e-9

/** ρ², which decides where the interval is narrow: `(-2 ln α + ln(-2 ln α + 1)) / n*`. */
export function rhoSquared({ alpha, planned }: Sequence): number {
  const twice = -2 * Math.log(alpha)
  return (twice + Math.log(twice + 1)) / planned
}

/** Half of the width for a standard deviation of 1: `sqrt(2 (n ρ² + 1) / (n² ρ²) · ln(sqrt(n ρ² + 1) / α))`. */
export function halfWidth(n: number, sequence: Sequence): number {
  const rho2 = rhoSquared(sequence)
  const spread = n * rho2 + 1
  return Math.sqrt(((2 * spread) / (n * n * rho2)) * Math.log(Math.sqrt(spread) / sequence.alpha))
}

/** Of values that are close to independent: see blocks.ts. */
export function intervalOf(values: readonly number[], sequence: Sequence): Interval {
  const n = values.length
  const mean = n === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / n
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return intervalAround({ n, mean, sd: n < 2 ? 0 : Math.sqrt(squares / (n - 1)) }, sequence)
}

export function intervalAround(
  { n, mean, sd }: { readonly n: number; readonly mean: number; readonly sd: number },
  sequence: Sequence,
): Interval {
  const floored = !(sd >= SD_FLOOR)
  if (n === 0)
    return { n, mean, sd, floored, lower: Number.NEGATIVE_INFINITY, upper: Number.POSITIVE_INFINITY }
  const half = Math.max(sd, SD_FLOOR) * halfWidth(n, sequence)
  return { n, mean, sd, floored, lower: mean - half, upper: mean + half }
}
