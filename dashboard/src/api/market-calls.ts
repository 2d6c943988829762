import type { PoolRisk } from '@understudy/shared/protocol/interruptions'
import type {
  OnDemandPrices,
  PoolView,
  PriceSeries,
  SavingsView,
  SpotAdvisor,
} from '@understudy/shared/protocol/market'
import type { PredictionView } from '@understudy/shared/protocol/predictions'
import type { Answer, Http } from './http.ts'

export interface PoolPage {
  readonly items: readonly PoolView[]
  readonly next: string | null
}

export interface Span {
  /** ISO 8601. */
  readonly from: string
  readonly to: string
}

/** What the pages about the market ask. */
export interface MarketCalls {
  /** In the order of their names; at most a thousand. */
  pools(): Promise<Answer<PoolPage>>
  prices(poolId: string, span: Span, points: number): Promise<Answer<PriceSeries>>
  /** The earliest first; at most two thousand. */
  predictions(poolId: string, span: Span): Promise<Answer<{ readonly items: readonly PredictionView[] }>>
  risk(poolId: string): Promise<Answer<PoolRisk>>
  /** Where the catalog comes from; its rows are not asked for. */
  advisorSource(): Promise<Answer<SpotAdvisor>>
  onDemandSources(): Promise<Answer<OnDemandPrices>>
  savings(agentId: string | undefined, span: Span): Promise<Answer<SavingsView>>
}

export function createMarketCalls(http: Http): MarketCalls {
  const get = <T>(path: string): Promise<Answer<T>> => http<T>({ method: 'GET', path })
  const pool = (id: string) => `/api/pools/${encodeURIComponent(id)}`
  return {
    pools: () => get('/api/pools?limit=1000'),
    prices: (id, span, points) =>
      get(`${pool(id)}/pricing?${new URLSearchParams({ ...span, points: String(points) })}`),
    predictions: (pool_id, span) =>
      get(`/api/v1/ml/predictions?${new URLSearchParams({ pool: pool_id, ...span, limit: '2000' })}`),
    risk: (id) => get(`${pool(id)}/risk`),
    advisorSource: () => get('/api/v1/ml/pricing/spot-advisor?limit=1'),
    onDemandSources: () => get('/api/v1/ml/pricing/on-demand?limit=1'),
    savings: (agentId, span) =>
      get(
        `${agentId === undefined ? '/api' : `/api/agents/${encodeURIComponent(agentId)}`}/savings?${new URLSearchParams({ ...span })}`,
      ),
  }
}
