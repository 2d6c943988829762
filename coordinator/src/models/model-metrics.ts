import { gapFillStates, readinesses } from '@understudy/shared/protocol/model-data'
import { modelStates } from '@understudy/shared/protocol/models'
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Kysely, Schema } from '../storage/database.ts'
import { percentCovered } from './data-gap.ts'
import type { ModelGapFiller } from './model-gap-filler.ts'
import type { ModelStore } from './model-store.ts'
import type { Prediction, Serving } from './serving.ts'

/** What Prometheus sees of models. Labels are states and roles: never a name, a version or a hash. */
export interface ModelMetrics {
  /** A call that was answered, or undefined for one that was not. */
  predicted(prediction: Pick<Prediction, 'answeredBy' | 'millis'> | undefined): void
}

const PREFIX = 'understudy_'
const MS_BUCKETS = [0.5, 1, 2, 5, 10, 20, 30, 50, 100, 250, 1000, 5000]
const outcomes = ['active', 'previous', 'failed'] as const
/** What a process is there for, by the beginning of its alias. */
const roles = ['active', 'previous', 'shadow', 'lab'] as const

export interface ModelMetricsParts {
  readonly registry: Registry
  readonly db: Kysely<Schema>
  readonly store: Pick<ModelStore, 'find'>
  readonly serving: Pick<Serving, 'active' | 'warm' | 'hosts'>
  readonly data: Pick<ModelGapFiller, 'analyses'>
}

type AddGauge = (
  name: string,
  help: string,
  labelNames: readonly string[],
  collect: (gauge: Gauge) => Promise<void> | void,
) => void

export function createModelMetrics(parts: ModelMetricsParts): ModelMetrics {
  const registers = [parts.registry]
  // Under the name of the seeds.
  const took = new Histogram({
    name: 'spot_model_prediction_ms',
    help: 'Time of one call for predictions, over the process of the model, in milliseconds',
    buckets: MS_BUCKETS,
    registers,
  })
  const calls = new Counter({
    name: `${PREFIX}model_predictions_total`,
    help: 'Calls for predictions, by the version that has answered',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of outcomes) calls.inc({ outcome }, 0)
  const add: AddGauge = (name, help, labelNames, collect) =>
    void new Gauge({
      name: `${PREFIX}${name}`,
      help,
      labelNames: [...labelNames],
      registers,
      async collect() {
        this.reset()
        await collect(this)
      },
    })
  addVersions(add, parts)
  addHosts(add, parts)
  addData(add, parts)
  return {
    predicted(prediction) {
      calls.inc({ outcome: prediction?.answeredBy ?? 'failed' })
      if (prediction) took.observe(prediction.millis)
    },
  }
}

function addVersions(add: AddGauge, { db, serving }: ModelMetricsParts): void {
  add('models', 'Versions of models, by their state', ['state'], async (gauge) => {
    for (const state of modelStates) gauge.set({ state }, 0)
    const counts = await db
      .selectFrom('models')
      .select((eb) => ['state', eb.fn.countAll().as('count')])
      .groupBy('state')
      .execute()
    for (const { state, count } of counts) gauge.set({ state }, Number(count))
  })
  add('model_active', 'Whether a model is active', [], (gauge) => gauge.set(serving.active ? 1 : 0))
  add(
    'model_trained_until_timestamp_seconds',
    'The last day of the training data of the version that answers, and of the one before it',
    ['scope'],
    (gauge) => {
      const both = { active: serving.active, previous: serving.warm }
      for (const [scope, model] of Object.entries(both))
        if (model) gauge.set({ scope }, Date.parse(model.manifest.trained_until) / 1000)
    },
  )
  add('model_activations', 'Changes of the active version, by who made them', ['by'], async (gauge) => {
    for (const by of ['coordinator', 'operator'] as const) {
      const { count } = await db
        .selectFrom('model_activations')
        .select((eb) => eb.fn.countAll().as('count'))
        .where('alias', '=', 'active')
        .where('actor', by === 'coordinator' ? '=' : '<>', 'coordinator')
        .executeTakeFirstOrThrow()
      gauge.set({ by }, Number(count))
    }
  })
  add(
    'model_refresh_timestamp_seconds',
    'When a refresh of the active version last succeeded; 0 before the first one',
    [],
    async (gauge) => {
      const row = await db
        .selectFrom('model_refresh_history')
        .select('ended_at')
        .where('status', '=', 'completed')
        .orderBy('started_at', 'desc')
        .limit(1)
        .executeTakeFirst()
      gauge.set((row?.ended_at ?? 0) / 1000)
    },
  )
}

function addHosts(add: AddGauge, { serving }: ModelMetricsParts): void {
  const ofRole = (role: string) =>
    serving.hosts().filter(({ alias }) => alias === role || alias.startsWith(`${role}:`))
  add('model_hosts', 'Processes of models that answer, by what they are there for', ['role'], (gauge) => {
    for (const role of roles) gauge.set({ role }, ofRole(role).filter(({ ready }) => ready).length)
  })
  add('model_host_memory_bytes', 'Resident memory of these processes', ['role'], (gauge) => {
    for (const role of roles)
      gauge.set(
        { role },
        ofRole(role).reduce((sum, { rss }) => sum + (rss ?? 0), 0),
      )
  })
}

function addData(add: AddGauge, { db, store, serving, data }: ModelMetricsParts): void {
  const gapOfActive = async () => {
    const row = serving.active && (await store.find(serving.active.id))
    return row && (await data.analyses([row])).get(row.id)?.gap
  }
  add(
    'model_data_readiness',
    '1 for how complete the prices are that the active model needs since its training',
    ['readiness'],
    async (gauge) => {
      const gap = await gapOfActive()
      for (const readiness of readinesses) gauge.set({ readiness }, gap?.readiness === readiness ? 1 : 0)
    },
  )
  add('model_data_covered_ratio', 'Which share of these prices is there', [], async (gauge) => {
    const gap = await gapOfActive()
    if (gap) gauge.set(percentCovered(gap) / 100)
  })
  add('model_gap_fills', 'Fills of what is missing of them, by their state', ['status'], async (gauge) => {
    for (const status of gapFillStates) gauge.set({ status }, 0)
    const counts = await db
      .selectFrom('model_gap_fills')
      .select((eb) => ['status', eb.fn.countAll().as('count')])
      .groupBy('status')
      .execute()
    for (const { status, count } of counts) gauge.set({ status }, Number(count))
  })
}
