import type { Instant, Millis } from '../core/time.ts'
import type { InterruptionBand } from '../market/pool.ts'

/**
 * What one decision is made from and what it is made of. Everything is plain JSON, so that an input can be stored and the
 * decision made again from it with the same bytes. No clock: `now` is part of the input. Money is in USD, and USD per hour
 * for prices: these are numbers to compare and multiply, not amounts to store.
 */
export interface PipelineInput {
  readonly now: Instant
  /** What the target asked to be treated as; unknown targets are CLUSTER_FULL. */
  readonly mode: PipelineMode
  readonly requirement: Requirement | null
  /** Where the target runs now; null when nothing runs yet. */
  readonly current: Placement | null
  readonly offers: readonly Offer[]
  /** The model that scored the offers; null when none answered, with the reason in `modelFailure`. */
  readonly model: ModelAnswer | null
  readonly modelFailure: string | null
  readonly signals: readonly Signal[]
  /** Keys of signals that were acted on before (`signalKey`). */
  readonly handledSignals: readonly string[]
  /** P(termination | rebalance recommendation) for this target; null when nothing is known. */
  readonly rebalanceProbability: number | null
  /** Own interruptions, newest or oldest first. */
  readonly interruptions: readonly OwnInterruption[]
  /** On-demand price of the cheapest type that satisfies the request; null: the cheapest among the offers that do. */
  readonly referenceUsd: number | null
  readonly budget: Budget
  readonly policy: Policy
  /** What this target passes over, whatever its mode: without right-sizing only its own size is taken. None if not said. */
  readonly bypass?: readonly BypassedStage[]
}

export type BypassedStage = 'right_sizing' | 'bin_packing'

export const pipelineModes = ['CLUSTER_FULL', 'SINGLE_LINEAR'] as const
export type PipelineMode = (typeof pipelineModes)[number]

export type Arch = 'x86_64' | 'arm64'

export interface Requirement {
  readonly vcpu: number
  readonly memGib: number
  readonly arch: Arch
  readonly gpu: number
  readonly count: number
  /** Families such as `m5`; null allows all. */
  readonly familiesAllowed: readonly string[] | null
  readonly familiesDenied: readonly string[]
  /** Availability zones; null allows all. */
  readonly zonesAllowed: readonly string[] | null
}

/** A pool that could be used, as it came: nothing of it is trusted before `toCandidates`. */
export interface Offer {
  readonly instanceType: string
  readonly availabilityZone: string
  readonly spotUsd: number
  /** When the price was last known to hold, which may be long after it last changed. */
  readonly priceAt: Instant
  readonly onDemandUsd: number | null
  /** Allocatable where it is known, capacity otherwise. */
  readonly vcpu: number
  readonly memGib: number
  readonly arch: Arch
  readonly gpu: number
  /** Spot Advisor; null when it does not know the type. */
  readonly band: InterruptionBand | null
  /** The model's probability that the price rises by more than 3 % within 12 h. */
  readonly instability12h: number | null
  /** A calibrated probability of interruption within 12 h; null: the Spot Advisor's. */
  readonly interruption12h: number | null
}

export interface Placement {
  readonly instanceId: string
  readonly instanceType: string
  readonly availabilityZone: string
  readonly launchedAt: Instant
  /** Somebody said that it must not be touched. */
  readonly protected: boolean
  /** Voluntary switches of this target in the past 24 h. */
  readonly switches24h: number
  /** What staying has cost so far over the best that could be had, in USD (`nextForgone`). */
  readonly forgoneUsd: number
}

export interface ModelAnswer {
  readonly version: string
  /** The threshold in the model's manifest; null when its scores are not calibrated. */
  readonly decisionThreshold: number | null
}

export const signalKinds = ['REBALANCE', 'TERMINATION'] as const
export interface Signal {
  readonly kind: (typeof signalKinds)[number]
  readonly instanceId: string
  /** When AWS acts, or when it was noticed for a recommendation. */
  readonly actionAt: Instant
}

export interface OwnInterruption {
  readonly instanceType: string
  readonly availabilityZone: string
  readonly at: Instant
}

/** How many voluntary moves are left for everybody, and who holds this target. */
export interface Budget {
  readonly movesLeft: number
  /** An engine of higher rank that holds the target's lease; null when it is free. */
  readonly heldBy: { readonly engine: EngineName; readonly expiresAt: Instant } | null
}

/** By rank in arbitration, highest first. */
export const engineNames = [
  'evacuation',
  'rebalance',
  'oomkilled',
  'office-hours',
  'rightsize',
  'spot-optimize',
  'bin-pack',
  'ghost-probe',
  'zombie-volumes',
  'network-optimize',
] as const
export type EngineName = (typeof engineNames)[number]

export const rankingNames = ['effective-cost-v1', 'seed-v1', 'seed-linear'] as const
export type RankingName = (typeof rankingNames)[number]

export interface Policy {
  readonly ranking: RankingName
  /** Which probability becomes the hazard in the effective cost. */
  readonly hazardFrom: 'interruption' | 'instability'
  /** Veto on launching into a pool: unsafe from here on. Lowered to the model's own threshold. */
  readonly tauAdmit: number
  /** A current pool from here on is to be left. */
  readonly tauLeave: number
  /** A rebalance recommendation is acted on above it, as REBALANCE_THRESHOLD is meant. */
  readonly tauReplica: number
  readonly onRebalance: 'replica_if_p' | 'cordon_and_prelaunch' | 'drain' | 'ignore'
  /** Lets types of up to this many times the size in. */
  readonly upsizeMultiplier: number
  /** Share of idle capacity that other work will use; 0 in SINGLE_LINEAR. */
  readonly rho: number
  /** USD lost per interruption; null: one on-demand hour of the reference. */
  readonly lossUsd: number | null
  /** Both instances run for this long while a move is made. */
  readonly overlap: Millis
  /** How long a placement is expected to last. */
  readonly hold: Millis
  readonly minGainUsd: number
  readonly minGainShare: number
  readonly minLifetime: Millis
  readonly maxSwitches24h: number
  /** Staying is given up once it has cost this many times what a move costs; null: never for that alone. */
  readonly patience: number | null
  readonly maxPriceAge: Millis
  readonly maxPoolShare: number
  readonly maxFamilyShare: number
  /** Share of instances interrupted a month from which on a band of the Spot Advisor is dropped; 0.2 if not said. */
  readonly maxInterruptRate?: number
}

/** One pool on its way through the stages; each stage fills in what it finds. */
export interface Candidate {
  /** `c5.large@ap-south-1a`. */
  readonly id: string
  readonly offer: Offer
  readonly isCurrent: boolean
  readonly flags: readonly Flag[]
  readonly risk: Risk | null
  /** 0 where all of it would be used. */
  readonly wasteShare: number
  readonly score: Score | null
}

export type Flag = 'ADVISOR_UNKNOWN' | 'OVERSIZED' | 'RECENT_INTERRUPTION' | 'WORSE_THAN_ON_DEMAND'

export interface Risk {
  readonly source: 'MODEL' | 'ADVISOR_FALLBACK'
  readonly instability12h: number | null
  readonly interruption12h: number
  /** Per hour, of what the policy says. */
  readonly hazard: number
}

export interface Score {
  readonly policy: RankingName
  /** What is sorted by: USD per hour for effective-cost-v1 (less is better), the seeds' scores otherwise (more is better). */
  readonly value: number
  /** Effective cost in USD per hour, whatever is sorted by: the switch rule compares it. */
  readonly effectiveUsd: number
  readonly yield: number
  readonly parts: { readonly priceUsd: number; readonly riskUsd: number; readonly switchUsd: number }
}

export interface Drop {
  readonly id: string
  readonly code: string
  readonly reason: string
}

export interface StageResult {
  readonly kept: readonly Candidate[]
  readonly dropped: readonly Drop[]
}

/** What all stages know beside their candidates. */
export interface StageContext {
  readonly input: PipelineInput
  readonly requirement: Requirement
  readonly riskSource: Risk['source']
  readonly referenceUsd: number
}

/** A step that keeps some candidates and says of each other one why not. Pure; keeps the order it was given. */
export interface Stage {
  readonly name: StageName
  run(candidates: readonly Candidate[], context: StageContext): StageResult
}

export type StageName =
  | 'input'
  | 'hardware'
  | 'right_sizing'
  | 'spot_advisor'
  | 'risk'
  | 'safety_gate'
  | 'bin_packing'
  | 'ranking'

/** Keeps those for which `judge` has no objection. */
export function filtered(
  candidates: readonly Candidate[],
  judge: (candidate: Candidate) => { readonly code: string; readonly reason: string } | undefined,
): StageResult {
  const kept: Candidate[] = []
  const dropped: Drop[] = []
  for (const candidate of candidates) {
    const objection = judge(candidate)
    if (objection) dropped.push({ id: candidate.id, ...objection })
    else kept.push(candidate)
  }
  return { kept, dropped }
}
