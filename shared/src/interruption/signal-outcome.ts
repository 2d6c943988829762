import { hours, type Instant } from '../core/time.ts'

/** A signal counts as followed when the notice came within this. Source: decisions 3.4. */
export const FOLLOWED_WITHIN = hours(2)

/** What is known of an instance since AWS recommended a rebalance of it. */
export interface SignalHistory {
  readonly detectedAt: Instant
  /** The first termination notice, whether before or after the recommendation; null when none has come. */
  readonly noticedAt: Instant | null
  /** When the instance ended, for whatever reason. */
  readonly endedAt: Instant | null
}

export const signalOutcomes = ['followed', 'not_followed', 'open', 'unknown'] as const
export type SignalOutcome = (typeof signalOutcomes)[number]

/**
 * Whether a recommendation was followed by a notice. `open` while its two hours last. `unknown` where the instance ended within them
 * without a notice, as after a move that the recommendation itself has caused: nobody can say what AWS would have done, so it
 * counts neither way.
 */
export function outcomeOf({ detectedAt, noticedAt, endedAt }: SignalHistory, now: Instant): SignalOutcome {
  const until = detectedAt + FOLLOWED_WITHIN
  if (noticedAt !== null && noticedAt <= until) return 'followed'
  if (endedAt !== null && endedAt < until) return 'unknown'
  return now < until ? 'open' : 'not_followed'
}
