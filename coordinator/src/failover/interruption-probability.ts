/**
 * How likely a termination is once AWS has recommended a rebalance, from what followed earlier recommendations. Pure.
 *
 * Such recommendations are often false alarms, so the share that was followed by a notice within two hours is learnt:
 * a Beta distribution that begins at 4 hits and 6 misses (mean 0.40, so that at first it protects), for the finest
 * level that has seen at least three signals: instance family and region, then region, then everywhere.
 */
export interface PastSignal {
  readonly family: string
  readonly region: string
  /** A termination notice came within the window. */
  readonly followed: boolean
}

export interface Probability {
  readonly value: number
  readonly because: string
}

/** A signal counts as followed when the notice came within this. */
export const FOLLOWED_WITHIN_MS = 2 * 3600 * 1000

const PRIOR_HITS = 4
const PRIOR_MISSES = 6
const ENOUGH = 3

export function probabilityAfterSignal(
  past: readonly PastSignal[],
  at: { readonly family: string; readonly region: string },
): Probability {
  const levels = [
    {
      name: `${at.family} in ${at.region}`,
      signals: past.filter((signal) => signal.family === at.family && signal.region === at.region),
    },
    { name: at.region, signals: past.filter((signal) => signal.region === at.region) },
    { name: 'all regions', signals: past },
  ]
  const level = levels.find(({ signals }) => signals.length >= ENOUGH)
  if (!level) {
    const value = PRIOR_HITS / (PRIOR_HITS + PRIOR_MISSES)
    return { value, because: `no level has ${ENOUGH} past recommendations: the prior of ${value.toFixed(2)}` }
  }
  const hits = level.signals.filter(({ followed }) => followed).length
  const total = level.signals.length
  return {
    value: (PRIOR_HITS + hits) / (PRIOR_HITS + PRIOR_MISSES + total),
    because: `${hits} of ${total} recommendations for ${level.name} were followed by a notice within 2 h`,
  }
}
