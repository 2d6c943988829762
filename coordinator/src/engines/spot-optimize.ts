import type { Clock } from '@understudy/shared/core/time'
import type {
  SpotInput,
  SpotOptimizeRequest,
  SpotOptimizeResponse,
} from '@understudy/shared/protocol/spot-optimizer'
import type { ScoredRegion } from '../pipeline/pipeline.ts'
import type { SelectedEngines } from './selected-engines.ts'
import { fromOffer } from './spot-input.ts'
import type { SpotOptimizer } from './spot-optimizer.ts'

/** The best is near the top, and a region has thousands of pools. */
const MOST_RECOMMENDED = 20

/** Where instances of a kind would run best now, by the prices and scores that are known. Nothing is kept and nothing is done. */
export function createSpotOptimize(parts: {
  readonly engine: SpotOptimizer
  readonly selected: Pick<SelectedEngines, 'configOf'>
  readonly regionNow: (region: string) => Promise<ScoredRegion>
  readonly clock: Clock
}): (asked: SpotOptimizeRequest) => Promise<SpotOptimizeResponse> {
  const { engine, selected, regionNow, clock } = parts

  return async (asked) => {
    const began = clock.mono()
    const region = await regionNow(asked.constraints.region)
    const output = engine.decide(toInput(asked, region), selected.configOf(engine))
    const at = new Date(region.now).toISOString()
    const { code, reason, alert, suggestion, risk_source } = output
    const skipped: Record<string, number> = {}
    for (const one of output.skipped) skipped[one.code] = (skipped[one.code] ?? 0) + 1
    return {
      cluster_id: asked.cluster_id ?? null,
      ...{ code, reason, alert, suggestion, risk_source },
      recommendations: output.ranked.slice(0, MOST_RECOMMENDED),
      execution_plan: output.allocation.map((share, i) => ({ step: i + 1, action: 'LAUNCH', ...share })),
      unplaced: output.unplaced,
      estimated_savings: output.estimated_savings,
      savings_against: output.savings_against,
      skipped,
      model: region.model?.version ?? null,
      model_failure: region.modelFailure,
      engine_id: engine.id,
      engine_version: engine.version,
      execution_time_ms: clock.mono() - began,
      at,
    }
  }
}

const toInput = ({ requirements, constraints }: SpotOptimizeRequest, region: ScoredRegion): SpotInput => ({
  now: new Date(region.now).toISOString(),
  pipeline_mode: 'CLUSTER_FULL',
  requirement: {
    ...requirements,
    families_allowed: constraints.instance_families ?? null,
    families_denied: constraints.excluded_families ?? [],
    zones_allowed: constraints.availability_zones ?? null,
  },
  current: null,
  offers: region.offers.map(fromOffer),
  model: region.model && {
    version: region.model.version,
    decision_threshold: region.model.decisionThreshold,
  },
  signals: [],
  rebalance_probability: null,
  interruptions: region.interruptions.map((one) => ({
    instance_type: one.instanceType,
    availability_zone: one.availabilityZone,
    at: new Date(one.at).toISOString(),
  })),
  moves_left: 1,
})
