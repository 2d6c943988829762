import type { Candidate } from './context.ts'

export const decisionNames = ['STAY', 'SWITCH', 'DRAIN', 'EVACUATE'] as const
export type DecisionName = (typeof decisionNames)[number]

/** What is to happen with one target, and why in one sentence. */
export interface Decision {
  readonly decision: DecisionName
  /** For programs: which rule decided. */
  readonly code: DecisionCode
  readonly reason: string
  readonly awsSignal: 'NONE' | 'REBALANCE' | 'TERMINATION'
  /** Where to, best first found; null when it stays or nothing is left. */
  readonly target: Candidate | null
  /** Null when nothing is to be done. */
  readonly action: Action | null
  readonly alert: 'UNSAFE_AND_NO_CANDIDATE' | 'NO_CANDIDATE' | 'ADVISOR_FALLBACK' | null
  /** On-demand is the way out when spot has none. */
  readonly suggestion: 'ON_DEMAND_FALLBACK' | null
  /** What the best would save per hour in effective cost, USD; null where there is nothing to compare. */
  readonly gainUsd: number | null
}

export type DecisionCode =
  | 'SIGNAL_TERMINATION'
  | 'SIGNAL_REBALANCE'
  | 'ALREADY_HANDLED'
  | 'UNSAFE'
  | 'CHEAPER'
  | 'PATIENCE_SPENT'
  | 'PLACE'
  | 'ALREADY_BEST'
  | 'BELOW_HYSTERESIS'
  | 'TOO_YOUNG'
  | 'TOO_MANY_SWITCHES'
  | 'NO_BUDGET'
  | 'PROTECTED'
  | 'SUPERSEDED_BY'
  | 'ADVISOR_FALLBACK'
  | 'CURRENT_UNKNOWN'
  | 'NO_CANDIDATE'
  | 'UNSAFE_AND_NO_CANDIDATE'

export interface Action {
  readonly kind: 'LAUNCH' | 'SWITCH' | 'REPLICA' | 'CORDON_AND_PRELAUNCH' | 'DRAIN' | 'EVACUATE'
  /** Signals that are answered by it: remembered, so that the same signal acts once. */
  readonly signals: readonly string[]
}

export const stay = (
  code: DecisionCode,
  reason: string,
  more: Partial<Pick<Decision, 'alert' | 'suggestion' | 'gainUsd'>> = {},
): Decision => ({
  decision: 'STAY',
  code,
  reason,
  awsSignal: 'NONE',
  target: null,
  action: null,
  alert: null,
  suggestion: null,
  gainUsd: null,
  ...more,
})
