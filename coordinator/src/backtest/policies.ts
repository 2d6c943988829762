import { hours, instant } from '@understudy/shared/core/time'
import type { Offer, PipelineInput, RankingName } from '@understudy/shared/pipeline/context'
import { evaluate, type Outcome } from '@understudy/shared/pipeline/pipeline'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import { nextForgone } from '@understudy/shared/pipeline/switch-rule'
import type { RiskSource } from './price-risk.ts'
import type { ReplayCosts, ReplayPolicy, ReplayState } from './replay.ts'
import { priceOf, type ReplayMarket, type Workload } from './replay-market.ts'

/** Waits for its own pool. */
export const stayPolicy = ({ home }: Workload): ReplayPolicy => ({
  choose: ({ running, refused }) => (running !== undefined || refused.has(home) ? undefined : home),
})

/** Always goes where it is cheapest now. */
export function cheapestPolicy(market: ReplayMarket, { pools, home }: Workload): ReplayPolicy {
  return {
    choose({ tick, running, refused }) {
      let best = running
      for (const pool of pools) {
        const price = priceOf(market, pool, tick)
        if (refused.has(pool)) continue
        if (best === undefined || price < priceOf(market, best, tick)) best = pool
        // Where nothing is cheaper it begins, and waits, at home.
        else if (running === undefined && pool === home && price === priceOf(market, best, tick)) best = pool
      }
      return best
    },
  }
}

export interface PipelineSetup {
  readonly market: ReplayMarket
  readonly workload: Workload
  readonly ranking: RankingName
  /** None: the pipeline falls back to the Spot Advisor, and only interruptions move anything. */
  readonly risk: RiskSource | undefined
  /** Prices of the market are known beforehand; in a trace a pool is only known by trying. */
  readonly pricesSeen: boolean
  readonly costs: ReplayCosts
}

/** The decision pipeline itself, asked at every tick; an instance that was taken away is a termination notice. */
export function pipelinePolicy(setup: PipelineSetup): ReplayPolicy {
  const { workload, market } = setup
  const index = new Map(workload.pools.map((pool) => [market.pools[pool]?.id, pool]))
  let forgoneUsd = 0
  let forgoneIn = workload.home
  return {
    choose(state) {
      if (forgoneIn !== state.last) forgoneUsd = 0
      forgoneIn = state.last
      const outcome = evaluate(inputOf(setup, state, forgoneUsd))
      if (state.running !== undefined) forgoneUsd = forgoneAfter(outcome, forgoneUsd, market)
      const { action, target } = outcome.decision
      return action && target ? index.get(target.id) : undefined
    },
  }
}

function forgoneAfter({ current, ranked }: Outcome, forgoneUsd: number, market: ReplayMarket): number {
  const best = ranked.find(({ isCurrent }) => !isCurrent)
  return current ? nextForgone(forgoneUsd, current, best, market.tick / 3_600_000) : forgoneUsd
}

function inputOf(setup: PipelineSetup, state: ReplayState, forgoneUsd: number): PipelineInput {
  const { market, workload, ranking, risk, costs } = setup
  const { vcpu, memGib, arch, gpu } = workload
  const instanceId = 'i-0backtest'
  const here = market.pools[state.last]
  const day = instant(state.now - hours(24))
  const anything = { familiesAllowed: null, familiesDenied: [], zonesAllowed: null }
  return {
    now: state.now,
    mode: 'CLUSTER_FULL',
    requirement: { vcpu, memGib, arch, gpu, count: 1, ...anything },
    current: {
      instanceId,
      instanceType: here?.instanceType ?? '',
      availabilityZone: here?.availabilityZone ?? '',
      launchedAt: state.launchedAt,
      protected: false,
      switches24h: state.movedAt.filter((at) => at > day).length,
      forgoneUsd,
    },
    offers: offersOf(setup, state),
    model: risk ? { version: risk.name, decisionThreshold: null } : null,
    modelFailure: risk ? null : 'there are no prices to score',
    signals: state.running === undefined ? [{ kind: 'TERMINATION', instanceId, actionAt: state.now }] : [],
    handledSignals: [],
    rebalanceProbability: null,
    interruptions: state.interruptions.flatMap(({ pool, at }) => {
      const { instanceType, availabilityZone } = market.pools[pool] ?? {}
      return instanceType && availabilityZone && at > day ? [{ instanceType, availabilityZone, at }] : []
    }),
    referenceUsd: workload.onDemandUsd ?? 1,
    budget: { movesLeft: 1, heldBy: null },
    policy: { ...defaultPolicy('CLUSTER_FULL'), ranking, overlap: costs.overlap },
  }
}

function offersOf({ market, workload, risk, pricesSeen }: PipelineSetup, state: ReplayState): Offer[] {
  const offers: Offer[] = []
  for (const index of workload.pools) {
    const pool = market.pools[index]
    const price = priceOf(market, index, state.tick)
    if (!pool || state.refused.has(index) || (pricesSeen && Number.isNaN(price))) continue
    const { instanceType, availabilityZone, vcpu, memGib, arch, gpu, onDemandUsd } = pool
    offers.push({
      instanceType,
      availabilityZone,
      spotUsd: pricesSeen ? price : 1,
      priceAt: state.now,
      onDemandUsd,
      vcpu,
      memGib,
      arch,
      gpu,
      band: null,
      instability12h: risk?.instability12h(index, state.tick) ?? null,
      interruption12h: null,
    })
  }
  return offers
}
