import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { parseInvocation } from '../../coordinator/src/command-line.ts'
import { decide } from '../../coordinator/src/commands/decide.ts'
import { createInstanceConfigs } from '../../coordinator/src/pipeline/instance-configs.ts'
import { createDecisionStore } from '../../coordinator/src/pipeline/pipeline.ts'
import type { Dialect } from '../../coordinator/src/storage/dialect.ts'
import { dialects } from '../../coordinator/src/storage/testing.ts'
import { systemClock } from '../../shared/src/core/time.ts'
import type { DecisionFrame } from '../../shared/src/protocol/decision-log.ts'
import { type Bench, startBench } from './bench.ts'
import type { Puppet } from './puppet.ts'

/** What the pipeline decides over the real API, in the simulated region, and that it can be decided again. */

const POOL = { instance_type: 'm5.large', availability_zone: 'us-east-1a' }

describe.each(dialects)('decisions on %s', (dialect: Dialect) => {
  let bench: Bench
  let primary: Puppet
  beforeAll(async () => {
    bench = await startBench({ dialect })
    primary = await bench.primary('a', 'm5.large@us-east-1a')
  }, 60_000)
  afterAll(() => bench.close())

  const evaluate = (body: unknown, headers?: Record<string, string>) =>
    bench.call('POST', '/api/v1/evaluate', body, headers)

  test('without a model it stays, and says that only signals would move it', async () => {
    const { status, body } = await evaluate(POOL)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      decision: 'STAY',
      code: 'ADVISOR_FALLBACK',
      crash_probability: null,
      aws_signal: 'NONE',
      risk_source: 'ADVISOR_FALLBACK',
      pipeline_mode: 'CLUSTER_FULL',
      alert: 'ADVISOR_FALLBACK',
      target: null,
    })
    expect(body.p_interruption_12h).toBeGreaterThan(0)
    expect(body.execution_time_ms).toBeGreaterThan(0)
    expect(body.trace.map(({ stage }: { stage: string }) => stage)).toEqual([
      'input',
      'hardware',
      'right_sizing',
      'spot_advisor',
      'risk',
      'safety_gate',
      'bin_packing',
      'ranking',
    ])
    const [, hardware] = body.trace
    expect(hardware.in).toBe(20)
    // The compute types have 4 GiB, and 8 are needed.
    expect(hardware.dropped).toHaveLength(8)
    expect(hardware.dropped[0]).toMatchObject({ code: 'TOO_LITTLE_MEMORY' })
  })

  test('an open termination notice evacuates, and the decision can be made again', async () => {
    const at = Date.now()
    await bench.db
      .insertInto('spot_interruption_events')
      .values({
        ...{ id: crypto.randomUUID(), agent_id: 'a', instance_id: primary.instance },
        ...{ signal_type: 'termination-notice', trigger: 'notice', detected_at: at, deadline_at: at + 1000 },
        ...{ seen_via: 'test', response_action: '', outcome: '', outcome_reason: '', failover_completed: 0 },
        old_epoch: 1,
      })
      .execute()
    const { body } = await evaluate({ ...POOL, instance_id: primary.instance })
    expect(body).toMatchObject({
      decision: 'EVACUATE',
      reason: 'AWS Termination Notice received',
      aws_signal: 'TERMINATION',
      action: 'EVACUATE',
    })
    expect(body.target.pool_id).not.toBe('m5.large@us-east-1a')

    const store = createDecisionStore(bench.db)
    const replayed = await store.replay(body.decision_id)
    expect(replayed).toMatchObject({ same: true, outcome: { decision: { decision: 'EVACUATE' } } })
    const trace = await bench.call('GET', `/api/v1/ml/decisions/${body.decision_id}/trace`)
    expect(trace).toMatchObject({ status: 200, body: { decision_id: body.decision_id, same: true } })
    const timeless = body.trace.map(({ ms: _, ...stage }: { ms: number }) => stage)
    expect(trace.body.trace).toEqual(timeless)
    expect(trace.body.ranked.length).toBeGreaterThan(0)
    const unknown = await bench.call('GET', `/api/v1/ml/decisions/${crypto.randomUUID()}/trace`)
    expect(unknown).toMatchObject({ status: 404, body: { code: 'not_found' } })
    await bench.db
      .updateTable('decision_execution_log')
      .set({ outcome_sha256: 'other' })
      .where('id', '=', body.decision_id)
      .execute()
    expect((await store.replay(body.decision_id)).same).toBe(false)
    await expect(store.replay('00000000-0000-4000-8000-000000000000')).rejects.toThrow('there is no decision')
  })

  test('a target goes the way of its configuration, and a made-up signal is taken in TEST', async () => {
    const { body: before } = await evaluate({ ...POOL, instance_id: primary.instance })
    await createInstanceConfigs(bench.db, systemClock).put('a', { pipelineMode: 'SINGLE_LINEAR' }, 'ada')
    const asked = { ...POOL, instance_id: primary.instance, aws_signal: 'REBALANCE' }
    const { body } = await evaluate(asked)
    expect([before.pipeline_mode, body.pipeline_mode]).toEqual(['CLUSTER_FULL', 'SINGLE_LINEAR'])
    const stages = body.trace.map(({ stage }: { stage: string }) => stage)
    expect(stages).toEqual([
      'input',
      'hardware',
      'right_sizing',
      'spot_advisor',
      'risk',
      'safety_gate',
      'ranking',
    ])
    expect((await createDecisionStore(bench.db).replay(body.decision_id)).same).toBe(true)
  })

  test('a cycle by hand: listed, streamed and counted; nothing is done by itself', async () => {
    const token = await bench.operatorToken('viewer')
    const socket = new WebSocket(`${bench.url.replace('http', 'ws')}/api/v1/ml/decisions/live`, {
      headers: { authorization: `Bearer ${token}` },
    })
    const frames: DecisionFrame[] = []
    const until = (type: DecisionFrame['type']) =>
      new Promise<void>((resolve) => {
        const look = () => frames.some((frame) => frame.type === type) && resolve()
        socket.on('message', look)
        look()
      })
    socket.on('message', (text) => frames.push(JSON.parse(String(text))))
    await until('snapshot')
    await createInstanceConfigs(bench.db, systemClock).put('a', { pipelineMode: 'CLUSTER_FULL' }, 'ada')

    const { status, body: cycle } = await bench.call('POST', '/api/v1/ml/decisions/run', {})
    expect(status).toBe(200)
    expect(cycle).toMatchObject({ agents: 1, acted: 0, skipped: [] })
    await until('cycle')
    socket.close()

    const { body: page } = await bench.call(
      'GET',
      `/api/v1/ml/decisions?cycle_id=${cycle.cycle_id}&agent_id=a`,
    )
    expect(page).toMatchObject({
      items: [
        { agent_id: 'a', instance_id: primary.instance, pool_id: 'm5.large@us-east-1a', actuator: 'plan' },
      ],
      next: null,
    })
    // What is streamed is what is stored.
    expect(frames.find(({ type }) => type === 'decisions')).toMatchObject({ items: page.items })
    expect((await createDecisionStore(bench.db).replay(page.items[0].id)).same).toBe(true)
    const metrics = await (await fetch(`${bench.url}/metrics`)).text()
    expect(metrics).toMatch(/^spot_decision_total{decision="EVACUATE"} [1-9]/m)
    expect(metrics).toMatch(/^spot_pipeline_duration_ms_count [1-9]/m)

    const first = await bench.call('GET', '/api/v1/ml/decisions?limit=1')
    const second = await bench.call('GET', `/api/v1/ml/decisions?limit=1&cursor=${first.body.next}`)
    expect(second.body.items[0].id).not.toBe(first.body.items[0].id)
    expect(await bench.call('GET', '/api/v1/ml/decisions?cursor=nonsense')).toMatchObject({ status: 400 })
    const viewer = { authorization: `Bearer ${token}` }
    expect(await bench.call('POST', '/api/v1/ml/decisions/run', {}, viewer)).toMatchObject({ status: 403 })
  })

  test('the command for a cycle by hand shows what was decided for each agent, and what it lacks', async () => {
    let said = ''
    async function run(env: Record<string, string>, ...flags: string[]) {
      const invocation = parseInvocation(['decide', ...flags])
      if (typeof invocation === 'string') throw new Error(invocation)
      let out = ''
      const add = (text: string) => {
        out += text
        return 0
      }
      const say = (text: string) => {
        said += text
        return 0
      }
      return { exit: await decide(invocation, add, { env, say }), out }
    }
    const env = { COORDINATOR_URL: `${bench.url}/`, COORDINATOR_TOKEN: await bench.operatorToken('operator') }
    const { exit, out } = await run(env)
    expect(exit).toBe(0)
    expect(said).toMatch(/decides for the whole fleet\n1 agents in [\d.]+ s/)
    const [head, row, sum] = out.split('\n')
    expect(head).toMatch(/^AGENT +POOL +DECISION +TO +GAIN\/H +RESULT +REASON$/)
    expect(row).toMatch(/^a +m5\.large@us-east-1a +EVACUATE .*AWS Termination Notice/)
    expect(sum).toMatch(/^1 EVACUATE; 0 begun, with a budget of 0 \(cycle [0-9a-f-]{36}\)$/)

    const { cycle, decisions, schema } = JSON.parse((await run(env, '--json')).out)
    expect(schema).toBe('understudy.decide/v1')
    expect(cycle).toMatchObject({ by: 'operator', agents: 1, decisions: { EVACUATE: 1 } })
    expect(decisions).toMatchObject([{ agent_id: 'a', cycle_id: cycle.cycle_id }])

    const viewer = { ...env, COORDINATOR_TOKEN: await bench.operatorToken('viewer') }
    await expect(run(viewer)).rejects.toMatchObject({ code: 'forbidden' })
    const none = run({}, '--url', bench.url)
    await expect(none).rejects.toMatchObject({
      code: 'unauthenticated',
      hint: expect.stringContaining('--token-file'),
    })
    await expect(run({}, '--url', 'http://127.0.0.1:9')).rejects.toMatchObject({ code: 'unavailable' })
    await expect(run({}, '--url', 'ftp://x')).rejects.toThrow('no address of a coordinator')
    await expect(run(env, '--token-file', '/nowhere')).rejects.toThrow('/nowhere cannot be read')
    await expect(run(env, '--database', 'x.db')).rejects.toThrow('decide has no option --database')
    expect(() => parseInvocation(['decide', 'a'])).toThrow('decide takes no "a"')
  })

  test('the account of an instance is known by its document, and an admin says what it is for', async () => {
    const account = { account_id: '123456789012', environment_type: null, instances: 1, updated_by: null }
    expect((await bench.call('GET', '/api/accounts')).body.items).toMatchObject([account])
    const put = (body: unknown, headers?: Record<string, string>) =>
      bench.call('PUT', '/api/accounts/123456789012', body, headers)
    const operator = { authorization: `Bearer ${await bench.operatorToken('operator')}` }
    expect(await put({ environment_type: 'LAB_INTERNAL' }, operator)).toMatchObject({ status: 403 })
    expect(await put({ environment_type: 'STAGING' })).toMatchObject({ status: 400 })
    expect(await bench.call('PUT', '/api/accounts/12', { environment_type: 'PRODUCTION' })).toMatchObject({
      status: 400,
    })
    expect(await put({ environment_type: 'PRODUCTION', name: 'shop' })).toMatchObject({
      status: 200,
      body: { name: 'shop', environment_type: 'PRODUCTION', instances: 1, updated_by: 'test' },
    })
    const config = { account_environment: 'LAB_INTERNAL' }
    expect(await bench.call('PUT', '/api/v1/lab/config/a', config)).toMatchObject({
      status: 409,
      body: { hint: expect.stringContaining('PUT /api/accounts/123456789012') },
    })
    await put({ environment_type: 'LAB_INTERNAL' })
    expect((await bench.call('GET', '/api/v1/lab/config/a')).body).toMatchObject(config)
  })

  test('what is not known is said, and nobody without the role decides', async () => {
    expect(await evaluate({ ...POOL, instance_type: 'x9.huge' })).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
    expect(await evaluate({ ...POOL, instance_id: 'i-0ffffffffffffffff' })).toMatchObject({ status: 404 })
    expect(await evaluate({ ...POOL, more: 1 })).toMatchObject({ status: 400 })
    expect(await evaluate({ ...POOL, availability_zone: 'mars' })).toMatchObject({ status: 400 })
    const viewer = { authorization: `Bearer ${await bench.operatorToken('viewer')}` }
    expect(await evaluate(POOL, viewer)).toMatchObject({ status: 403 })
  })
})
