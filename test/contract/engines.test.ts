import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDecisionStore } from '../../coordinator/src/pipeline/pipeline.ts'
import type { Dialect } from '../../coordinator/src/storage/dialect.ts'
import { dialects } from '../../coordinator/src/storage/testing.ts'
import {
  engineListSchema,
  enginePageSchema,
  selectEngineResultSchema,
  testEngineResultSchema,
} from '../../shared/src/protocol/engines.ts'
import { spotOptimizeResponseSchema, spotOutputSchema } from '../../shared/src/protocol/spot-optimizer.ts'
import { type Bench, startBench } from './bench.ts'

/** Engines over the real API: which there are, which counts and how it is set, and what one makes of an input. */

const ID = 'spot_optimizer_v1'
const POOL = { instance_type: 'm5.large', availability_zone: 'us-east-1a' }
const WANTED = {
  requirements: { vcpu: 2, memory_gib: 8, count: 6 },
  constraints: { region: 'us-east-1' },
}

describe.each(dialects)('engines on %s', (dialect: Dialect) => {
  let bench: Bench
  let viewer: Record<string, string>
  beforeAll(async () => {
    bench = await startBench({ dialect })
    viewer = { authorization: `Bearer ${await bench.operatorToken('viewer')}` }
  }, 60_000)
  afterAll(() => bench.close())

  const get = (path: string, headers?: Record<string, string>) =>
    bench.call('GET', `/api/v1/ml/engines/${path}`, undefined, headers)
  const select = (body: unknown, headers?: Record<string, string>) =>
    bench.call('POST', '/api/v1/ml/engines/select', body, headers)
  const tryOut = (body: unknown, id = ID) => bench.call('POST', `/api/v1/ml/engines/${id}/test`, body, viewer)
  const decide = (what: string, body: unknown) =>
    bench.call('POST', `/api/v1/ml/decision/${what}`, body, viewer)
  const page = async () => enginePageSchema.parse((await get(`${ID}/metadata`, viewer)).body)
  const kept = () =>
    bench.db
      .selectFrom('decision_execution_log')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
      .then(({ count }) => Number(count))
  const changes = async () =>
    (await bench.call('GET', '/api/audit?action=engine.select')).body.items as { after: unknown }[]

  test('the list is what is there, and each says what it takes and gives', async () => {
    const { items } = engineListSchema.parse((await get('list', viewer)).body)
    expect(items).toMatchObject([
      {
        ...{ engine_id: ID, name: 'Spot optimizer', version: '1.0.0', decision: 'spot-optimize' },
        ...{ active: true, enabled: false, agreement_rate: null },
        ...{ last_execution_time_ms: null, last_decision_at: null },
      },
    ])
    const { input_schema: input, config_schema: config, revision, selected_by: by } = await page()
    expect(input).toMatchObject({ type: 'object', required: ['now', 'offers'], additionalProperties: false })
    expect(config).toMatchObject({ properties: { ranking: { enum: expect.arrayContaining(['seed-v1']) } } })
    expect([revision, by]).toEqual([0, null])
    expect(
      await bench.call('GET', '/api/v1/ml/engines/list', undefined, { authorization: '' }),
    ).toMatchObject({
      status: 401,
    })
  })

  test('its sample is tried: output and time, and nothing is kept', async () => {
    const { sample } = await page()
    const { status, body } = await tryOut({ input: sample })
    expect(status).toBe(200)
    const { output, execution_time_ms: took, recorded } = testEngineResultSchema.parse(body)
    expect(spotOutputSchema.parse(output)).toMatchObject({ decision: 'SWITCH', code: 'CHEAPER' })
    expect(took).toBeGreaterThan(0)
    expect([recorded, await kept(), await changes()]).toEqual([false, 0, []])
    const other = await tryOut({ input: sample, config: { min_gain: 1 } })
    expect(other.body).toMatchObject({ config: { min_gain: 1 }, output: { decision: 'STAY' } })
    expect((await page()).config).toEqual({})
    const { body: after } = await get('list')
    expect(after.items[0].last_execution_time_ms).toBeNull()
  })

  test('what is wrong with an input is said with its place', async () => {
    const { sample } = await page()
    const input = { ...(sample as object), now: 'noon', offers: [{ ...POOL, spot_price: 'cheap' }], extra: 1 }
    const { status, body } = await tryOut({ input })
    expect([status, body.code]).toEqual([400, 'input_invalid'])
    expect(body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual([
      '/input/extra',
      '/input/now',
      '/input/offers/0/memory_gib',
      '/input/offers/0/price_at',
      '/input/offers/0/spot_price',
      '/input/offers/0/vcpu',
    ])
    expect(await tryOut({})).toMatchObject({ status: 400, body: { errors: [{ pointer: '/input' }] } })
    expect(await tryOut({ input: sample, config: { min_gain: -1 } })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/config/min_gain' }] },
    })
    expect(await tryOut({ input: sample, more: 1 })).toMatchObject({ status: 400 })
  })

  test('it is set by who may, after a dry run, and every decision from then on is by that', async () => {
    const config = { ranking: 'seed-linear', max_pool_share: 0.5 }
    const wish = { engine_id: ID, config, expected_revision: 0 }
    expect(await select(wish, viewer)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
    const dry = selectEngineResultSchema.parse((await select({ ...wish, dry_run: true })).body)
    expect(dry).toMatchObject({
      changed: true,
      dry_run: true,
      revision: 0,
      before: { config: {} },
      after: { config },
    })
    expect([(await page()).revision, await changes()]).toEqual([0, []])

    const operator = { authorization: `Bearer ${await bench.operatorToken('operator')}` }
    const keyed = { ...operator, 'idempotency-key': 'set-once' }
    const { status, body } = await select(wish, keyed)
    expect([status, body]).toMatchObject([
      200,
      { changed: true, revision: 1, after: { engine_id: ID, config } },
    ])
    expect((await select(wish, keyed)).body).toEqual(body)
    expect(await page()).toMatchObject({ config, revision: 1, selected_by: 'operator', active: true })
    expect(await changes()).toMatchObject([
      { actor: 'operator', object: ID, before: { config: {} }, after: { engine_id: ID, config } },
    ])

    const { body: made } = await bench.call('POST', '/api/v1/evaluate', POOL)
    const { outcome, same } = await createDecisionStore(bench.db).replay(made.decision_id)
    expect([outcome.ranked[0]?.score?.policy, same]).toEqual(['seed-linear', true])
    const { body: list } = await get('list')
    expect(list.items[0]).toMatchObject({
      last_execution_time_ms: made.execution_time_ms,
      last_decision_at: made.at,
    })
  })

  test('who has looked before that is told, and what cannot be set is refused', async () => {
    expect(await select({ engine_id: ID, config: {}, expected_revision: 0 })).toMatchObject({
      status: 409,
      body: { code: 'conflict', facts: { revision: 1, selected_by: 'operator' } },
    })
    expect(await select({ engine_id: ID, config: { ranking: 'best', more: 1 } })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/config/ranking' }, { pointer: '/config/more' }] },
    })
    expect(await select({ config: {} })).toMatchObject({ status: 400 })
    expect((await page()).revision).toBe(1)
  })

  test('it is asked where instances would run best, and nothing is kept', async () => {
    const before = await kept()
    const { status, body } = await decide('spot-optimize', { cluster_id: 'shop', ...WANTED })
    expect(status).toBe(200)
    const answer = spotOptimizeResponseSchema.parse(body)
    expect(answer).toMatchObject({
      ...{ cluster_id: 'shop', code: 'PLACE', engine_id: ID, risk_source: 'ADVISOR_FALLBACK' },
      ...{ model: null, unplaced: 0, savings_against: 'on-demand' },
    })
    const plan = answer.execution_plan
    const [best] = answer.recommendations
    // At most half of them in one pool, as it was set.
    expect(plan[0]).toEqual({ step: 1, action: 'LAUNCH', pool_id: best?.pool_id, count: 3 })
    expect(Math.max(...plan.map(({ count }) => count))).toBe(3)
    expect(plan.reduce((sum, { count }) => sum + count, 0)).toBe(6)
    expect(answer.model_failure).not.toBeNull()
    expect(answer.estimated_savings).toBeGreaterThan(0)
    expect(answer.skipped.TOO_LITTLE_MEMORY).toBeGreaterThan(0)
    const zone = { ...WANTED.constraints, availability_zones: ['us-east-1b'], excluded_families: ['m5'] }
    const { body: narrow } = await decide('spot-optimize', { ...WANTED, constraints: zone })
    const pools = narrow.recommendations.map(({ pool_id: id }: { pool_id: string }) => id)
    expect(pools.length).toBeGreaterThan(0)
    for (const pool of pools) expect(pool).toMatch(/^(?!m5\.).*@us-east-1b$/)
    expect(await kept()).toBe(before)
    const huge = { ...WANTED, requirements: { vcpu: 4096, memory_gib: 8 } }
    expect((await decide('spot-optimize', huge)).body).toMatchObject({
      ...{ code: 'NO_CANDIDATE', alert: 'NO_CANDIDATE', suggestion: 'ON_DEMAND_FALLBACK' },
      ...{ recommendations: [], execution_plan: [], estimated_savings: null, unplaced: 1 },
    })
    const nowhere = { ...WANTED, constraints: { region: 'mars' } }
    expect(await decide('spot-optimize', nowhere)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/constraints/region' }] },
    })
  })

  test('what is not there yet is said to be so, with what is', async () => {
    const there = { facts: { engines: [{ engine_id: ID, decision: 'spot-optimize' }] } }
    const missing = (what: string) => ({
      status: 404,
      body: { code: 'not_found', detail: what, hint: expect.stringContaining(ID), ...there },
    })
    const later = 'no engine for bin-pack is part of this version yet'
    expect(await decide('bin-pack', {})).toMatchObject(missing(later))
    expect(await get('bin-pack/metadata')).toMatchObject(missing(later))
    expect(await decide('fly', {})).toMatchObject(missing('there is no decision fly'))
    const unknown = missing('there is no engine bin_packing_v1')
    expect(await select({ engine_id: 'bin_packing_v1' })).toMatchObject(unknown)
    expect(await tryOut({ input: {} }, 'bin_packing_v1')).toMatchObject(unknown)
    expect(await get('no%20id/metadata')).toMatchObject({ status: 400 })
    const nobody = { authorization: '' }
    expect(await bench.call('POST', '/api/v1/ml/decision/bin-pack', {}, nobody)).toMatchObject({
      status: 401,
    })
  })

  test('how it is set outlives the coordinator', async () => {
    await bench.stop()
    await bench.start()
    expect(await page()).toMatchObject({ config: { ranking: 'seed-linear' }, revision: 1 })
    const back = await select({ engine_id: ID, config: {} })
    expect(back.body).toMatchObject({ changed: true, revision: 2, after: { config: {} } })
  })
})
