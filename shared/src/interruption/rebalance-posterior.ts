/**
 * How likely a termination is once AWS has recommended a rebalance, from what followed earlier recommendations. Pure.
 *
 * Such recommendations are often false alarms, so the share that was followed by a notice within two hours is learnt:
 * a Beta distribution that begins at 4 hits and 6 misses (mean 0.40, so that at first it protects), for the finest
 * level that has seen at least three signals: instance family and region, then region, then everywhere. Source: decisions 3.4.
 */
export interface PastSignal {
  readonly family: string
  readonly region: string
  /** A termination notice came within the window. */
  readonly followed: boolean
}

export interface AfterSignal {
  /** The mean of the posterior. */
  readonly value: number
  /** Null: no level has seen enough, and the prior speaks alone. */
  readonly level: 'family_in_region' | 'region' | 'everywhere' | null
  /** Of that level. */
  readonly hits: number
  readonly misses: number
  /** In one sentence. */
  readonly because: string
}

const PRIOR_HITS = 4
const PRIOR_MISSES = 6
const ENOUGH = 3
/** What is believed before anything is known. */
export const PRIOR_AFTER_SIGNAL = PRIOR_HITS / (PRIOR_HITS + PRIOR_MISSES)

export function probabilityAfterSignal(
  past: readonly PastSignal[],
  at: { readonly family: string; readonly region: string },
): AfterSignal {
  const inRegion = past.filter(({ region }) => region === at.region)
  const levels = [
    {
      level: 'family_in_region',
      name: `${at.family} in ${at.region}`,
      signals: inRegion.filter(({ family }) => family === at.family),
    },
    { level: 'region', name: at.region, signals: inRegion },
    { level: 'everywhere', name: 'all regions', signals: past },
  ] as const
  const found = levels.find(({ signals }) => signals.length >= ENOUGH)
  const hits = found?.signals.filter(({ followed }) => followed).length ?? 0
  const total = found?.signals.length ?? 0
  const value = (PRIOR_HITS + hits) / (PRIOR_HITS + PRIOR_MISSES + total)
  return {
    value,
    level: found?.level ?? null,
    hits,
    misses: total - hits,
    because: found
      ? `${hits} of ${total} recommendations for ${found.name} were followed by a notice within 2 h`
      : `no level has ${ENOUGH} past recommendations: the prior of ${value.toFixed(2)}`,
  }
}
