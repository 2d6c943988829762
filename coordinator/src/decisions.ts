import { instanceId } from '@understudy/shared/core/ids'
import { fromUsd } from '@understudy/shared/core/money'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, hours, instant } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import { openModelBucket } from './cloud/s3/model-bucket.ts'
import type { CoordinatorConfig } from './config/options.ts'
import { type Engines, openEngines } from './engines/engines.ts'
import type { Failover } from './failover/failover.ts'
import type { FleetStore } from './fleet/fleet.ts'
import type { Api, Audit } from './http/http.ts'
import { interruptionRoutes } from './interruptions/interruption.routes.ts'
import type { Interruptions } from './interruptions/interruptions.ts'
import { experimentRoutes } from './lab/experiment.routes.ts'
import { labRoutes } from './lab/lab.routes.ts'
import {
  createDegradedWatch,
  createLab,
  createLabLive,
  createLabRetention,
  createRealisedSavings,
  createScoredRows,
  experimentOf,
  type Lab,
  unitCosts,
} from './lab/lab.ts'
import type { OpenMarket } from './market/open-market.ts'
import { firstModel } from './models/default-model.ts'
import { gapFillerRoutes } from './models/gap-filler.routes.ts'
import { gapFillerSettings } from './models/gap-filler-settings.ts'
import { createModelGapFiller, type ModelGapFiller } from './models/model-gap-filler.ts'
import { createModelMetrics } from './models/model-metrics.ts'
import { modelRoutes } from './models/models.routes.ts'
import { createModels, openPredictions } from './models/models.ts'
import { openPipeline } from './pipeline/pipeline.ts'
import type { ModelAlertRow, OpenDatabase } from './storage/database.ts'

/** Risk, and what is decided from it, put together: models, what they predict, the pipeline and the Lab. */
export interface Decisions {
  readonly routes: readonly Api[]
  readonly services: readonly Service[]
  /** The active model's last word on a pool; null where there is none of the last half hour. */
  riskOf(poolId: string): number | null
  /** To be done before anything is asked. */
  load(): Promise<void>
}

export interface DecisionsParts {
  readonly config: CoordinatorConfig
  readonly database: OpenDatabase
  readonly fleet: FleetStore
  readonly failover: Failover
  readonly interruptions: Interruptions
  readonly market: OpenMarket
  readonly registry: Registry
  readonly audit: Audit
  /** ENV=TEST, or the demo. */
  readonly isTest: boolean
  /** Something is wrong with a model, or worse than it was. */
  readonly onAlert: (alert: ModelAlertRow) => void
  readonly clock: Clock
  readonly log: Logger
}

/** @throws AppError `config_invalid` when the store of models cannot be used */
export async function openDecisions(parts: DecisionsParts): Promise<Decisions> {
  const { config, database, fleet, failover, interruptions, market, registry, audit, clock, log } = parts
  const { db } = database
  const models = createModels({
    ...{ db, clock, log },
    directory: config.model_upload_dir,
    bucket: await openModelBucket(config, clock),
    refresh: config.model_refresh,
    defaultModel: firstModel(config),
    activeVersion: config.model_active_version,
    refreshPrices: (actor) => gapFiller.refresh(actor),
    onPrediction: (prediction) => modelMetrics.predicted(prediction),
    referrers: (id) => lab.referrers(id),
  })
  const gapFiller: ModelGapFiller = createModelGapFiller({
    ...market,
    ...{ db, clock, log, models },
    settings: gapFillerSettings(config),
  })
  const modelMetrics = createModelMetrics({ ...models, ...{ registry, db }, data: gapFiller })
  const predictions = openPredictions({
    ...market,
    ...{ database, interruptions, registry, clock, log },
    serving: models.serving,
    models: models.store,
    retention: config.prediction_retention,
    experimentOf,
    versions: { ...models, isAutomatic: config.auto_rollback_on_drift },
    onAlert: parts.onAlert,
  })
  const pipeline = openPipeline({
    // Cycles are long work: they keep nobody waiting who decides who is primary.
    ...{ db: database.bulk, fleet, failover, interruptions, audit, registry, clock, log },
    ...{ poolsIn: market.poolsIn, instanceTypes: market.instanceTypes },
    model: predictions.riskModel,
    voluntaryMovesAllowed: predictions.voluntaryMovesAllowed,
    cycleMinutes: config.decision_cycle,
    keptDays: config.decision_retention,
    policy: () => engines.spotPolicy(),
    onDecision: (made) => lab.onDecision(made),
    onLeft: predictions.left,
    isTest: parts.isTest,
  })
  const engines: Engines = openEngines({
    ...{ db, pipeline, audit, clock, log },
    active: config.decision_engine_active,
    settings: {
      tauAdmit: config.max_crash_probability,
      tauLeave: config.max_crash_probability,
      maxInterruptRate: config.max_historic_interrupt_rate,
    },
  })
  const lab: Lab = createLab({
    ...{ db, clock, log, models },
    configs: pipeline.configs,
    rows: createScoredRows(db),
    costOf: unitCosts(market.savings),
  })
  const aside = { db: database.bulk, clock, log }
  const labLive = createLabLive(lab, clock, log)
  const labServices = [
    lab.experiments,
    labLive,
    createDegradedWatch({
      ...{ ...aside, alerts: predictions.alerts, configs: pipeline.configs },
      ...{ models: models.store, experiments: lab.experiments.store },
    }),
    createRealisedSavings({
      ...{ ...aside, market: market.market },
      onDemandOf: (pool) => market.onDemandOf(parsePool(pool)),
      switchCost: config.switch_cost === undefined ? undefined : fromUsd(config.switch_cost),
    }),
    createLabRetention({ ...aside, kept: hours(24 * config.experiment_retention) }),
  ]
  return {
    routes: [
      modelRoutes(models, audit, gapFiller),
      gapFillerRoutes(gapFiller, audit, clock),
      interruptionRoutes({ interruptions, poolsIn: market.poolsIn, instanceOf: placeOf(fleet) }),
      ...predictions.routes,
      ...pipeline.routes,
      ...engines.routes,
      labRoutes(lab, labLive, audit, clock),
      experimentRoutes(lab.experiments, lab.names, audit),
    ],
    services: [models, gapFiller, ...predictions.services, ...pipeline.services, ...labServices],
    riskOf: predictions.riskOf,
    async load() {
      await engines.load()
      await predictions.load()
    },
  }
}

/** Where an instance runs, and since when. */
const placeOf = (fleet: Pick<FleetStore, 'instance'>) => async (id: string) => {
  const row = await fleet.instance(instanceId(id))
  if (!row) return undefined
  return { poolId: row.pool_id, launchedAt: row.launched_at === null ? null : instant(row.launched_at) }
}
