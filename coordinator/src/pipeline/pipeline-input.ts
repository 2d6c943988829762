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

/** What is known of one target, in the words of whoever asks. */
export interface Asked {
  readonly now: Instant
  readonly config: InstanceConfig
  readonly facts: TypeFacts
  readonly current: Placement
  readonly scored: Pick<PipelineInput, 'offers' | 'model' | 'modelFailure'>
  readonly signals: readonly Signal[]
  readonly handledSignals: readonly string[]
  /** P(termination | AWS recommends a rebalance) of it. */
  readonly rebalanceProbability: number
  readonly interruptions: readonly OwnInterruption[]
  readonly budget: Budget
  readonly policy: Policy
}

/** The router: a target is decided for as its configuration says. */
export function toPipelineInput(asked: Asked): PipelineInput {
  const { config, facts, scored, ...rest } = asked
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
    ...rest,
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

/** The same policy is the same object, so that it is stored once. */
export function createPolicies(): (config: InstanceConfig, tauReplica: number) => Policy {
  const policies = new Map<string, Policy>()
  return ({ pipelineMode }, tauReplica) => {
    const key = `${pipelineMode}/${tauReplica}`
    const policy = policies.get(key) ?? { ...defaultPolicy(pipelineMode), tauReplica }
    policies.set(key, policy)
    return policy
  }
}

/** Which scores a target is decided by: those of the active model, of its own, or none. */
export function scoringOf({ id, modelId, familyStress }: InstanceConfig): string | null {
  if (!familyStress) return null
  return modelId === null ? 'active' : `lab:${id}`
}
