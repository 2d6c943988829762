import { PRIOR_AFTER_SIGNAL } from '../interruption/rebalance-posterior.ts'
import type { Candidate, PipelineInput, Signal } from './context.ts'
import { type Action, type Decision, stay } from './decision.ts'

/** What a signal is remembered by: the same one, seen again, is acted on once. */
export const signalKey = ({ kind, instanceId, actionAt }: Signal): string =>
  `${kind}:${instanceId}:${actionAt}`

export interface Targets {
  /** What no stage has dropped, best first, without the current pool. */
  readonly elsewhere: readonly Candidate[]
  /** The same, then what fits and was vetoed, then the current pool. */
  readonly left: readonly Candidate[]
}

/**
 * AWS's signals beat the model. A termination notice evacuates to the best of what is left, whatever hysteresis, cooldowns
 * and the gate say; a rebalance recommendation does what the policy says. Undefined: no signal decides.
 */
export function signalOverride(
  input: PipelineInput,
  { elsewhere, left }: Targets,
): { readonly decision: Decision } | { readonly note: string } | undefined {
  const own = input.signals.filter(({ instanceId }) => instanceId === input.current?.instanceId)
  const termination = own.some(({ kind }) => kind === 'TERMINATION')
  if (termination) return { decision: evacuate(input, own, left[0]) }
  if (own.length === 0) return undefined
  return rebalance(input, own, elsewhere[0])
}

/** The keys of signals that are new, in one order; the first to be heard decides, and the rest are told with it. */
const newKeys = (input: PipelineInput, own: readonly Signal[]): string[] =>
  [...new Set(own.map(signalKey))].filter((key) => !input.handledSignals.includes(key)).sort()

function evacuate(input: PipelineInput, own: readonly Signal[], target: Candidate | undefined): Decision {
  const notices = own.filter(({ kind }) => kind === 'TERMINATION')
  const isNew = newKeys(input, notices).length > 0
  return {
    ...stay(isNew ? 'SIGNAL_TERMINATION' : 'ALREADY_HANDLED', 'AWS Termination Notice received'),
    decision: 'EVACUATE',
    awsSignal: 'TERMINATION',
    target: target ?? null,
    action: isNew ? { kind: 'EVACUATE', signals: newKeys(input, own) } : null,
    alert: target ? null : 'NO_CANDIDATE',
    suggestion: target ? null : 'ON_DEMAND_FALLBACK',
  }
}

const kinds: Readonly<Record<'replica_if_p' | 'cordon_and_prelaunch' | 'drain', Action['kind']>> = {
  replica_if_p: 'REPLICA',
  cordon_and_prelaunch: 'CORDON_AND_PRELAUNCH',
  drain: 'DRAIN',
}

function rebalance(input: PipelineInput, own: readonly Signal[], target: Candidate | undefined) {
  const { onRebalance, tauReplica } = input.policy
  const p = input.rebalanceProbability ?? PRIOR_AFTER_SIGNAL
  if (onRebalance === 'ignore') return { note: 'a rebalance recommendation is ignored by policy' }
  if (onRebalance === 'replica_if_p' && p <= tauReplica)
    return { note: `a rebalance recommendation is followed by a notice with ${p}, not above ${tauReplica}` }
  const signals = newKeys(input, own)
  const isNew = signals.length > 0
  const decision: Decision = {
    ...stay(isNew ? 'SIGNAL_REBALANCE' : 'ALREADY_HANDLED', 'AWS Rebalance Recommendation received'),
    decision: 'DRAIN',
    awsSignal: 'REBALANCE',
    target: target ?? null,
    action: isNew ? { kind: kinds[onRebalance], signals } : null,
    alert: target ? null : 'NO_CANDIDATE',
    suggestion: target ? null : 'ON_DEMAND_FALLBACK',
  }
  return { decision }
}
