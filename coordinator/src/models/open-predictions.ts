import type { MicroUsd } from '@understudy/shared/core/money'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, hours, type Instant } from '@understudy/shared/core/time'
import type { Pool } from '@understudy/shared/market/pool'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { Api } from '../http/http.ts'
import type { Interruptions } from '../interruptions/interruptions.ts'
import type { Market } from '../market/market.ts'
import type { RiskModel } from '../pipeline/pipeline.ts'
import type { ModelAlertRow, OpenDatabase } from '../storage/database.ts'
import { createModelAlerts, type ModelAlerts, type VoluntaryMoves } from './alerts.ts'
import { createDriftRollback, type DriftRollbackVersions } from './drift-rollback.ts'
import { createDriftWatch } from './drift-watch.ts'
import { createLabelStore } from './label-store.ts'
import { createLabels, type Labels } from './labels.ts'
import { createLastRisks } from './last-risks.ts'
import type { ModelStore } from './model-store.ts'
import { performanceRoutes } from './performance.routes.ts'
import { createPerformanceBook } from './performance.ts'
import { createPoolFeatures } from './pool-features.ts'
import { createPoolPrices } from './pool-prices.ts'
import { createPredictCall } from './predict-call.ts'
import { createPredictionFeed } from './prediction-feed.ts'
import { createPredictionMetrics } from './prediction-metrics.ts'
import { createPredictionStore } from './prediction-store.ts'
import { predictionRoutes } from './predictions.routes.ts'
import { createPredictions, type Predictions } from './predictions.ts'
import { createRiskModel } from './risk-model.ts'
import { createScorer } from './scoring.ts'
import type { Serving } from './serving.ts'

export interface OpenPredictionsParts {
  readonly database: Pick<OpenDatabase, 'db' | 'bulk'>
  readonly serving: Pick<Serving, 'active' | 'hosts' | 'predict' | 'predictAs'>
  readonly models: Pick<ModelStore, 'find'>
  readonly market: Pick<Market, 'facts' | 'pools' | 'watch'>
  readonly poolsIn: (region: string) => Promise<readonly PoolView[]>
  readonly onDemandOf: (pool: Pool) => MicroUsd | undefined
  readonly interruptions: Pick<Interruptions, 'estimate'>
  readonly registry: Registry
  /** In days. */
  readonly retention: number
  /** The experiment that an alias belongs to. */
  readonly experimentOf: (alias: string) => string | null
  /** What goes back by itself when the active version drifts and the one of before does better, if it may. */
  readonly versions: DriftRollbackVersions & { readonly isAutomatic: boolean }
  readonly clock: Clock
  readonly log: Logger
  readonly onAlert?: (alert: ModelAlertRow) => void
}

/** Everything that asks models about pools, put together. */
export interface OpenPredictions {
  readonly riskModel: RiskModel
  readonly predictions: Predictions
  readonly labels: Labels
  readonly alerts: ModelAlerts
  /** Whether moves that nobody has asked for may be made by what the active model says, and why not. */
  voluntaryMovesAllowed(): VoluntaryMoves
  /** The active model's last word on a pool; null where there is none of the last half hour. */
  riskOf(poolId: string): number | null
  /** A workload has left a pool by a decision of then: what the active version had said of it is marked. */
  left(poolId: string, decidedAt: Instant): Promise<boolean>
  readonly routes: readonly Api[]
  readonly services: readonly Service[]
  /** Reads what was known when the coordinator ended. */
  load(): Promise<void>
}

export function openPredictions(parts: OpenPredictionsParts): OpenPredictions {
  const { database, serving, market, clock, log } = parts
  const prices = createPoolPrices(market, () => clock.now())
  const scorer = createScorer({ serving, prices, features: createPoolFeatures(prices, parts.onDemandOf) })
  const store = createPredictionStore(database.bulk)
  const feed = createPredictionFeed()
  const labelStore = createLabelStore(database.bulk)
  const alerts = createModelAlerts(database.bulk, clock, log, parts.onAlert)
  const performance = createPerformanceBook(database.bulk, parts.models, clock)
  const drift = createDriftWatch({ db: database.bulk, labels: labelStore, alerts, clock, log })
  const voluntaryMovesAllowed = () => alerts.voluntaryMoves(serving.active?.id)
  const metrics = createPredictionMetrics({
    ...{ registry: parts.registry, feed, alerts, performance, clock },
    activeId: () => serving.active?.id,
    voluntaryMoves: voluntaryMovesAllowed,
  })
  const labels = createLabels({
    ...{ store: labelStore, models: parts.models, market, clock, log },
    onBlocks: drift.onBlocks,
    onPass: metrics.labelled,
  })
  const predictions = createPredictions({
    ...{ serving, scorer, prices, store, feed, clock, log },
    random: Math.random,
    experimentOf: parts.experimentOf,
    kept: hours(24 * parts.retention),
    watch: {
      asks: drift.asks,
      onRun(alias, scores) {
        metrics.seen(alias, scores)
        return drift.seen(scores)
      },
      onNone(alias, { model, left }) {
        metrics.seenNone(alias, left)
        return drift.seenNone(model, left.values())
      },
    },
  })
  const rollback = createDriftRollback({
    ...{ versions: parts.versions, serving, alerts, clock, log },
    ...{ isAutomatic: parts.versions.isAutomatic, blocks: labelStore.blocks },
  })
  const predict = createPredictCall({
    scorer,
    poolsIn: parts.poolsIn,
    interruptions: parts.interruptions,
    clock,
  })
  return {
    riskModel: createRiskModel(scorer, clock),
    predictions,
    labels,
    alerts,
    voluntaryMovesAllowed,
    riskOf: createLastRisks(feed, clock),
    routes: [
      predictionRoutes({ store, feed, predict, clock }),
      performanceRoutes({ performance, alerts, voluntaryMoves: voluntaryMovesAllowed }),
    ],
    left: store.markActed,
    services: [predictions, labels, rollback],
    load: alerts.load,
  }
}
