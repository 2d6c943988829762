import type { Clock } from '@understudy/shared/core/time'
import { type AlertKind, alertKinds } from '@understudy/shared/protocol/predictions'
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { ModelAlerts, VoluntaryMoves } from './alerts.ts'
import type { LabelPass } from './labels.ts'
import type { PerformanceBook } from './performance.ts'
import type { PredictionFeed } from './prediction-feed.ts'
import type { Scores } from './scoring.ts'

/** What Prometheus sees of predictions. Labels are reasons and kinds: never a pool, a model or an instance. */
export interface PredictionMetrics {
  seen(alias: string, scores: Scores): void
  /** No pool could be asked about. */
  seenNone(alias: string, left: Scores['left']): void
  labelled(pass: LabelPass): void
}

const PREFIX = 'understudy_'
const BUCKETS = [0.5, 1, 2, 5, 10, 20, 30, 50, 100, 250, 1000]

export function createPredictionMetrics(parts: {
  readonly registry: Registry
  readonly feed: PredictionFeed
  readonly alerts: ModelAlerts
  readonly performance: PerformanceBook
  readonly activeId: () => string | undefined
  readonly voluntaryMoves: () => VoluntaryMoves
  readonly clock: Clock
}): PredictionMetrics {
  const { alerts, feed, clock } = parts
  const registers = [parts.registry]
  const took = new Histogram({
    name: `${PREFIX}prediction_run_ms`,
    help: 'A run over all pools, with their features and the way to the process of the model and back, in milliseconds',
    buckets: BUCKETS,
    registers,
  })
  const made = new Counter({
    name: `${PREFIX}predictions_total`,
    help: 'Predictions of price instability by the active model',
    registers,
  })
  const left = new Gauge({
    name: `${PREFIX}prediction_pools_left_out`,
    help: 'Pools without a prediction in the last run, by reason',
    labelNames: ['reason'],
    registers,
  })
  const madeAt = new Gauge({
    name: `${PREFIX}prediction_timestamp_seconds`,
    help: 'When the active model was last asked about all pools; 0 before the first time since the start',
    registers,
  })
  const labels = new Counter({
    name: `${PREFIX}prediction_labels_total`,
    help: 'Predictions whose horizon has passed, by whether it is known what came of them',
    labelNames: ['state'],
    registers,
  })
  for (const state of ['labelled', 'unlabelled']) labels.inc({ state }, 0)
  new Gauge({
    name: `${PREFIX}prediction_feed_clients`,
    help: 'Connections to the feed of predictions',
    registers,
    collect() {
      this.set(feed.listeners)
    },
  })
  new Gauge({
    name: `${PREFIX}model_alerts`,
    help: 'Open alerts about models, by what is watched and how bad it is',
    labelNames: ['kind', 'severity'],
    registers,
    collect() {
      for (const kind of alertKinds) for (const severity of ['warn', 'alert']) this.set({ kind, severity }, 0)
      for (const { kind, severity } of alerts.open()) this.inc({ kind: kind as AlertKind, severity })
    },
  })
  new Gauge({
    name: `${PREFIX}voluntary_moves_allowed`,
    help: 'Whether the active model may be trusted with moves that nobody has asked for',
    registers,
    collect() {
      this.set(parts.voluntaryMoves().allowed ? 1 : 0)
    },
  })
  addAccuracy(registers, parts)

  function seenNone(alias: string, out: Scores['left']): void {
    if (alias !== 'active') return
    left.reset()
    for (const reason of out.values()) left.inc({ reason })
  }

  return {
    seen(alias, { prediction, pools, left: out }) {
      if (alias !== 'active') return
      took.observe(prediction.millis)
      made.inc(pools.length)
      madeAt.set(clock.now() / 1000)
      seenNone(alias, out)
    },
    seenNone,
    labelled(pass) {
      labels.inc({ state: 'labelled' }, pass.labelled)
      labels.inc({ state: 'unlabelled' }, pass.unlabelled)
    },
  }
}

/** Of the active model over 7 days; where there are too few labels the metric has no value at all. */
function addAccuracy(
  registers: Registry[],
  { performance, activeId }: { performance: PerformanceBook; activeId: () => string | undefined },
): void {
  const gauge = (name: string, help: string) => new Gauge({ name, help: `${help}, over 7 days`, registers })
  const fdr = gauge('spot_false_discovery_rate', 'Share of the pools called unstable that were not')
  const fnr = gauge('spot_false_negative_rate', 'Share of the rises that the active model did not see')
  const brier = gauge(`${PREFIX}model_brier_score`, 'Brier score of the active model')
  const auc = gauge(`${PREFIX}model_auc`, 'Area under the ROC curve of the active model')
  const set = (metric: Gauge, value: number | null) => (value === null ? metric.remove() : metric.set(value))
  new Gauge({
    name: 'spot_false_positive_rate',
    help: 'Share of the calm pools that the active model called unstable, over 7 days',
    registers,
    async collect() {
      const id = activeId()
      const all = id === undefined ? undefined : (await performance.of(id, '7d')).all
      set(this as Gauge, all?.fpr.value ?? null)
      set(fdr, all?.fdr.value ?? null)
      set(fnr, all?.fnr.value ?? null)
      set(brier, all?.brier ?? null)
      set(auc, all?.auc ?? null)
    },
  })
}
