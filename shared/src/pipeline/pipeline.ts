import { AppError } from '../core/app-error.ts'
import { poolId } from '../market/pool.ts'
import { allocate, type Share } from './allocation.ts'
import { toCandidates } from './candidates.ts'
import type {
  Candidate,
  Drop,
  PipelineInput,
  PipelineMode,
  Requirement,
  Risk,
  Stage,
  StageContext,
  StageName,
} from './context.ts'
import type { Decision } from './decision.ts'
import { hardware } from './hardware.ts'
import { rank, ranking, withScore } from './ranking.ts'
import { expandSizes, sameSize } from './right-sizing.ts'
import { risk, riskSourceOf, withRisk } from './risk.ts'
import { safetyGate } from './safety-gate.ts'
import { signalOverride } from './signal-override.ts'
import { spotAdvisor } from './spot-advisor.ts'
import { switchRule } from './switch-rule.ts'
import { binPacking, withWaste } from './waste.ts'

export const PIPELINE_VERSION = '1.0.0'

export interface Outcome {
  readonly version: string
  readonly mode: PipelineMode
  readonly riskSource: Risk['source']
  readonly decision: Decision
  /** The current placement as it was judged; null when its pool has no usable offer. */
  readonly current: Candidate | null
  /** What is left after all stages, best first; the current placement among them. */
  readonly ranked: readonly Candidate[]
  /** Where `count` instances would go. */
  readonly allocation: readonly Share[]
  readonly trace: readonly StageTrace[]
}

export interface StageTrace {
  readonly stage: StageName
  readonly in: number
  readonly out: number
  /** Every candidate that fell here, and why. */
  readonly dropped: readonly Drop[]
}

/** The router. SINGLE_LINEAR passes over right-sizing and bin packing, never over the gate or the signals. */
const stagesOf: Readonly<Record<PipelineMode, readonly Stage[]>> = {
  CLUSTER_FULL: [hardware, expandSizes, spotAdvisor, risk, safetyGate, binPacking, ranking],
  SINGLE_LINEAR: [hardware, sameSize, spotAdvisor, risk, safetyGate, ranking],
}

function stagesFor({ mode, bypass = [] }: PipelineInput): readonly Stage[] {
  return stagesOf[mode]
    .filter(({ name }) => !(name === 'bin_packing' && bypass.includes(name)))
    .map((stage) => (stage.name === 'right_sizing' && bypass.includes(stage.name) ? sameSize : stage))
}
/** What runs in a mode, in order. */
export const stageNamesOf = (mode: PipelineMode): StageName[] => [
  'input',
  ...stagesOf[mode].map(({ name }) => name),
]

/** Stages that an evacuation looks behind: it takes the best of what is left. */
const VETOES: readonly StageName[] = ['spot_advisor', 'risk', 'safety_gate']

/** Told when a stage begins and ends, so that somebody with a clock can time it. */
export type StageWatcher = (stage: StageName, moment: 'begins' | 'ends') => void

/**
 * Decides for one target. The same input gives the same bytes: offers are sorted first, there is no clock and no chance.
 * @throws AppError `input_invalid` when neither a requirement nor the current pool says how much is needed
 */
export function evaluate(input: PipelineInput, watch: StageWatcher = () => undefined): Outcome {
  watch('input', 'begins')
  const first = toCandidates(input)
  const requirement = input.requirement ?? requirementOf(input, first.kept)
  watch('input', 'ends')
  const context = contextOf(input, requirement, first.kept)
  const trace: StageTrace[] = [
    {
      stage: 'input',
      in: first.kept.length + first.dropped.length,
      out: first.kept.length,
      dropped: first.dropped,
    },
  ]
  let candidates = first.kept
  let fitting: readonly Candidate[] = []
  for (const stage of stagesFor(input)) {
    watch(stage.name, 'begins')
    const { kept, dropped } = stage.run(candidates, context)
    trace.push({ stage: stage.name, in: candidates.length, out: kept.length, dropped })
    candidates = kept
    if (stage.name === 'right_sizing') fitting = kept
    watch(stage.name, 'ends')
  }
  const current = first.kept.find(({ isCurrent }) => isCurrent)
  const judged = current && withScore(filledIn(current, context), context)
  return {
    version: PIPELINE_VERSION,
    mode: input.mode,
    riskSource: context.riskSource,
    decision: decide(context, judged, candidates, () => vetoed(fitting, trace, context)),
    current: judged ?? null,
    ranked: candidates,
    allocation: allocate(candidates, requirement.count, input.policy),
    trace,
  }
}

function contextOf(
  input: PipelineInput,
  requirement: Requirement,
  candidates: readonly Candidate[],
): StageContext {
  const context = { input, requirement, riskSource: riskSourceOf(input), referenceUsd: 0 }
  const { kept } = hardware.run(candidates, context)
  const prices = kept.flatMap(({ offer }) => offer.onDemandUsd ?? [])
  const referenceUsd = input.referenceUsd ?? Math.min(...prices)
  // Without any on-demand price the spot price itself is all there is to measure with.
  const spot = Math.max(0, ...kept.map(({ offer }) => offer.spotUsd))
  return { ...context, referenceUsd: Number.isFinite(referenceUsd) ? referenceUsd : spot || 1 }
}

/** What a target needs when nobody says: what it has. */
function requirementOf({ current }: PipelineInput, candidates: readonly Candidate[]): Requirement {
  const own = current && candidates.find(({ id }) => id === poolId(current))
  if (!own)
    throw new AppError('input_invalid', 'it is not known how much the target needs', {
      hint: 'Give a requirement, or an offer with a price that is not stale for the pool it runs in.',
    })
  const { vcpu, memGib, arch, gpu } = own.offer
  const anything = { familiesAllowed: null, familiesDenied: [], zonesAllowed: null }
  return { vcpu, memGib, arch, gpu, count: 1, ...anything }
}

/** As the stages would have filled it in, had no veto taken it. */
function filledIn(candidate: Candidate, context: StageContext): Candidate {
  const risky = withRisk(candidate, context)
  const { mode, bypass = [] } = context.input
  const isPacked = mode === 'CLUSTER_FULL' && !bypass.includes('bin_packing')
  return isPacked ? withWaste(risky, context.requirement) : risky
}

/** Candidates that fit and that a veto took, best first. */
function vetoed(
  fitting: readonly Candidate[],
  trace: readonly StageTrace[],
  context: StageContext,
): Candidate[] {
  const taken = new Set(
    trace.filter(({ stage }) => VETOES.includes(stage)).flatMap(({ dropped }) => dropped.map(({ id }) => id)),
  )
  const rest = fitting.filter(({ id }) => taken.has(id)).map((candidate) => filledIn(candidate, context))
  return rank(rest, context)
}

function decide(
  context: StageContext,
  current: Candidate | undefined,
  ranked: readonly Candidate[],
  vetoedOnes: () => Candidate[],
): Decision {
  const { input } = context
  const elsewhere = ranked.filter(({ isCurrent }) => !isCurrent)
  const left = () => [
    ...elsewhere,
    ...vetoedOnes().filter(({ isCurrent }) => !isCurrent),
    // Another instance in the pool that takes this one away is better than none.
    ...(current ? [current] : []),
  ]
  const signalled =
    input.signals.length === 0 ? undefined : signalOverride(input, { elsewhere, left: left() })
  if (signalled && 'decision' in signalled) return signalled.decision
  const decision = switchRule({ context, current, best: elsewhere[0] })
  return signalled
    ? { ...decision, awsSignal: 'REBALANCE', reason: `${decision.reason}; ${signalled.note}` }
    : decision
}
