import { INSTANCE_ID_PATTERN, instanceId } from '@understudy/shared/core/ids'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, type Instant, instant, minutes } from '@understudy/shared/core/time'
import type { Pool } from '@understudy/shared/market/pool'
import type { OwnInterruption, PipelineInput, Policy } from '@understudy/shared/pipeline/context'
import type { DecisionFrame } from '@understudy/shared/protocol/decision-log'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { InstanceType } from '../cloud/catalog-source.ts'
import type { Failover } from '../failover/failover.ts'
import type { FleetStore } from '../fleet/fleet.ts'
import type { Api, Audit } from '../http/http.ts'
import type { Interruptions } from '../interruptions/interruptions.ts'
import { createStream } from '../live/live.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { accountRoutes } from './account.routes.ts'
import { createAccounts } from './accounts.ts'
import { createActing } from './acting.ts'
import { createActionStore } from './action-store.ts'
import { createAgentActuator } from './actuators/agent-actuator.ts'
import { createLogActuator } from './actuators/log-actuator.ts'
import { planActuator } from './actuators/plan-actuator.ts'
import { createBatch } from './batch.ts'
import { createCycles } from './cycles.ts'
import { createDecisionStore } from './decision-store.ts'
import { fromCycle, toCycleView } from './decision-views.ts'
import { decisionRoutes } from './decisions.routes.ts'
import { createEvaluations, type DecisionMade, type RiskModel } from './evaluations.ts'
import { createInstanceConfigs, type InstanceConfigs } from './instance-configs.ts'
import { pipelineRoutes } from './pipeline.routes.ts'
import { createPolicies } from './pipeline-input.ts'
import { createPipelineMetrics } from './pipeline-metrics.ts'
import { type RegionSources, regionOffers } from './region-offers.ts'
import { createStanding } from './standing.ts'
import { createTargets, openSignals } from './targets.ts'
import { tellOfTried } from './tried.ts'
import { typeFacts } from './type-facts.ts'

/** The front door of decisions: the rules themselves are pure and lie in shared/src/pipeline. */
export { createDecisionStore } from './decision-store.ts'
export type { DecisionMade, RiskModel } from './evaluations.ts'
export { createInstanceConfigs, type InstanceConfigs } from './instance-configs.ts'

export interface Pipeline {
  readonly routes: readonly Api[]
  readonly services: readonly Service[]
  readonly configs: InstanceConfigs
  /** Whether it decides by itself, in cycles, and why or why not. */
  standing(): { readonly enabled: boolean; readonly reason: string }
  /** The last decision that is kept. */
  lastDecision(): Promise<{ readonly at: Instant; readonly durationMs: number } | null>
  /** What a region offers now, scored by the active model. */
  regionNow(region: string): Promise<ScoredRegion>
}

export interface ScoredRegion extends Pick<PipelineInput, 'offers' | 'model' | 'modelFailure'> {
  readonly now: Instant
  /** Own ones of the past day. */
  readonly interruptions: readonly OwnInterruption[]
}

export interface OpenPipelineParts {
  readonly db: Kysely<Schema>
  readonly fleet: Pick<FleetStore, 'instance'>
  readonly failover: Pick<Failover, 'replicas' | 'createReplica' | 'deleteReplica' | 'promote' | 'offers'>
  readonly poolsIn: (region: string) => Promise<readonly PoolView[]>
  readonly instanceTypes: () => Promise<readonly InstanceType[]>
  readonly interruptions: Pick<Interruptions, 'rates' | 'afterSignal'>
  readonly model: RiskModel
  readonly audit: Audit
  readonly registry: Registry
  readonly clock: Clock
  readonly log: Logger
  /** ENV=TEST, or the demo: AWS's signals may be made up, and no cycle runs by itself. */
  readonly isTest: boolean
  /** What holds for all targets in place of the defaults: the same object until it changes. */
  readonly policy: () => Partial<Policy>
  /** Minutes from one cycle to the next; 0 is never. */
  readonly cycleMinutes: number
  /** Whether the models are good enough for voluntary moves. */
  readonly voluntaryMovesAllowed: () => { readonly allowed: boolean; readonly why: string | null }
  /** How long decisions are kept with what they were made from. */
  readonly keptDays: number
  /** Told of each decision once it is kept. */
  readonly onDecision: (made: DecisionMade) => Promise<void>
  /** By a decision of then a workload has left a pool. */
  readonly onLeft: (poolId: string, decidedAt: Instant) => Promise<unknown>
}

/** The decision pipeline of one coordinator. */
export function openPipeline(parts: OpenPipelineParts): Pipeline {
  const { db, fleet, failover, clock, log, isTest, cycleMinutes } = parts
  const { model, interruptions } = parts
  const voluntaryMovesAllowed = () => {
    const { allowed, why } = parts.voluntaryMovesAllowed()
    return { allowed, reason: why ?? '' }
  }
  const rebalanceProbabilityOf = async (pool: Pool) => (await interruptions.afterSignal(pool)).value
  const configs = createInstanceConfigs(db, clock)
  const store = createDecisionStore(db, parts.keptDays)
  const targets = createTargets(db, clock)
  const policyOf = createPolicies(parts.policy)
  const actions = createActionStore(db)
  const metrics = createPipelineMetrics(parts.registry, db)
  const stream = createStream<DecisionFrame>()
  const at = () => new Date(clock.now()).toISOString()
  const sourcesOf = async (region: string): Promise<RegionSources> => ({
    pools: await parts.poolsIn(region),
    offered: failover.offers(),
    factsOf: typeFacts(await parts.instanceTypes()),
    interruptionOf: await interruptions.rates(),
  })
  const evaluate = createEvaluations({
    ...{ clock, configs, store, targets, model, policyOf, sourcesOf, rebalanceProbabilityOf },
    allowMockSignals: isTest,
    async instanceOf(id) {
      const row = INSTANCE_ID_PATTERN.test(id) ? await fleet.instance(instanceId(id)) : undefined
      if (row) return { launchedAt: row.launched_at === null ? null : instant(row.launched_at) }
      // A target of the Lab needs no agent: that something was said of it is enough.
      return (await configs.get(id)).updatedAt === null ? undefined : { launchedAt: null }
    },
    signalsOf: (id) => openSignals(db, id, clock.now()),
    async onDecision(made) {
      metrics.decided(made.outcome.decision.decision, made.durationMs)
      await parts.onDecision(made)
    },
  })
  const acting = createActing({
    actuators: {
      log: createLogActuator(log),
      plan: planActuator,
      agent: createAgentActuator(failover, clock),
    },
    store: actions,
    standingOf: createStanding({
      ...{ targets, configs, actions, sourcesOf, policyOf, voluntaryMovesAllowed, clock },
    }),
    clock,
    log,
    onEnd({ decisionId, targetId, poolId, orderedAt }, result) {
      metrics.acted(result.status)
      if (result.status === 'done')
        parts
          .onLeft(poolId, orderedAt)
          .catch((error: unknown) =>
            log.error({ event: 'decision.not_marked', decision: decisionId, err: error }),
          )
      stream.publish({ type: 'result', at: at(), decision_id: decisionId, agent_id: targetId, result })
    },
  })
  const batch = createBatch({
    ...{ clock, targets, configs, store, sourcesOf, model, policyOf, rebalanceProbabilityOf },
    voluntaryMovesAllowed,
    submit: acting.submit,
    onCycle(cycle, decided) {
      metrics.cycle(cycle)
      for (const { decision } of decided)
        metrics.decided(decision.digest.decision.decision, decision.made.durationMs)
      tellOfTried(cycle, decided, parts.onDecision).catch((error: unknown) =>
        log.error({ event: 'pipeline.not_told', cycle: cycle.id, err: error }),
      )
      if (stream.listeners === 0) return
      const items = decided.map((one) => fromCycle(one, cycle))
      stream.publish({ type: 'decisions', at: at(), items })
      stream.publish({ type: 'cycle', at: at(), cycle: toCycleView(cycle) })
    },
  })
  const cycles = createCycles(batch, minutes(cycleMinutes), clock, log)
  return {
    routes: [
      pipelineRoutes(evaluate),
      decisionRoutes({ store, stream, batch, audit: parts.audit, clock }),
      accountRoutes(createAccounts(db, clock), parts.audit),
    ],
    services: [acting, ...(isTest || cycleMinutes === 0 ? [] : [cycles])],
    configs,
    standing: () => cycleStanding(isTest, cycleMinutes),
    async lastDecision() {
      const [last] = await store.list({ limit: 1 })
      return last ? { at: instant(last.at), durationMs: last.duration_ms } : null
    },
    async regionNow(region) {
      const now = clock.now()
      const offers = regionOffers(region, await sourcesOf(region))
      return { now, ...(await model.score(offers, now)), interruptions: await targets.interruptions() }
    },
  }
}

function cycleStanding(isTest: boolean, cycleMinutes: number): ReturnType<Pipeline['standing']> {
  if (isTest)
    return { enabled: false, reason: 'in ENV=TEST and in the demo it decides only when it is asked' }
  if (cycleMinutes === 0)
    return { enabled: false, reason: 'UNDERSTUDY_DECISION_CYCLE is 0: it decides only when it is asked' }
  return { enabled: true, reason: `it decides for the whole fleet every ${cycleMinutes} min` }
}
