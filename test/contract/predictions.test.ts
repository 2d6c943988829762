import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { testModel } from '../../coordinator/src/models/testing.ts'
import type { Dialect } from '../../coordinator/src/storage/dialect.ts'
import { dialects } from '../../coordinator/src/storage/testing.ts'
import { type Bench, startBench, until } from './bench.ts'
import { activateOwnModel, addHistory } from './own-model.ts'

/** What the model that comes with the sources says over the real API, from prices in the database. */

const HOUR = 3_600_000
const CALM = 'm5.large@us-east-1a'
const RISING = 'm5.large@us-east-1b'
/** A version of which only rows are known. */
const OTHER = 'model-other'

describe.each(dialects)('predictions on %s', (dialect: Dialect) => {
  let bench: Bench
  let modelId: string | undefined
  beforeAll(async () => {
    bench = await startBench({ dialect })
    await bench.primary('a', CALM)
    await addPrices(bench)
  }, 60_000)
  afterAll(() => bench.close())

  const evaluate = () =>
    bench.call('POST', '/api/v1/evaluate', { instance_type: 'm5.large', availability_zone: 'us-east-1a' })
  const predict = (body: unknown) => bench.call('POST', '/api/v1/ml/predict/spot-interruption', body)

  test('without a model there is the probability of an interruption alone, and why', async () => {
    const { status, body } = await predict({ instance_type: 'm5.large', region: 'us-east-1a' })
    expect(status).toBe(200)
    expect(body).toMatchObject({ p_instability_12h: null, model: null, pool_id: CALM, unstable: null })
    expect(body.interruption_probability).toBeGreaterThan(0)
    expect(body.interruption_probability).toBe(body.p_interruption_12h)
    expect(body.notes).toEqual(['no price instability: no model is active'])
    expect((await evaluate()).body).toMatchObject({ risk_source: 'ADVISOR_FALLBACK' })
  })

  test('with a model a decision has its probabilities, and a pool that it cannot judge has none', {
    timeout: 60_000,
  }, async () => {
    modelId = await activateOwnModel(bench)

    let body = { risk_source: '' } as Awaited<ReturnType<typeof evaluate>>['body']
    // On a busy machine the model may at first take longer than a decision waits for it.
    await until(async () => {
      body = (await evaluate()).body
      return body.risk_source === 'MODEL'
    })
    expect(body.crash_probability).toBeLessThan(0.05)
    const stageOf = (name: string) => body.trace.find(({ stage }: { stage: string }) => stage === name)
    const risk = stageOf('risk')
    expect(risk.out).toBe(2)
    expect(stageOf('safety_gate').dropped).toMatchObject([{ id: RISING }])
    expect(risk.dropped[0]).toMatchObject({ code: 'NO_RISK_SCORE' })
  })

  test('a prediction names both probabilities, the pool and the model', async () => {
    const calm = await predict({ instance_type: 'm5.large', region: 'us-east-1', spot_price: 0.04 })
    expect(calm.body).toMatchObject({ pool_id: CALM, model: { model_id: modelId }, unstable: false })
    const { body } = await predict({
      ...{ instance_type: 'm5.large', region: 'us-east-1', spot_price: 0.2 },
      launch_time: '2025-01-01T00:00:00Z',
    })
    expect(body).toMatchObject({ pool_id: RISING, unstable: true })
    expect(body.p_instability_12h).toBeGreaterThan(0.5)
    expect(body.p_interruption_12h).toBeLessThan(0.05)
    expect(body.notes[0]).toContain('has the nearest price')
  })

  test('what is asked wrongly is refused, and only who may look is answered', async () => {
    for (const body of [
      { instance_type: 'm5', region: 'us-east-1' },
      { instance_type: 'm5.large', region: 'mars' },
      { instance_type: 'm5.large', region: 'us-east-1', spot_price: -1 },
      { instance_type: 'm5.large', region: 'us-east-1', launch_time: '2999-01-01T00:00:00Z' },
      { instance_type: 'm5.large', region: 'us-east-1', more: 1 },
    ])
      expect(await predict(body)).toMatchObject({ status: 400, body: { code: 'input_invalid' } })
    expect(await predict({ instance_type: 'm5.large', region: 'eu-west-1' })).toMatchObject({ status: 404 })
    const list = '/api/v1/ml/predictions'
    expect(await bench.call('GET', `${list}?from=2025-01-01T00:00:00Z`)).toMatchObject({ status: 400 })
    expect(await bench.call('GET', `${list}?pool=${CALM}&cursor=x`)).toMatchObject({ status: 400 })
    const nobody = { authorization: 'Bearer none' }
    for (const path of [list, `${list}/live`])
      expect(await bench.call('GET', path, undefined, nobody)).toMatchObject({ status: 401 })
  })

  test('stored predictions are listed by pool and time, and the feed can be joined', async () => {
    const pools = await bench.db.selectFrom('pools').select(['id', 'pool_id']).execute()
    const pool = pools.find(({ pool_id: id }) => id === RISING)?.id ?? 0
    await bench.db
      .insertInto('models')
      .values({
        ...{
          id: OTHER,
          name: 'other',
          version: '1.0.0',
          holds_name: 1,
          state: 'RETIRED',
          state_reason: null,
        },
        ...{ model_sha256: 'x', scaler_sha256: null, size_bytes: 1, facts: null, qualification: null },
        ...{ manifest: JSON.stringify(testModel().manifest), trained_until: '2020-06-30', artifact_kept: 0 },
        ...{ uploaded_by: 'ada', uploaded_at: 1, activated_at: null },
      })
      .execute()
    const now = Date.now()
    for (const [id, age] of [
      [1, 2],
      [2, 1],
    ] as const) {
      const at = now - age * HOUR
      await bench.db
        .insertInto('prediction_runs')
        .values({
          ...{ id, at, alias: 'active', model_id: OTHER, model_sha256: 'x', answered_by: 'active' },
          ...{ horizon_ms: 12 * HOUR, threshold: 0.153, pools: 1, left_out: '{}', took_ms: 1 },
        })
        .execute()
      await bench.db
        .insertInto('predictions_log')
        .values({
          ...{ run: id, pool, at, p: 0.1 * id, features_hash: 'f', filled: 0.25 },
          ...{ label: id === 1 ? 1 : null, label_reason: null },
        })
        .execute()
    }
    const { body } = await bench.call('GET', `/api/v1/ml/predictions?pool=${RISING}`)
    expect(body.items).toMatchObject([
      { pool_id: RISING, p_instability_12h: 0.1, label_state: 'labelled', actual: 1, unstable: false },
      { p_instability_12h: 0.2, label_state: 'pending', actual: null, unstable: true, confidence: 0.75 },
    ])
    const first = await bench.call('GET', `/api/v1/ml/predictions?pool=${RISING}&limit=1`)
    expect(first.body.items).toHaveLength(1)
    const second = await bench.call(
      'GET',
      `/api/v1/ml/predictions?pool=${RISING}&limit=1&cursor=${first.body.next}`,
    )
    expect(second.body.items[0].p_instability_12h).toBe(0.2)
    expect((await bench.call('GET', '/api/v1/ml/predictions')).body.items).toHaveLength(1)

    const performance = await bench.call('GET', `/api/v1/ml/models/${OTHER}/performance?window=24h`)
    expect(performance.body).toMatchObject({
      ...{ model_id: OTHER, window: '24h', pending: 1, unlabelled: 0 },
      all: {
        rows: 1,
        precision: { value: null },
        why: 'not enough labels: 1 of 10 blocks in which it happened',
      },
    })
    expect(await bench.call('GET', `/api/v1/ml/models/${OTHER}/performance?window=1y`)).toMatchObject({
      status: 400,
    })
    expect((await bench.call('GET', '/api/v1/ml/models/nobody/performance')).status).toBe(404)
    const activation = await bench.call('GET', `/api/v1/ml/models/${OTHER}/performance?window=activation`)
    expect(activation).toMatchObject({ status: 409, body: { code: 'not_ready' } })
    const alerts = await bench.call('GET', '/api/v1/ml/models/alerts')
    expect(alerts).toMatchObject({
      ...{ status: 200, body: { items: [], voluntary_moves: { allowed: expect.any(Boolean) } } },
    })
    const metrics = await bench.call('GET', '/metrics')
    expect(metrics.body).toMatch(/^understudy_voluntary_moves_allowed [01]$/m)

    const socket = new WebSocket(`${bench.url.replace('http', 'ws')}/api/v1/ml/predictions/live`, {
      headers: { authorization: `Bearer ${bench.adminToken}` },
    })
    await new Promise((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', reject)
    })
    socket.close()
  })
})

/** Two pools: one whose price never moved, one that has begun to rise by steps. */
function addPrices({ db }: Bench): Promise<void> {
  const now = Date.now()
  const rising = Array.from({ length: 14 }, (_, i) => ({
    at: now - (14 - i) * 2 * HOUR,
    price: Math.round(80_000 * 1.04 ** (i + 1)),
  }))
  return addHistory(db, { [CALM]: [{ price: 40_000 }], [RISING]: [{ price: 80_000 }, ...rising] })
}
