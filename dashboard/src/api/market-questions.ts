import type { PoolRisk } from '@understudy/shared/protocol/interruptions'
import type {
  OnDemandPrices,
  PoolView,
  PriceSeries,
  SavingsView,
  SpotAdvisor,
} from '@understudy/shared/protocol/market'
import type { PredictionView } from '@understudy/shared/protocol/predictions'
import type { Question } from './readings.svelte.ts'

interface PoolPage {
  readonly items: readonly PoolView[]
  readonly next: string | null
}

/** In the order of their names; at most a thousand. */
export const allPools: Question<PoolPage> = { name: 'pools', query: { limit: '1000' } }

export const poolPrices = (id: string, hours: number, points: number): Question<PriceSeries> => ({
  name: 'pool-prices',
  params: { id },
  query: { points: String(points) },
  hours,
})

export const poolRisk = (id: string): Question<PoolRisk> => ({ name: 'pool-risk', params: { id } })

/** The earliest first; at most two thousand. */
export const poolPredictions = (
  pool: string,
  hours: number,
): Question<{ readonly items: readonly PredictionView[] }> => ({
  name: 'predictions',
  query: { pool, limit: '2000' },
  hours,
})

/** Where the catalog comes from; its rows are not asked for. */
export const advisorSource: Question<SpotAdvisor> = { name: 'catalog-advisor', query: { limit: '1' } }
export const onDemandSources: Question<OnDemandPrices> = {
  name: 'catalog-on-demand',
  query: { limit: '1' },
}

/** Of one agent, or of all of them. */
export const savingsOf = (agentId: string | undefined, hours: number): Question<SavingsView> =>
  agentId === undefined
    ? { name: 'savings', hours }
    : { name: 'agent-savings', params: { id: agentId }, hours }
