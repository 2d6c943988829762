import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, type Instant, instant } from '@understudy/shared/core/time'
import { type Pool, poolId, regionOf } from '@understudy/shared/market/pool'
import type { Offer, PipelineInput, Signal } from '@understudy/shared/pipeline/context'
import {
  actuatorOf,
  defaultInstanceConfig,
  type InstanceConfig,
} from '@understudy/shared/pipeline/instance-config'
import { evaluate, type Outcome, type StageWatcher } from '@understudy/shared/pipeline/pipeline'
import type { DecisionStore } from './decision-store.ts'
import type { InstanceConfigs } from './instance-configs.ts'
import { inputFor, type Moment, type PolicyOf, type Subject, scoringOf } from './pipeline-input.ts'
import { type RegionSources, regionOffers } from './region-offers.ts'
import type { Targets } from './targets.ts'

export interface EvaluationPorts {
  readonly clock: Clock
  readonly store: DecisionStore
  readonly configs: Pick<InstanceConfigs, 'get'>
  readonly targets: Pick<Targets, 'one' | 'interruptions' | 'movesLeft'>
  readonly policyOf: PolicyOf
  /** Whether `aws_signal` is honoured: a mock of AWS's word has no place where work is done. */
  readonly allowMockSignals: boolean
  readonly sourcesOf: (region: string) => Promise<RegionSources>
  /** Undefined for an instance that is not known here. */
  readonly instanceOf: (id: string) => Promise<{ readonly launchedAt: Instant | null } | undefined>
  readonly signalsOf: (id: string) => Promise<readonly Signal[]>
  readonly model: RiskModel
  /** P(termination | AWS recommends a rebalance) in this pool. */
  readonly rebalanceProbabilityOf: (pool: Pool) => Promise<number>
  /** Told of each decision once it is kept. */
  readonly onDecision: (made: DecisionMade) => Promise<void>
}

/** A decision that is kept, with all that it was made from. */
export interface DecisionMade {
  readonly id: string
  readonly input: PipelineInput
  readonly outcome: Outcome
  readonly instanceId: string | null
  readonly durationMs: number
  /** False: it was a dry run. */
  readonly acted: boolean
}

/**
 * Scores offers by the active model, or by that of an alias such as `lab:i-1`. `modelFailure` says in a few words why there are
 * no scores; beside a model it says why that model answered in place of the one that was asked.
 */
export interface RiskModel {
  /** `alias`: whose model, where it is not the active one: `lab:<target>`. */
  score(
    offers: readonly Offer[],
    now: Instant,
    options?: { readonly alias?: string | undefined },
  ): Promise<Pick<PipelineInput, 'offers' | 'model' | 'modelFailure'>>
}

export interface EvaluationRequest {
  readonly instanceType: string
  readonly availabilityZone: string
  readonly instanceId: string | undefined
  /** A mock in place of AWS's own word. */
  readonly awsSignal?: 'NONE' | Signal['kind'] | undefined
}

export interface Evaluation {
  readonly id: string
  readonly at: Instant
  readonly outcome: Outcome
  readonly durationMs: number
  readonly stageMs: ReadonlyMap<string, number>
}

/** Decides for one instance and keeps the decision. Nothing is done about it. */
export function createEvaluations(ports: EvaluationPorts): (asked: EvaluationRequest) => Promise<Evaluation> {
  const { clock, store, sourcesOf, model } = ports

  return async (asked) => {
    const began = clock.mono()
    const now = clock.now()
    const sources = await sourcesOf(regionOf(asked.availabilityZone))
    const facts = sources.factsOf(asked.instanceType)
    if (!facts) throw unknownType(asked.instanceType)
    const offers = regionOffers(regionOf(asked.availabilityZone), sources)
    const { instanceId = null, instanceType, availabilityZone } = asked
    const { config, subject, movesLeft } = await standing(asked, ports)
    const about = {
      ...{ config, facts },
      scored: await scoreFor(model, scoringOf(config), offers, now),
      rebalanceProbability: await ports.rebalanceProbabilityOf(asked),
    }
    const signals = [...subject.signals, ...mocked(asked, now, ports.allowMockSignals)]
    const interruptions = await ports.targets.interruptions()
    const moment: Moment = { now, interruptions, movesLeft, policyOf: ports.policyOf }
    const input = inputFor({ ...subject, signals }, about, moment)
    const { watch, stageMs } = stopwatch(clock)
    const outcome = evaluate(input, watch)
    const durationMs = clock.mono() - began
    const id = await store.add(input, outcome, {
      instanceId,
      targetId: instanceId === null ? null : config.id,
      poolId: `${instanceType}@${availabilityZone}`,
      durationMs,
      actuator: actuatorOf(config),
      level: 'none',
    })
    await ports.onDecision({ id, input, outcome, instanceId, durationMs, acted: false })
    return { id, at: now, outcome, durationMs, stageMs }
  }
}

interface Standing {
  readonly config: InstanceConfig
  readonly subject: Subject
  readonly movesLeft: number
}

/** A primary as cycles see it, in the pool that was asked about; of anything else only what is known of it. */
async function standing(asked: EvaluationRequest, ports: EvaluationPorts): Promise<Standing> {
  const { configs, targets, instanceOf, signalsOf } = ports
  const { instanceId, instanceType, availabilityZone } = asked
  const place = { instanceType, availabilityZone }
  const nothing = { switches24h: 0, heldBy: null, remembered: { forgoneUsd: 0, handledSignals: [] } }
  if (instanceId === undefined) {
    const subject = { ...place, ...nothing, instanceId: 'none', launchedAt: instant(0), signals: [] }
    return {
      config: defaultInstanceConfig('none'),
      subject: { ...subject, rebalanceThreshold: undefined },
      movesLeft: 1,
    }
  }
  const known = await instanceOf(instanceId)
  if (!known)
    throw new AppError('not_found', `there is no instance ${instanceId}`, {
      hint: 'Leave instance_id out to ask about a pool alone.',
    })
  const config = await configs.get(instanceId)
  const target = await targets.one(config.id)
  if (target?.instanceId === instanceId) {
    const isThere = poolId(target) === poolId(place)
    // What staying has cost is of the pool in which it runs.
    const remembered = isThere ? target.remembered : { ...target.remembered, forgoneUsd: 0 }
    return { config, subject: { ...target, ...place, remembered }, movesLeft: await targets.movesLeft() }
  }
  const launchedAt = known.launchedAt ?? instant(0)
  const signals = await signalsOf(instanceId)
  const rebalanceThreshold = target?.rebalanceThreshold
  return {
    config,
    subject: { ...place, ...nothing, instanceId, launchedAt, signals, rebalanceThreshold },
    movesLeft: 1,
  }
}

/** As the configuration of the target says: by the active model, by its own, or by none. */
export function scoreFor(
  model: RiskModel,
  scoring: string | null,
  offers: readonly Offer[],
  now: Instant,
): ReturnType<RiskModel['score']> {
  if (scoring === null)
    return Promise.resolve({ offers, model: null, modelFailure: 'the model is switched off for this target' })
  return scoring === 'active' ? model.score(offers, now) : model.score(offers, now, { alias: scoring })
}

function mocked(
  { awsSignal = 'NONE', instanceId }: EvaluationRequest,
  now: Instant,
  allowed: boolean,
): Signal[] {
  if (awsSignal === 'NONE') return []
  if (!allowed)
    throw new AppError('input_invalid', 'a signal of AWS can be made up only in ENV=TEST and in the demo', {
      hint: 'Leave aws_signal out: what AWS has really said of the instance counts.',
      errors: [{ pointer: '/aws_signal', message: 'not taken in ENV=PROD' }],
    })
  return [{ kind: awsSignal, instanceId: instanceId ?? 'none', actionAt: now }]
}

const unknownType = (instanceType: string): AppError =>
  new AppError('not_found', `nothing is known of the instance type ${instanceType}`, {
    hint: 'coordinator catalog refresh --region REGION, or catalog import FILE.',
  })

function stopwatch(clock: Clock): { watch: StageWatcher; stageMs: Map<string, number> } {
  const stageMs = new Map<string, number>()
  let began = clock.mono()
  return {
    stageMs,
    watch(stage, moment) {
      if (moment === 'begins') began = clock.mono()
      else stageMs.set(stage, clock.mono() - began)
    },
  }
}
