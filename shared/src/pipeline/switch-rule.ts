import type { Candidate, PipelineInput, Placement, Risk, StageContext } from './context.ts'
import { type Decision, type DecisionCode, stay } from './decision.ts'
import { switchCostUsd } from './ranking.ts'
import { isSafe } from './safety-gate.ts'

export interface Standing {
  readonly context: StageContext
  /** The current placement with its risk and score; undefined when its pool has no usable offer. */
  readonly current: Candidate | undefined
  /** The best candidate that is elsewhere. */
  readonly best: Candidate | undefined
}

/**
 * Whether a target moves of its own accord. It leaves an unsafe pool for a safe one; else it moves only where that saves at
 * least `max($0.002, 10 %)` of its effective cost, or where staying has already cost `patience` times what the move costs.
 * Young placements, a day's worth of switches, marks, leases and the budget hold it back. Source: decisions 3.3 and 3.5.
 */
export function switchRule({ context, current, best }: Standing): Decision {
  const { input, riskSource } = context
  if (input.current === null) return place(best)
  if (riskSource === 'ADVISOR_FALLBACK')
    return stay('ADVISOR_FALLBACK', `${noModel(input)}: only AWS signals move anything`, {
      alert: 'ADVISOR_FALLBACK',
      ...(best ? {} : { suggestion: 'ON_DEMAND_FALLBACK' }),
    })
  const unsafe = current !== undefined && !isSafe(crashOf(current.risk), input.policy.tauLeave)
  if (!best) return withoutCandidate(input, current, unsafe)
  if (!current?.risk || current.risk.instability12h === null)
    return stay('CURRENT_UNKNOWN', 'the current pool has no usable price or score: nothing to compare with')
  const gainUsd = costOf(current) - costOf(best)
  const why = unsafe ? unsafeReason(current, input) : gainReason({ input, current, best, gainUsd })
  if ('held' in why) return { ...why.held, gainUsd }
  const hindrance = hindranceOf(input, input.current)
  if (hindrance) return { ...hindrance, gainUsd }
  return {
    ...stay(why.code, why.reason),
    decision: 'SWITCH',
    target: best,
    action: { kind: 'SWITCH', signals: [] },
    gainUsd,
  }
}

/**
 * What staying has cost so far over the best that could be had without the move's own cost, in USD. Kept between cycles by
 * who runs them; nought after a move.
 */
export function nextForgone(
  forgoneUsd: number,
  current: Candidate,
  best: Candidate | undefined,
  hours: number,
): number {
  const gain = best?.score ? costOf(current) - (best.score.effectiveUsd - best.score.parts.switchUsd) : 0
  return Math.max(0, forgoneUsd + gain * hours)
}

const crashOf = (risk: Risk | null): number | null => risk?.instability12h ?? null
const costOf = ({ score }: Candidate): number => score?.effectiveUsd ?? Number.NaN
const usd = (value: number): string => `$${value.toFixed(4)}`

const noModel = ({ modelFailure }: PipelineInput): string =>
  `no model scored the pools${modelFailure === null ? '' : ` (${modelFailure})`}`

function place(best: Candidate | undefined): Decision {
  if (!best)
    return stay('NO_CANDIDATE', 'nothing runs yet and no spot pool is left', {
      alert: 'NO_CANDIDATE',
      suggestion: 'ON_DEMAND_FALLBACK',
    })
  return {
    ...stay('PLACE', `nothing runs yet: ${best.id} is the best`),
    target: best,
    action: { kind: 'LAUNCH', signals: [] },
  }
}

function withoutCandidate(input: PipelineInput, current: Candidate | undefined, unsafe: boolean): Decision {
  if (unsafe)
    return stay('UNSAFE_AND_NO_CANDIDATE', `${unsafeText(current, input)}, and no safe pool is left`, {
      alert: 'UNSAFE_AND_NO_CANDIDATE',
      suggestion: 'ON_DEMAND_FALLBACK',
    })
  return stay('NO_CANDIDATE', 'no other spot pool is left', {
    alert: 'NO_CANDIDATE',
    suggestion: 'ON_DEMAND_FALLBACK',
  })
}

const unsafeText = (current: Candidate | undefined, { policy }: PipelineInput): string =>
  `Current instance is risky (probability ${crashOf(current?.risk ?? null) ?? 0} >= ${policy.tauLeave})`

type Why = { readonly code: DecisionCode; readonly reason: string } | { readonly held: Decision }

const unsafeReason = (current: Candidate, input: PipelineInput): Why => ({
  code: 'UNSAFE',
  reason: unsafeText(current, input),
})

function gainReason({
  input,
  current,
  best,
  gainUsd,
}: {
  readonly input: PipelineInput
  readonly current: Candidate
  readonly best: Candidate
  readonly gainUsd: number
}): Why {
  const { policy } = input
  const { forgoneUsd } = input.current as Placement
  const safe = `Current instance is safe (probability ${crashOf(current.risk) ?? 0} < ${policy.tauLeave})`
  if (!(gainUsd > 0)) return { held: stay('ALREADY_BEST', `${safe} and none is cheaper in effective cost`) }
  const needed = Math.max(policy.minGainUsd, policy.minGainShare * costOf(current))
  if (gainUsd >= needed)
    return { code: 'CHEAPER', reason: `${best.id} saves ${usd(gainUsd)} an hour, at least ${usd(needed)}` }
  const move = switchCostUsd(best.offer.spotUsd, policy.overlap)
  if (policy.patience !== null && forgoneUsd > 0 && forgoneUsd >= policy.patience * move)
    return {
      code: 'PATIENCE_SPENT',
      reason: `staying has cost ${usd(forgoneUsd)}, and the move to ${best.id} costs ${usd(move)}`,
    }
  return {
    held: stay(
      'BELOW_HYSTERESIS',
      `${safe}; ${best.id} saves ${usd(gainUsd)} an hour, less than ${usd(needed)}`,
    ),
  }
}

/** What holds a voluntary move back, in the order in which it is said. */
function hindranceOf(input: PipelineInput, current: Placement): Decision | undefined {
  const { policy, budget, now } = input
  if (current.protected) return stay('PROTECTED', 'the target is marked as not to be touched')
  if (budget.heldBy && budget.heldBy.expiresAt > now)
    return stay('SUPERSEDED_BY', `the engine ${budget.heldBy.engine} holds the target`)
  if (now - current.launchedAt < policy.minLifetime)
    return stay('TOO_YOUNG', `it has run for less than ${policy.minLifetime / 3_600_000} h`)
  if (current.switches24h >= policy.maxSwitches24h)
    return stay('TOO_MANY_SWITCHES', `it has moved ${current.switches24h} times within 24 h`)
  if (budget.movesLeft <= 0) return stay('NO_BUDGET', 'no move is left in the budget of this cycle')
  return undefined
}
