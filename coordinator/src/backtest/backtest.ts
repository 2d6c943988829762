import { type Instant, instant, type Millis, minutes } from '@understudy/shared/core/time'
import { hindsightPolicy } from './hindsight.ts'
import { cheapestPolicy, pipelinePolicy, stayPolicy } from './policies.ts'
import type { RiskSource } from './price-risk.ts'
import { type ReplayCosts, type ReplayPolicy, type ReplayResult, replay } from './replay.ts'
import type { ReplayMarket, Workload } from './replay-market.ts'

export const policyNames = ['stay', 'cheapest', 'seed-v1', 'effective-cost-v1', 'on-demand'] as const
export type PolicyName = (typeof policyNames)[number]

export interface BacktestRequest {
  readonly name: string
  readonly market: ReplayMarket
  readonly workloads: readonly Workload[]
  readonly policies: readonly PolicyName[]
  readonly risk: RiskSource | undefined
  /** False for a trace: what can be had is only known by trying, and nothing costs anything. */
  readonly hasPrices: boolean
  onProgress?(done: number, of: number): void
}

export interface Backtest {
  readonly name: string
  readonly from: Instant
  readonly to: Instant
  readonly tick: Millis
  readonly pools: number
  readonly hasPrices: boolean
  readonly risk: string
  readonly workloads: readonly string[]
  readonly rows: readonly PolicyRow[]
}

export interface PolicyRow {
  readonly policy: PolicyName | 'hindsight'
  readonly costUsd: number
  /** Mean over workloads of cost by that of on-demand; each workload counts alike. Null without prices. */
  readonly costShare: number | null
  readonly moves: number
  readonly interruptions: number
  readonly withoutCapacity: Millis
  /** Share of all time. */
  readonly withoutShare: number
  /** Cost by that of on-demand, per workload. */
  readonly shares: readonly number[]
  /** The same over all workloads, per week; NaN for a week without any. */
  readonly weeks: readonly number[]
}

/** A file of prices does not say who was interrupted: a pool whose prices end is left in time. */
const PRICE_COSTS: ReplayCosts = { overlap: minutes(10), launch: minutes(0) }
const TRACE_COSTS: ReplayCosts = { overlap: minutes(10), launch: minutes(3) }
const costsOf = (hasPrices: boolean): ReplayCosts => (hasPrices ? PRICE_COSTS : TRACE_COSTS)

/** Plays every workload with every policy, and with knowledge of the future. Deterministic. */
export function runBacktest(request: BacktestRequest): Backtest {
  const { market, workloads, hasPrices } = request
  const costs = costsOf(hasPrices)
  const names = [...request.policies, 'hindsight'] as const
  const results = new Map<PolicyRow['policy'], ReplayResult[]>(names.map((name) => [name, []]))
  const onDemand: ReplayResult[] = []
  for (const [done, workload] of workloads.entries()) {
    onDemand.push(onDemandResult(market, workload))
    for (const name of names) {
      const result =
        name === 'on-demand'
          ? onDemandResult(market, workload)
          : replay(market, workload, policyOf(name, request, workload), costs)
      results.get(name)?.push(result)
    }
    request.onProgress?.(done + 1, workloads.length)
  }
  return {
    name: request.name,
    from: market.start,
    to: instant(market.start + market.ticks * market.tick),
    tick: market.tick,
    pools: market.pools.length,
    hasPrices,
    risk: request.risk?.name ?? 'none: Spot Advisor only',
    workloads: workloads.map(({ name }) => name),
    rows: names.map((name) => rowOf(name, results.get(name) ?? [], onDemand, hasPrices)),
  }
}

function policyOf(
  name: Exclude<PolicyRow['policy'], 'on-demand'>,
  { market, risk, hasPrices }: BacktestRequest,
  workload: Workload,
): ReplayPolicy {
  const costs = costsOf(hasPrices)
  if (name === 'stay') return stayPolicy(workload)
  if (name === 'cheapest') return cheapestPolicy(hasPrices ? market : untold(market), workload)
  if (name === 'hindsight') return hindsightPolicy(market, workload, costs)
  return pipelinePolicy({ market, workload, ranking: name, risk, pricesSeen: hasPrices, costs })
}

/** The same market as somebody sees it who does not know what can be had. */
const untold = (market: ReplayMarket): ReplayMarket => ({
  ...market,
  pools: market.pools.map((pool) => ({ ...pool, price: new Float64Array(market.ticks).fill(1) })),
})

/** Never interrupted, always to be had: as on-demand is taken to be. */
function onDemandResult(market: ReplayMarket, workload: Workload): ReplayResult {
  const price = new Float64Array(market.ticks).fill(workload.onDemandUsd ?? 1)
  const pools = market.pools.map((pool, i) => (i === workload.home ? { ...pool, price } : pool))
  return replay({ ...market, pools }, workload, stayPolicy(workload), PRICE_COSTS)
}

function rowOf(
  policy: PolicyRow['policy'],
  results: readonly ReplayResult[],
  onDemand: readonly ReplayResult[],
  hasPrices: boolean,
): PolicyRow {
  const total = (of: (result: ReplayResult) => number, list = results) =>
    list.reduce((sum, result) => sum + of(result), 0)
  const shares = hasPrices
    ? results.map((result, i) => result.costUsd / (onDemand[i]?.costUsd ?? Number.NaN))
    : []
  const withoutCapacity = total((result) => result.withoutCapacity) as Millis
  const weeks = results[0]?.weeks.length ?? 0
  return {
    policy,
    costUsd: total(({ costUsd }) => costUsd),
    costShare: hasPrices ? shares.reduce((sum, share) => sum + share, 0) / shares.length : null,
    moves: total(({ moves }) => moves),
    interruptions: total(({ interruptions }) => interruptions),
    withoutCapacity,
    withoutShare: withoutCapacity / total((result) => result.total),
    shares,
    weeks: hasPrices
      ? Array.from({ length: weeks }, (_, week) => {
          const inWeek = (result: ReplayResult) => result.weeks[week] ?? 0
          return total(inWeek) / total(inWeek, onDemand)
        })
      : [],
  }
}
