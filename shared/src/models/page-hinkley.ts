export interface PageHinkley {
  /** Whether the mean has risen with this value; then it begins anew. */
  update(value: number): boolean
}

export interface PageHinkleyOptions {
  /** How much the sum of deviations may rise above its lowest. */
  readonly lambda: number
  readonly delta?: number
  readonly minimum?: number
}

/** Old deviations weigh a little less, as in river. */
const FORGET = 0.9999

/** Page (1954), Hinkley (1971): the sum of what values are above their mean, less `delta`, over its lowest point so far. */
export function createPageHinkley({ lambda, delta = 0.005, minimum = 30 }: PageHinkleyOptions): PageHinkley {
  let n = 0
  let mean = 0
  let sum = 0
  let lowest = 0
  return {
    update(value) {
      n += 1
      mean += (value - mean) / n
      sum = FORGET * sum + value - mean - delta
      lowest = Math.min(lowest, sum)
      if (n < minimum || sum - lowest <= lambda) return false
      n = 0
      mean = 0
      sum = 0
      lowest = 0
      return true
    },
  }
}
