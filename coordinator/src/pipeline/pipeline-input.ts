import type { Instant } from '@understudy/shared/core/time'
import type {
  Budget,
  BypassedStage,
  OwnInterruption,
  PipelineInput,
  Placement,
  Policy,
  Signal,
} from '@understudy/shared/pipeline/context'
import type { InstanceConfig } from '@understudy/shared/pipeline/instance-config'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import type { TypeFacts } from './type-facts.ts'

/** Whoever is decided for: a target of a cycle, or what somebody asks about. */
export interface Subject extends Omit<Placement, 'protected' | 'forgoneUsd'> {
  /** Undefined where no agent says it. */
  readonly rebalanceThreshold: number | undefined
  readonly signals: readonly Signal[]
  readonly remembered: { readonly forgoneUsd: number; readonly handledSignals: readonly string[] }
  readonly heldBy: Budget['heldBy']
}

/** What is known of it beside that. */
export interface About {
  readonly config: InstanceConfig
  readonly facts: TypeFacts
  readonly scored: Pick<PipelineInput, 'offers' | 'model' | 'modelFailure'>
  /** P(termination | AWS recommends a rebalance) of it. */
  readonly rebalanceProbability: number
}

/** What is the same for all who are decided for at one moment. */
export interface Moment {
  readonly now: Instant
  readonly interruptions: readonly OwnInterruption[]
  /** Voluntary moves that may begin. */
  readonly movesLeft: number
  readonly policyOf: PolicyOf
}

/** The router: a target is decided for as its configuration says, in a cycle and by `/api/v1/evaluate` alike. */
export function inputFor(subject: Subject, about: About, moment: Moment): PipelineInput {
  const { config, facts, scored, rebalanceProbability } = about
  const { instanceId, instanceType, availabilityZone, launchedAt, switches24h, remembered } = subject
  const { now, interruptions, movesLeft, policyOf } = moment
  return {
    mode: config.pipelineMode,
    requirement: {
      ...facts,
      count: 1,
      familiesAllowed: null,
      familiesDenied: [],
      zonesAllowed: null,
    },
    ...scored,
    now,
    current: {
      ...{ instanceId, instanceType, availabilityZone, launchedAt, protected: false, switches24h },
      forgoneUsd: remembered.forgoneUsd,
    },
    signals: subject.signals,
    handledSignals: remembered.handledSignals,
    rebalanceProbability,
    interruptions,
    budget: { movesLeft, heldBy: subject.heldBy },
    policy: policyOf(config, subject.rebalanceThreshold),
    referenceUsd: null,
    bypass: bypassOf(config),
  }
}

function bypassOf({ binPacking, rightSizing }: InstanceConfig): readonly BypassedStage[] {
  return [
    ...(binPacking ? [] : (['bin_packing'] as const)),
    ...(rightSizing ? [] : (['right_sizing'] as const)),
  ]
}

const USUAL: Partial<Policy> = {}

/** The policy for a target. @param tauReplica of its agent; the default where there is none */
export type PolicyOf = (config: InstanceConfig, tauReplica: number | undefined) => Policy

/**
 * The same policy is the same object, so that it is stored once.
 * @param settingsNow what the operator has set otherwise, for all targets: the same object until it changes
 */
export function createPolicies(settingsNow: () => Partial<Policy> = () => USUAL): PolicyOf {
  const policies = new Map<string, Policy>()
  let settings: Partial<Policy> | undefined
  return ({ pipelineMode }, tauReplica) => {
    const now = settingsNow()
    if (now !== settings) policies.clear()
    settings = now
    const key = `${pipelineMode}/${tauReplica}`
    const made = policies.get(key)
    if (made) return made
    const usual = defaultPolicy(pipelineMode)
    const policy = { ...usual, ...now, tauReplica: tauReplica ?? usual.tauReplica }
    policies.set(key, policy)
    return policy
  }
}

/** Which scores a target is decided by: those of the active model, of its own, or none. */
export function scoringOf({ id, modelId, familyStress }: InstanceConfig): string | null {
  if (!familyStress) return null
  return modelId === null ? 'active' : `lab:${id}`
}
