import { AppError } from '@understudy/shared/core/app-error'
import { microUsd } from '@understudy/shared/core/money'
import { hours, type Instant, instant, minutes } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import type { Offer } from '@understudy/shared/pipeline/context'
import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import type { PredictionRunView } from '@understudy/shared/protocol/predictions'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createInterruptions } from '../interruptions/interruptions.ts'
import { experimentOf } from '../lab/lab.ts'
import { createMarket, type Market } from '../market/market.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createModelAlerts } from './alerts.ts'
import { until } from './bench-testing.ts'
import { createDriftWatch } from './drift-watch.ts'
import { createLabelStore } from './label-store.ts'
import { createLabels } from './labels.ts'
import { createModelStore } from './model-store.ts'
import { type OpenPredictions, openPredictions } from './open-predictions.ts'
import { createPerformanceBook } from './performance.ts'
import { createPoolPrices } from './pool-prices.ts'
import { createPredictionFeed, wanted } from './prediction-feed.ts'
import { createPredictionStore } from './prediction-store.ts'
import { createPredictions } from './predictions.ts'
import type { Scores } from './scoring.ts'
import type { ServedModel } from './served-model.ts'
import type { Prediction } from './serving.ts'
import { testModel } from './testing.ts'

const silent = pino({ level: 'silent' })
const START = Date.UTC(2026, 0, 1)
const h = (hour: number) => instant(START + hour * 3_600_000)
const CALM = 'm5.large@sa-east-1a'
const RISING = 'm5.large@sa-east-1b'
const tables = [
  ...['prediction_runs', 'predictions_log', 'prediction_blocks', 'drift_windows', 'model_alerts'],
  ...['price_changes', 'price_coverage', 'pricing_snapshots_clean', 'pools', 'models'],
] as const

/** Takes the change of 12 h; at and above 0.5 it is sure. */
const manifest = testModel({
  change: (given) => {
    const feature = { name: 'ret_12h', unit: 'ln', nullable: true, min: -1, max: 1 }
    Object.assign(given, {
      input: { name: 'x', dtype: 'float32', features: [feature] },
      target: { id: 'price_instability_12h', definition: 'max price > 1.03', horizon_h: 12 },
    })
    for (const row of given.golden) row.x = [0]
  },
}).manifest
const served = (id: string, given: ModelManifest = manifest): ServedModel => ({
  ...{ id, sha256: 'a'.repeat(64), manifest: given, qualification: null },
})

describe.each(dialects)('predictions on %s', (dialect) => {
  let database: OpenDatabase
  let time: ReturnType<typeof createVirtualTime>
  let market: Market
  let active: ServedModel | undefined
  let aliases: Map<string, ServedModel | AppError>
  let open: OpenPredictions
  let registry: Registry

  const answer = (model: ServedModel, values: Float32Array, answeredBy: Prediction['answeredBy']) => ({
    ...{ model, answeredBy, millis: 1, runMillis: 1 },
    p: Float64Array.from(values, (change) => (change > 0.01 ? 0.9 : 0.1)),
  })

  function start() {
    registry = new Registry()
    open = openPredictions({
      database,
      serving: {
        get active() {
          return active
        },
        hosts: () =>
          [...aliases].flatMap(([alias, model]) =>
            model instanceof AppError ? [] : [{ alias, model, pid: 1, rss: 1, ready: true }],
          ),
        predict: (values) =>
          active
            ? Promise.resolve(answer(active, values, 'active'))
            : Promise.reject(new AppError('unavailable', 'no model is active')),
        predictAs: (alias, values) => {
          const model = aliases.get(alias)
          return model && !(model instanceof AppError)
            ? Promise.resolve(answer(model, values, 'alias'))
            : Promise.reject(model ?? new AppError('not_found', `no model is assigned to ${alias}`))
        },
      },
      models: createModelStore(database.db, time.clock),
      market,
      poolsIn: () => Promise.resolve([]),
      interruptions: createInterruptions({
        ...{ db: database.db, clock: time.clock, multipliers: 'none' },
        bandsOf: () => Promise.resolve(new Map()),
      }),
      onDemandOf: () => microUsd(200_000),
      registry,
      retention: 10,
      clock: time.clock,
      log: silent,
      experimentOf,
      versions: {
        isAutomatic: false,
        store: { former: () => Promise.resolve([]), aliases: () => Promise.resolve(new Map()) },
        registry: { assign: () => Promise.resolve(), activate: () => Promise.reject(new Error('not here')) },
      },
    })
  }

  beforeAll(async () => {
    database = await testDatabase(dialect)
  }, 60_000)
  afterAll(() => database.close())
  beforeEach(async () => {
    for (const table of tables) await database.db.deleteFrom(table).execute()
    time = createVirtualTime(h(200))
    active = served('model-a')
    aliases = new Map()
    market = createMarket({
      ...{ db: database.bulk, clock: time.clock, log: silent, gapFiller: false },
      known: { isKnownZone: () => true, onDemand: () => undefined },
      retention: { submissions: hours(1e5), prices: hours(1e5) },
    })
    await addModelRow()
    await record(CALM, [[0, 50_000]], 200)
    await record(
      RISING,
      Array.from({ length: 100 }, (_, i) => [i * 2, Math.round(50_000 * 1.02 ** i)] as const),
      200,
    )
    start()
  })

  const record = (pool: string, steps: readonly (readonly [number, number])[], until: number) =>
    market.recordHistory(
      pool,
      steps.map(([at, price]) => ({ at: h(at), price: microUsd(price) })),
      [{ from: h(0), to: instant(h(until) + 1) }],
      'history',
    )

  async function addModelRow() {
    await database.db
      .insertInto('models')
      .values({
        ...{ id: 'model-a', name: 'price-instability', version: '1.0.0', holds_name: 1, state: 'ACTIVE' },
        ...{ state_reason: null, model_sha256: 'a'.repeat(64), scaler_sha256: null, size_bytes: 1 },
        ...{ manifest: JSON.stringify(manifest), facts: null, qualification: null },
        ...{ trained_until: '2020-06-30', artifact_kept: 1, uploaded_by: 'ada' },
        ...{ uploaded_at: START, activated_at: START },
      })
      .execute()
  }

  test('a run asks about every pool, keeps what was said with its features, and tells who listens', async () => {
    await record('c5.large@sa-east-1a', [[195, 1000]], 200)
    expect(open.riskOf(CALM)).toBeNull()
    const { runs, skipped } = await open.predictions.runOnce()
    expect(skipped).toBeNull()
    expect([open.riskOf(CALM), open.riskOf(RISING), open.riskOf('c5.large@sa-east-1a')]).toEqual([
      0.1,
      0.9,
      null,
    ])
    expect(runs).toHaveLength(1)
    expect(runs[0]).toMatchObject({
      ...{ alias: 'active', model_id: 'model-a', left_out: { SHORT_HISTORY: 1 }, answered_by: 'active' },
      items: [
        { pool_id: CALM, p_instability_12h: 0.1, unstable: false, confidence: 1 },
        { pool_id: RISING, p_instability_12h: 0.9, unstable: true },
      ],
    })
    const stored = await createPredictionStore(database.db).latest(undefined, 10)
    expect(stored).toMatchObject([
      { pool_id: CALM, p: 0.1, at: h(200), model_sha256: 'a'.repeat(64), label: null, filled: 0 },
      { pool_id: RISING, p: 0.9 },
    ])
    expect(stored[0]?.features_hash).toMatch(/^[0-9a-f]{16}$/)
    expect(stored[0]?.features_hash).not.toBe(stored[1]?.features_hash)
    await time.advance(minutes(5))
    await open.predictions.runOnce()
    const again = await createPredictionStore(database.db).latest(undefined, 10)
    expect(again[0]?.features_hash, 'the same features have the same hash').toBe(stored[0]?.features_hash)
  })

  test('without a model nothing is asked; a shadow is asked about the same pools', async () => {
    active = undefined
    expect(await open.predictions.runOnce()).toEqual({ runs: [], skipped: 'no model is active' })
    active = served('model-a')
    aliases.set('shadow:1', served('model-b'))
    aliases.set('lab:i-1', served('model-c'))
    const { runs } = await open.predictions.runOnce()
    expect(runs.map(({ alias, model_id: id }) => [alias, id])).toEqual([
      ['active', 'model-a'],
      ['shadow:1', 'model-b'],
    ])
    expect(await createPredictionStore(database.db).latest(undefined, 10)).toHaveLength(2)
  })

  test('what was done about a prediction, and the experiment in whose shadow it was made, are kept with it', async () => {
    aliases.set('shadow:exp-0123456789ab.1', served('model-b'))
    aliases.set('shadow:mine', served('model-c'))
    await open.predictions.runOnce()
    await time.advance(minutes(5))
    await open.predictions.runOnce()
    expect(await open.left(CALM, instant(h(200) + minutes(7)))).toBe(true)
    const rows = await database.db
      .selectFrom('predictions_log as l')
      .innerJoin('prediction_runs as r', 'r.id', 'l.run')
      .innerJoin('pools', 'pools.id', 'l.pool')
      .select(['pools.pool_id', 'r.alias', 'l.at', 'l.acted', 'l.experiment'])
      .execute()
    expect(rows).toHaveLength(12)
    expect(rows.filter(({ acted }) => acted === 1)).toMatchObject([
      { pool_id: CALM, alias: 'active', at: h(200) + minutes(5) },
    ])
    expect(new Set(rows.map(({ alias, experiment }) => `${alias} ${experiment}`))).toEqual(
      new Set(['active null', 'shadow:exp-0123456789ab.1 exp-0123456789ab', 'shadow:mine null']),
    )
    expect(await open.left(CALM, instant(h(200) + minutes(36))), 'it was said too long before').toBe(false)
    expect(await open.left('x1.large@sa-east-1a', h(200)), 'a pool that nothing is known of').toBe(false)
  })

  test('labels come when the horizon has passed, from prices that are whole; accuracy follows', async () => {
    for (let i = 0; i < 3; i++) {
      await open.predictions.runOnce()
      await time.advance(hours(1))
    }
    expect(await open.labels.passOnce()).toEqual({ labelled: 0, unlabelled: 0 })
    await time.advance(hours(12))
    await record(CALM, [[0, 50_000]], 213)
    expect(await open.labels.passOnce(), 'of the other pool nothing is known since').toMatchObject({
      labelled: 2,
    })
    await record(RISING, [[205, 999_999_999]], 220)
    await time.advance(hours(2))
    await open.labels.passOnce()
    const rows = await createPredictionStore(database.db).ofPool(RISING, { from: h(0), to: h(300) }, 10)
    expect(rows.map(({ label }) => label)).toEqual([1, 1, 1])
    // The third one of the calm pool still waits for prices of its last hour.
    const calm = await createPredictionStore(database.db).ofPool(CALM, { from: h(0), to: h(300) }, 10)
    expect(calm.map(({ label, label_reason: why }) => [label, why])).toEqual([
      [0, null],
      [0, null],
      [null, null],
    ])
    await time.advance(hours(72))
    expect(await open.labels.passOnce()).toEqual({ labelled: 0, unlabelled: 1 })
    const book = createPerformanceBook(database.db, createModelStore(database.db, time.clock), time.clock)
    expect(await book.of('model-a', 'activation')).toMatchObject({
      ...{ pending: 0, unlabelled: 1, every: 1, window: 'activation' },
      all: { rows: 5, positives: 3, tp: 3, fp: 0, fn: 0, tn: 2, effective_n: 2, auc: null },
      by_region: { 'sa-east-1': { rows: 5 } },
      by_family: { m5: { why: 'not enough labels: 1 of 10 blocks in which it happened' } },
    })
    await expect(book.of('model-x', '24h')).rejects.toThrow('there is no model model-x')
    const blocks = await createLabelStore(database.db).blocks('model-a', 0)
    expect(blocks).toMatchObject([{ pool_group: 'm5@sa-east-1', rows: 5, positives: 3 }])
    expect(blocks[0]?.brier).toBeCloseTo((2 * 0.01 + 3 * 0.01) / 5, 9)
    const metrics = await registry.metrics()
    expect(metrics).toContain('understudy_prediction_labels_total{state="labelled"} 5')
    expect(metrics).toContain('understudy_predictions_total 6')
    expect(metrics).toContain('understudy_voluntary_moves_allowed 1')
  })

  test('a target that prices do not show is never labelled, and the reason is kept', async () => {
    await database.db
      .updateTable('models')
      .set({ manifest: JSON.stringify(testModel().manifest) })
      .execute()
    await open.predictions.runOnce()
    await time.advance(hours(14))
    expect(await open.labels.passOnce()).toEqual({ labelled: 0, unlabelled: 2 })
    const [row] = await createPredictionStore(database.db).latest(undefined, 1)
    expect(row?.label_reason).toBe('prices do not show whether it came true')
  })

  test('a block in which nothing has a label is looked at once, though it leaves nothing', async () => {
    await open.predictions.runOnce()
    await time.advance(hours(100))
    const store = createLabelStore(database.db)
    let looked = 0
    const labels = createLabels({
      store: {
        ...store,
        losses(...of) {
          looked += 1
          return store.losses(...of)
        },
      },
      models: createModelStore(database.db, time.clock),
      ...{ market, clock: time.clock, log: silent, onBlocks: () => undefined, onPass: () => undefined },
    })
    expect(await labels.passOnce()).toEqual({ labelled: 0, unlabelled: 2 })
    await labels.passOnce()
    expect(looked).toBe(1)
  })

  test('what was asked is told and kept going though it cannot be watched, and though nothing can be purged', async () => {
    const stored = createPredictionStore(database.db)
    const store = { ...stored, purge: () => Promise.reject(new Error('the database is busy')) }
    const feed = createPredictionFeed()
    const model = watched
    const predictions = createPredictions({
      ...{ store, feed, clock: time.clock, log: silent, random: () => 0, kept: hours(240) },
      serving: { active: model, hosts: () => [] },
      scorer: { score: () => Promise.resolve(scoresAt(time.clock.now(), 0.5)) },
      prices: createPoolPrices(market, () => time.clock.now()),
      watch: {
        asks: () => Promise.reject(new Error('the database is busy')),
        onRun: () => Promise.reject(new Error('the database is busy')),
        onNone: () => undefined,
      },
      experimentOf: () => null,
    })
    const stop = new AbortController()
    const running = predictions.run(stop.signal)
    await until(async () => {
      await time.advance(minutes(1))
      return feed.last?.run === 2
    })
    expect(feed.last).toMatchObject({ run: 2, model_id: 'model-a' })
    stop.abort()
    await running
  })

  test('who asks during the first reading of prices waits for it', async () => {
    const prices = createPoolPrices(market, () => time.clock.now())
    const both = [prices.reread(), prices.refresh().then(() => prices.regions())]
    expect((await Promise.all(both))[1]).toEqual(['sa-east-1'])
  })

  test('old predictions go', async () => {
    const store = createPredictionStore(database.db)
    await open.predictions.runOnce()
    await time.advance(hours(1))
    await open.predictions.runOnce()
    const labels = createLabelStore(database.db)
    const block = { model_id: 'model-a', pool_group: 'm5@sa-east-1', rows: 1, positives: 0, brier: 0.01 }
    const longAgo = h(200) - 91 * hours(24)
    await labels.addBlocks([
      { ...block, block_at: longAgo },
      { ...block, block_at: h(0) },
    ])
    expect(await store.purge(h(200.5))).toBe(2)
    expect(await store.ofPool(CALM, { from: h(0), to: h(300) }, 10)).toHaveLength(1)
    expect((await labels.blocks('model-a', 0)).map(({ block_at: at }) => at)).toEqual([h(0)])
  })

  test('a clock that jumps ahead purges nothing before it has stayed there for a day', async () => {
    const purged: number[] = []
    const store = {
      ...createPredictionStore(database.db),
      newest: () => Promise.resolve(h(200)),
      purge: (before: Instant) => Promise.resolve(purged.push(before)).then(() => 0),
    }
    const predictions = createPredictions({
      ...{ store, clock: time.clock, log: silent, random: () => 0, kept: hours(240) },
      ...{ feed: createPredictionFeed(), serving: { active: undefined, hosts: () => [] } },
      scorer: { score: () => Promise.reject(new AppError('unavailable', 'no model is active')) },
      prices: createPoolPrices(market, () => time.clock.now()),
      watch: { asks: () => undefined, onRun: () => undefined, onNone: () => undefined },
      experimentOf: () => null,
    })
    const stop = new AbortController()
    const running = predictions.run(stop.signal)
    time.jumpWall(hours(24 * 365))
    await time.advance(hours(7))
    expect(purged).toHaveLength(2)
    expect(Math.max(...purged)).toBeLessThanOrEqual(h(207 - 240))
    await time.advance(hours(24))
    expect(purged.at(-1)).toBeGreaterThan(h(24 * 365 - 240))
    stop.abort()
    await running
  })

  test('the service asks every five minutes and never without a model', async () => {
    const stop = new AbortController()
    const running = open.predictions.run(stop.signal)
    active = undefined
    await time.advance(minutes(11))
    const count = () =>
      database.db
        .selectFrom('prediction_runs')
        .select((eb) => eb.fn.countAll().as('n'))
        .executeTakeFirstOrThrow()
    expect(Number((await count()).n)).toBe(0)
    stop.abort()
    await running
    expect(time.pending()).toBe(0)
  })

  const offer = (pool: string): Offer => ({
    ...parsePool(pool),
    ...{ spotUsd: 0.05, priceAt: h(200), onDemandUsd: 0.2, vcpu: 2, memGib: 8, arch: 'x86_64', gpu: 0 },
    ...{ band: null, instability12h: null, interruption12h: null },
  })

  test('offers get their probabilities, by the alias that is asked for or visibly by the active model', async () => {
    const offers = [CALM, RISING, 'x1.large@sa-east-1a'].map(offer)
    const now = time.clock.now()
    const scored = await open.riskModel.score(offers, now)
    expect(scored.offers.map(({ instability12h }) => instability12h)).toEqual([0.1, 0.9, null])
    expect(scored).toMatchObject({
      model: { version: 'price-instability 1.0.0 (model-a)', decisionThreshold: 0.5 },
      modelFailure: null,
    })
    aliases.set('lab:i-1', served('model-c'))
    expect(await open.riskModel.score(offers, now, { alias: 'lab:i-1' })).toMatchObject({
      ...{ model: { version: expect.stringContaining('model-c') }, modelFailure: null },
    })
    expect(await open.riskModel.score(offers, now, { alias: 'lab:i-2' })).toMatchObject({
      model: { version: expect.stringContaining('model-a') },
      modelFailure: expect.stringContaining('FALLBACK_USED: the model of lab:i-2 did not answer'),
    })
    expect(await open.riskModel.score([offer('x1.large@sa-east-1a')], now)).toMatchObject({
      ...{ model: null, modelFailure: expect.stringContaining('no price of it is known') },
    })
    active = served('model-d', testModel().manifest)
    expect((await open.riskModel.score(offers, now)).modelFailure).toContain('not known here: a, b')
    active = undefined
    expect(await open.riskModel.score(offers, now)).toMatchObject({
      ...{ model: null, modelFailure: 'no model is active' },
    })
  })

  const reference = { edges: [0, 0.25, 0.5, 0.75, 1], counts: [2500, 2500, 2500, 2500], null_count: 0 }
  const watched = served('model-a', {
    ...manifest,
    coverage: { regions: ['sa-east-1'], families: ['m5'] },
    output: { ...manifest.output, ref: reference } as ModelManifest['output'],
    input: { ...manifest.input, features: manifest.input.features.map((f) => ({ ...f, ref: reference })) },
  })
  const known = { path: { at: Float64Array.of(0), price: Float64Array.of(1), log: Float64Array.of(0) } }
  const pools = Array.from({ length: 120 }, (_, i) => {
    const id = `m5.size${i}@sa-east-1a`
    return {
      ...{ id, pool: parsePool(id) },
      known: { ...known, from: instant(0), until: instant(1e15), bridged: [] },
    }
  })
  /** Scores of 120 pools, shares spread evenly up to `most`. */
  const scoresAt = (at: Instant, most: number): Scores => ({
    ...{ at, pools, left: new Map() },
    values: Float32Array.from(pools, (_, i) => (i / pools.length) * 0.999),
    prediction: {
      ...{ model: watched, answeredBy: 'active', millis: 1, runMillis: 1 },
      p: Float64Array.from(pools, (_, i) => (i / pools.length) * most),
    },
  })

  test('scores that drift in two windows raise an alert, which switches voluntary moves off until they are back', async () => {
    const alerts = createModelAlerts(database.db, time.clock, silent)
    const labels = createLabelStore(database.db)
    const watch = () =>
      createDriftWatch({ ...{ db: database.db, labels, alerts, log: silent }, clock: time.clock })
    let drift = watch()
    const aDay = async (most: number) => {
      for (let i = 0; i < 4; i++) {
        await drift.seen(scoresAt(time.clock.now(), most))
        await time.advance(hours(8))
      }
    }
    await aDay(0.999)
    expect((await drift.last('model-a'))?.subjects.map(({ level }) => level)).toEqual(['ok', 'ok'])
    await aDay(0.25)
    expect(alerts.open(), 'one window alone').toEqual([])
    // As after a restart.
    drift = watch()
    await aDay(0.25)
    expect(alerts.open()).toMatchObject([{ kind: 'SCORE_DRIFT', subject: 'score', severity: 'alert' }])
    expect(alerts.voluntaryMoves('model-a')).toEqual({
      ...{ allowed: false, why: expect.stringContaining('the scores are not distributed as in training') },
    })
    expect(alerts.voluntaryMoves('model-b').allowed, 'another model is not concerned').toBe(true)
    const restarted = createModelAlerts(database.db, time.clock, silent)
    await restarted.load()
    expect(restarted.voluntaryMoves('model-a').allowed).toBe(false)
    await aDay(0.999)
    expect(alerts.open()).toEqual([])
    expect(alerts.voluntaryMoves('model-a').allowed).toBe(true)
    expect(alerts.voluntaryMoves(undefined)).toEqual({ allowed: false, why: 'no model is active' })
    expect(await alerts.list({ open: false })).toMatchObject([{ state: 'closed' }])
  })

  test('an alert of a model that nobody has asked for an hour is closed with a sentence, and its labels open none', async () => {
    const alerts = createModelAlerts(database.db, time.clock, silent)
    const alert = { severity: 'alert', said: 'its loss has risen', facts: {} } as const
    await alerts.set('model-a', 'LOSS_DRIFT', 'loss', alert)
    await alerts.set('model-b', 'LOSS_DRIFT', 'loss', alert)
    aliases.set('shadow:1', served('model-b'))
    start()
    await open.load()
    const openNow = async () => (await alerts.list({ open: true })).map(({ model_id: id }) => id).sort()
    await open.predictions.runOnce()
    expect(open.voluntaryMovesAllowed().allowed).toBe(false)
    // Another version is active, and only asked about since.
    active = served('model-c')
    await time.advance(minutes(50))
    await open.predictions.runOnce()
    expect(await openNow(), 'a fallback may follow').toEqual(['model-a', 'model-b'])
    await time.advance(minutes(15))
    await open.predictions.runOnce()
    expect(await openNow(), 'the shadow is still asked').toEqual(['model-b'])
    expect(await alerts.list({ modelId: 'model-a', open: false })).toMatchObject([
      {
        ...{ state: 'closed', closed_at: new Date(time.clock.now()).toISOString() },
        said: 'its loss has risen; closed, since nobody has asked this model for an hour',
      },
    ])
    const labels = createLabelStore(database.db)
    const after = createModelAlerts(database.db, time.clock, silent)
    const drift = createDriftWatch({
      ...{ db: database.db, labels, alerts: after, log: silent, clock: time.clock },
    })
    await labels.addBlocks(risen())
    await time.advance(hours(2))
    await drift.onBlocks('model-a')
    expect(after.open()).toEqual([])
  })

  test('where every price is too old the alert about it comes, though nothing is asked', async () => {
    const listed = () => createModelAlerts(database.db, time.clock, silent).list({ open: true })
    for (let step = 0; step < 18; step += 1) {
      await time.advance(hours(3))
      expect((await open.predictions.runOnce()).skipped !== null, `step ${step}`).toBe(step >= 2)
    }
    expect(await listed()).toMatchObject([
      {
        ...{ kind: 'DATA_QUALITY', subject: 'stale', severity: 'alert', model_id: 'model-a' },
        said: expect.stringContaining('of pools had a price that was too old'),
      },
    ])
    expect(await registry.metrics()).toContain('understudy_prediction_pools_left_out{reason="STALE_PRICE"} 2')
  })

  /** Blocks of 40 days whose loss is 15 times as high from the thirtieth on. */
  const risen = () => {
    const block = (i: number, group: number) => ({
      ...{ model_id: 'model-a', block_at: h(i * 12), pool_group: `g${group}`, rows: 100, positives: 1 },
      brier: i < 60 ? 0.02 : 0.3,
    })
    return Array.from({ length: 80 }, (_, i) => [0, 1, 2, 3].map((group) => block(i, group))).flat()
  }

  test('a loss that has risen raises an alert', async () => {
    const labels = createLabelStore(database.db)
    const alerts = createModelAlerts(database.db, time.clock, silent)
    const drift = createDriftWatch({ ...{ db: database.db, labels, alerts, log: silent }, clock: time.clock })
    await labels.addBlocks(risen())
    await drift.onBlocks('model-a')
    expect(alerts.open()).toMatchObject([{ kind: 'LOSS_DRIFT', severity: 'alert' }])
    expect(alerts.voluntaryMoves('model-a').why).toContain('its Brier loss has risen')
    await time.advance(hours(24 * 130))
    await drift.onBlocks('model-a')
    expect(alerts.open(), 'what lies 90 days back is no measure').toEqual([])
  })
})

test('the feed has the last run for who comes later, and of it the pools that somebody wants', () => {
  const feed = createPredictionFeed()
  expect(feed.last).toBeUndefined()
  const run = {
    run: 1,
    items: [CALM, RISING].map((pool_id) => ({ pool_id })),
  } as unknown as PredictionRunView
  feed.publish(run)
  expect(feed.last).toBe(run)
  expect(wanted({})).toBeUndefined()
  expect(wanted({ pool: CALM })?.(run)).toEqual({ run: 1, items: [{ pool_id: CALM }] })
  expect(wanted({ region: 'sa-east-1' })?.(run).items).toHaveLength(2)
  expect(wanted({ pool: CALM, region: 'us-east-1' })?.(run).items).toEqual([])
})
