import { systemClock } from '@understudy/shared/core/time'
import type { LabFrame } from '@understudy/shared/protocol/lab'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { defineLab, findLabModel } from '../../coordinator/src/demo/lab-story.ts'
import { type Bench, startBench } from './bench.ts'

/** The examples of the Lab's page, as they are written there. */
const examples = {
  assign: `curl -X POST http://localhost:8000/api/v1/lab/assign-model \\
  -H "Content-Type: application/json" \\
  -d '{
    "instance_id": "i-lab-test-001",
    "model_id": "model-002"
  }'`,
  evaluate: `curl -X POST http://localhost:8000/api/v1/evaluate \\
  -H "Content-Type: application/json" \\
  -d '{
    "instance_type": "c5.large",
    "availability_zone": "ap-south-1a",
    "instance_id": "i-lab-test-001"
  }'`,
  status: 'curl http://localhost:8000/api/v1/lab/pipeline-status/i-lab-test-001',
}

/** What curl would send: its method, headers and body as the command has them. */
async function curl(url: string, command: string) {
  const [, method = 'GET'] = /-X (\w+)/.exec(command) ?? []
  const [, address = ''] = /(http:\/\/localhost:8000\S*)/.exec(command) ?? []
  const [, body] = /-d '([^']*)'/.exec(command) ?? []
  const headers = [...command.matchAll(/-H "([^:]+): ([^"]+)"/g)].map(
    ([, name = '', value = '']) => [name, value] as [string, string],
  )
  const response = await fetch(address.replace('http://localhost:8000', url), {
    method,
    headers,
    ...(body === undefined ? {} : { body }),
  })
  return {
    status: response.status,
    body: (await response.json()) as Record<string, unknown> & { [key: string]: never },
  }
}

/** A page that looks at one target. */
async function listen(url: string, target: string) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/lab/live?instance_id=${target}`)
  const frames: LabFrame[] = []
  const waiting = new Set<() => void>()
  socket.addEventListener('message', ({ data }) => {
    frames.push(JSON.parse(String(data)))
    for (const look of waiting) look()
  })
  const until = (is: (frame: LabFrame) => boolean) =>
    new Promise<LabFrame>((resolve) => {
      const look = () => {
        const found = frames.find(is)
        if (!found) return
        waiting.delete(look)
        resolve(found)
      }
      waiting.add(look)
      look()
    })
  await until(({ type }) => type === 'snapshot')
  return { until, close: () => socket.close() }
}

describe('the Lab of the demo', () => {
  let bench: Bench
  beforeAll(async () => {
    bench = await startBench({ mode: 'demo' })
    await defineLab(bench.url, findLabModel() ?? '')
  }, 180_000)
  afterAll(() => bench.close())

  const get = async (path: string) => (await bench.call('GET', path)).body

  test('its examples run as they are written, one after the other', async () => {
    const assigned = await curl(bench.url, examples.assign)
    expect(assigned).toMatchObject({
      status: 200,
      body: {
        status: 'updated',
        mode: 'Lab Experiment Active',
        instance_id: 'i-lab-test-001',
        model_id: 'model-002',
      },
    })
    const evaluated = await curl(bench.url, examples.evaluate)
    expect(evaluated.status).toBe(200)
    // No price of that region is known here.
    expect(evaluated.body).toMatchObject({ decision: 'STAY', code: 'ADVISOR_FALLBACK', target: null })
    const [input] = evaluated.body.trace ?? []
    expect(input).toMatchObject({ stage: 'input', in: 0, out: 0 })

    const { status, body } = await curl(bench.url, examples.status)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      instance_id: 'i-lab-test-001',
      pipeline_mode: 'SINGLE_LINEAR',
      scraper: { status: 'active', description: 'Fetching real-time spot prices' },
      bin_packing: { status: 'disabled', description: 'Bypassed in Lab Mode' },
      right_sizing: { status: 'disabled', description: 'Bypassed in Lab Mode' },
      ml_inference: { status: 'active', model_id: 'model-002' },
    })
    const logs = await get('/api/v1/lab/experiments/i-lab-test-001')
    expect(logs.items).toHaveLength(1)
    expect(logs.items[0]).toMatchObject({
      id: evaluated.body.decision_id,
      instance_id: 'i-lab-test-001',
      acted: false,
    })
    expect(body.last_decision).toMatchObject({ decision_id: evaluated.body.decision_id })
  })

  test('three versions have short names, and each has passed its trial', async () => {
    const { items } = await get('/api/v1/lab/models')
    const named = items.filter(({ id }: { id: string }) => /^model-00\d$/.test(id))
    expect(named.map(({ id, name }: { id: string; name: string }) => `${id} ${name}`).sort()).toEqual([
      'model-001 price-instability',
      'model-002 price-instability-cautious',
      'model-003 price-instability-two-level',
    ])
    expect(named.every(({ is_active: usable }: { is_active: boolean }) => usable)).toBe(true)
    const id = (short: string) => named.find((model: { id: string }) => model.id === short).model_id
    const { body } = await bench.call('GET', `/api/v1/ml/models/${id('model-003')}/details`)
    expect(body.qualification.golden_rows).toBeGreaterThanOrEqual(10)
  })

  test('another version answers from the next call on, and the first one is free again', async () => {
    const assign = (model: string) =>
      bench.call('POST', '/api/v1/lab/assign-model', { instance_id: 'i-lab-gpu-001', model_id: model })
    const start = systemClock.mono()
    expect(await assign('model-003')).toMatchObject({ status: 200, body: { model_id: 'model-003' } })
    expect(systemClock.mono() - start).toBeLessThan(30_000)
    const first = (await get('/api/v1/lab/config/i-lab-gpu-001')).assigned_model_id
    expect((await bench.call('DELETE', `/api/v1/ml/models/${first}`)).body).toMatchObject({
      code: 'conflict',
      facts: { used_by: ['lab:i-lab-gpu-001', 'the configuration of i-lab-gpu-001'] },
    })
    await assign('model-001')
    expect(await get('/api/v1/lab/pipeline-status/i-lab-gpu-001')).toMatchObject({
      ml_inference: { status: 'active', model_id: 'model-001' },
    })
    const { items } = await get('/api/v1/ml/models/activations')
    expect(items.slice(0, 2).map(({ alias, reason }: Record<string, string>) => [alias, reason])).toEqual([
      ['lab:i-lab-gpu-001', 'assigned to i-lab-gpu-001'],
      ['lab:i-lab-gpu-001', 'assigned to i-lab-gpu-001'],
    ])
  })

  test('a model is taken back by setting it to null, and nothing else changes', async () => {
    const put = (body: unknown) => bench.call('PUT', '/api/v1/lab/config/i-lab-gpu-001', body)
    expect((await put({ assigned_model_id: null })).body).toMatchObject({
      assigned_model_id: null,
      pipeline_mode: 'SINGLE_LINEAR',
      aws_region: 'ap-south-1',
    })
    expect(await get('/api/v1/lab/pipeline-status/i-lab-gpu-001')).toMatchObject({
      ml_inference: { status: 'active', description: 'The active model: none is assigned' },
    })
    expect((await put({ pipeline_mode: 'CLUSTER_FULL', enable_bin_packing: false })).body).toMatchObject({
      pipeline_mode: 'CLUSTER_FULL',
      enable_bin_packing: false,
      enable_right_sizing: true,
    })
    const status = await get('/api/v1/lab/pipeline-status/i-lab-gpu-001')
    expect(status.bin_packing).toEqual({
      status: 'disabled',
      description: 'Switched off in the configuration of the instance',
    })
    expect(status.steps).toEqual([])
  })

  test('live is for accounts that are for experiments', async () => {
    const live = (id: string) => bench.call('PUT', `/api/v1/lab/config/${id}`, { actuator_level: 'live' })
    await bench.call('POST', '/api/v1/lab/assign-model', { instance_id: 'i-xyz', model_id: 'model-001' })
    const refused = await live('i-xyz')
    expect(refused).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(refused.body.detail).toContain('PRODUCTION')
    expect(await get('/api/v1/lab/config/i-xyz')).toMatchObject({ actuator_level: 'dry_run' })
    expect((await live('i-lab-test-001')).body).toMatchObject({ actuator_level: 'live' })
  })

  test('what is not there is said, and changes nothing', async () => {
    const assign = (body: unknown) => bench.call('POST', '/api/v1/lab/assign-model', body)
    expect(await assign({ instance_id: 'i-none', model_id: 'model-999' })).toMatchObject({
      status: 404,
      body: { code: 'not_found', hint: 'GET /api/v1/lab/models lists them.' },
    })
    expect(await get('/api/v1/lab/config/i-none')).toMatchObject({
      pipeline_mode: 'CLUSTER_FULL',
      assigned_model_id: null,
      updated_at: null,
    })
    expect(await assign({ instance_id: '../etc', model_id: 'model-001' })).toMatchObject({ status: 400 })
    expect(await bench.call('GET', '/api/v1/lab/experiments/model/model-999')).toMatchObject({ status: 404 })
    expect(await bench.call('PUT', '/api/v1/lab/config/i-none', { colour: 1 })).toMatchObject({ status: 400 })
    expect(await bench.call('GET', '/api/v1/lab/experiments/i-none?cursor=x')).toMatchObject({ status: 400 })
    expect((await get('/api/v1/lab/experiments/i-none')).items).toEqual([])
  })

  test('an experiment is registered with what it will take, runs in the shadow, and is stopped', async () => {
    const plan = {
      hypothesis: 'doubled odds have the smaller loss',
      arms: [
        { name: 'control', model_id: 'model-001', weight: 5000 },
        { name: 'treatment', model_id: 'model-002', weight: 5000 },
      ],
    }
    const post = (path: string, body: unknown = {}, headers = {}) =>
      bench.call('POST', `/api/v1/lab/experiments${path}`, body, headers)
    const { status, body } = await post('', plan, { 'idempotency-key': 'one' })
    expect(status).toBe(201)
    expect(body).toMatchObject({
      status: 'REGISTERED',
      kind: 'shadow',
      metric: 'brier',
      unit: 'row',
      alpha: 0.05,
    })
    expect(body.estimate.summary).not.toBe('')
    expect((await post('', plan, { 'idempotency-key': 'one' })).body.experiment_id).toBe(body.experiment_id)
    const id = body.experiment_id
    const heard = await listen(bench.url, 'i-lab-test-001')
    expect((await get('/api/v1/lab/experiments')).items).toMatchObject([{ experiment_id: id }])
    expect((await post(`/${id}/start`)).body).toMatchObject({ status: 'RUNNING' })
    // Whoever looks at a target sees it, and what is said of the target is what the calls say.
    const patch = await heard.until(({ experiments }) => experiments?.[0]?.status === 'RUNNING')
    expect(patch).toMatchObject({ type: 'patch', experiments: [{ experiment_id: id }] })
    const { status: told, config } = await heard.until(({ type }) => type === 'snapshot')
    expect(told).toEqual(await get('/api/v1/lab/pipeline-status/i-lab-test-001'))
    expect(config).toEqual(await get('/api/v1/lab/config/i-lab-test-001'))
    heard.close()
    expect(await get(`/api/v1/lab/experiments/${id}/results`)).toMatchObject({
      verdict: { verdict: 'INSUFFICIENT', winner: null },
      treatments: [{ arm: 'treatment', blocks: 0 }],
    })
    const { items } = await get('/api/v1/lab/models')
    const shadows = items
      .flatMap(({ aliases }: { aliases: string[] }) => aliases)
      .filter((a: string) => a.startsWith('shadow:'))
    expect(shadows.sort()).toEqual([`shadow:${id}.0`, `shadow:${id}.1`])
    expect((await post(`/${id}/stop`)).body).toMatchObject({ status: 'ENDED', verdict: null })
    expect((await post(`/${id}/start`)).status).toBe(409)
    expect((await post('', { ...plan, metric: 'interruption_rate' })).status).toBe(400)
    expect((await post('/exp-000000000000/stop')).status).toBe(404)
  })

  test('a version without a decision has a performance of nothing', async () => {
    expect(await get('/api/v1/lab/experiments/model/model-003')).toMatchObject({
      name: 'price-instability-two-level',
      total_experiments: 0,
      switch_rate: 0,
      switch_rate_interval: null,
      total_savings: 0,
      degraded: [],
    })
  })
})

describe('who may do what in the Lab', () => {
  let bench: Bench
  beforeAll(async () => {
    bench = await startBench()
  })
  afterAll(() => bench.close())

  test('viewers look, operators change, and only an admin says what an account is for', async () => {
    const viewer = { authorization: `Bearer ${await bench.operatorToken('viewer')}` }
    const operator = { authorization: `Bearer ${await bench.operatorToken('operator')}` }
    const config = '/api/v1/lab/config/i-lab-test-001'
    expect((await bench.call('GET', config, undefined, viewer)).status).toBe(200)
    expect((await bench.call('GET', config, undefined, { authorization: '' })).status).toBe(401)
    for (const live of ['/api/v1/lab/live', '/api/v1/lab/live?instance_id=a&more=b'])
      expect(await bench.call('GET', live, undefined, viewer)).toMatchObject({
        status: 400,
        body: { code: 'input_invalid' },
      })
    const live = '/api/v1/lab/live?instance_id=a'
    expect((await bench.call('GET', live, undefined, { authorization: '' })).status).toBe(401)
    expect((await bench.call('PUT', config, { enabled: false }, viewer)).status).toBe(403)
    expect((await bench.call('PUT', config, { enabled: false }, operator)).status).toBe(200)
    const internal = { account_environment: 'LAB_INTERNAL' }
    expect(await bench.call('PUT', config, internal, operator)).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    })
    expect((await bench.call('PUT', config, internal)).body).toMatchObject(internal)
    const assign = { instance_id: 'i-lab-test-001', model_id: 'model-001' }
    expect((await bench.call('POST', '/api/v1/lab/assign-model', assign, viewer)).status).toBe(403)
    for (const path of ['', '/exp-000000000000/start', '/exp-000000000000/stop'])
      expect((await bench.call('POST', `/api/v1/lab/experiments${path}`, {}, viewer)).status).toBe(403)
    const lines = await bench.db
      .selectFrom('audit_log')
      .selectAll()
      .where('action', '=', 'lab.config')
      .execute()
    expect(lines.map(({ actor, object }) => `${actor} ${object}`)).toEqual([
      'operator i-lab-test-001',
      'test i-lab-test-001',
    ])
    expect(JSON.parse(lines[1]?.after ?? '{}')).toMatchObject(internal)
  })
})
