import type { MicroUsd } from '@understudy/shared/core/money'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, hours } from '@understudy/shared/core/time'
import type { Pool } from '@understudy/shared/market/pool'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { Api } from '../http/http.ts'
import type { Market } from '../market/market.ts'
import type { RiskModel } from '../pipeline/pipeline.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { type EstimateInterruption, estimateByAdvisor } from './interruption-estimate.ts'
import { createPoolFeatures } from './pool-features.ts'
import { createPoolPrices } from './pool-prices.ts'
import { createPredictCall } from './predict-call.ts'
import { createPredictionFeed } from './prediction-feed.ts'
import { createPredictionStore } from './prediction-store.ts'
import { predictionRoutes } from './predictions.routes.ts'
import { createPredictions, type Predictions } from './predictions.ts'
import { createRiskModel } from './risk-model.ts'
import { createScorer } from './scoring.ts'
import type { Serving } from './serving.ts'

export interface OpenPredictionsParts {
  readonly database: Pick<OpenDatabase, 'db' | 'bulk'>
  readonly serving: Pick<Serving, 'active' | 'hosts' | 'predict' | 'predictAs'>
  readonly market: Pick<Market, 'facts' | 'pools' | 'watch'>
  readonly poolsIn: (region: string) => Promise<readonly PoolView[]>
  readonly onDemandOf: (pool: Pool) => MicroUsd | undefined
  /** The Spot Advisor's if not said. */
  readonly estimate?: EstimateInterruption
  readonly registry: Registry
  /** In days. */
  readonly retention: number
  readonly clock: Clock
  readonly log: Logger
}

/** Everything that asks models about pools, put together. */
export interface OpenPredictions {
  readonly riskModel: RiskModel
  readonly predictions: Predictions
  readonly routes: readonly Api[]
  readonly services: readonly Service[]
}

export function openPredictions(parts: OpenPredictionsParts): OpenPredictions {
  const { database, serving, market, clock, log } = parts
  const prices = createPoolPrices(market, () => clock.now())
  const scorer = createScorer({ serving, prices, features: createPoolFeatures(prices, parts.onDemandOf) })
  const store = createPredictionStore(database.bulk)
  const feed = createPredictionFeed()
  const predictions = createPredictions({
    serving,
    scorer,
    prices,
    store,
    feed,
    clock,
    log,
    random: Math.random,
    kept: hours(24 * parts.retention),
    onRun: () => undefined,
  })
  const predict = createPredictCall({
    scorer,
    poolsIn: parts.poolsIn,
    estimate: parts.estimate ?? estimateByAdvisor,
    clock,
  })
  return {
    riskModel: createRiskModel(scorer, clock),
    predictions,
    routes: [predictionRoutes({ store, feed, predict, now: () => clock.now() })],
    services: [predictions],
  }
}
