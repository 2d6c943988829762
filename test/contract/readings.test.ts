import { isDeepStrictEqual } from 'node:util'
import type { ReadingName, WatchRequest } from '@understudy/shared/protocol/readings'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { defineLab, findLabModel } from '../../coordinator/src/demo/lab-story.ts'
import { readingKinds } from '../../coordinator/src/readings/readings.ts'
import { type Bench, startBench, until } from './bench.ts'
import { addHistory } from './own-model.ts'
import { addressOf, openReadings, type ReadingsPage } from './readings-page.ts'

/** What pages show over the real socket: each reading is what its GET answers, and stays that. */

const POOL = 'm5.large@us-east-1a'
const LAB = '/api/v1/lab'

/** What instances have run so far is in these, to the second: they are other numbers at every GET. */
const moving: ReadonlySet<ReadingName> = new Set(['savings', 'agent-savings', 'pool-risk'])
const rounded = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value), (_, one) => (typeof one === 'number' ? Math.round(one * 5) / 5 : one))

type Wish = Omit<WatchRequest, 'type' | 'id' | 'name'>

describe('readings of a coordinator with everything in it', () => {
  let bench: Bench
  let page: ReadingsPage
  let wishes: Readonly<Record<ReadingName, Wish>>
  let another = ''
  let ids: Readonly<Record<ReadingName, number>>
  const get = async (path: string) => (await bench.call('GET', path)).body

  beforeAll(async () => {
    const receivers = {
      text: 'receivers:\n  - { name: ops, kind: webhook, format: slack, url: "http://127.0.0.1:9/", allow_local: true }\n',
      env: {},
    }
    bench = await startBench({ mode: 'demo', receivers })
    await bench.primary('a', POOL)
    await addHistory(bench.db, { [POOL]: [{ price: 40_000 }, { at: Date.now() - 7_200_000, price: 42_000 }] })
    await defineLab(bench.url, findLabModel() ?? '')
    const { items } = await get('/api/v1/ml/models/list')
    const model = items.find(({ status }: { status: string }) => status === 'active').model_id
    another = items.find(({ status }: { status: string }) => status !== 'active').model_id
    const { body: experiment } = await bench.call('POST', `${LAB}/experiments`, {
      hypothesis: 'the cautious one has a smaller loss',
      kind: 'shadow',
      arms: [
        { name: 'control', model_id: 'model-001', weight: 5000 },
        { name: 'treatment', model_id: 'model-002', weight: 5000 },
      ],
    })
    const limit = (most: number) => ({ query: { limit: String(most) } })
    const of = (id: string) => ({ params: { id } })
    wishes = {
      pools: limit(1000),
      'pool-prices': { ...of(POOL), query: { points: '400' }, hours: 24 },
      'pool-risk': of(POOL),
      predictions: { query: { pool: POOL, limit: '2000' }, hours: 48 },
      'catalog-advisor': limit(1),
      'catalog-on-demand': limit(1),
      savings: { hours: 720 },
      'agent-savings': { ...of('a'), hours: 720 },
      switches: limit(100),
      'agent-switches': { ...of('a'), ...limit(100) },
      drills: { ...of('a'), ...limit(10) },
      models: limit(100),
      model: of(model),
      'model-performance': { ...of(model), query: { window: '7d' } },
      'model-activations': limit(20),
      'model-alerts': {},
      'model-uploads': {},
      'gap-fills': limit(20),
      'lab-models': limit(100),
      'lab-performance': of(model),
      'lab-config': of('i-lab-test-001'),
      'lab-status': of('i-lab-test-001'),
      experiments: limit(50),
      'lab-decisions': { ...of('i-lab-test-001'), ...limit(20) },
      'experiment-results': of(experiment.experiment_id),
      engines: {},
      engine: of('spot_optimizer_v1'),
      receivers: {},
      deliveries: limit(25),
      audit: { query: { limit: '50', object: 'a' } },
      settings: {},
    }
    ids = Object.fromEntries(Object.keys(wishes).map((name, i) => [name, i + 1])) as typeof ids
    page = await openReadings(bench.url)
  }, 300_000)
  afterAll(async () => {
    await page?.end()
    await bench?.close()
  })

  /** Until the page knows what GET answers; GET is asked for what the page was told. */
  const untilSame = (name: ReadingName) =>
    expect
      .poll(
        async () => {
          const { path, value } = page.known(ids[name])
          const answer = await get(path)
          const [mine, its] = moving.has(name) ? [rounded(value), rounded(answer)] : [value, answer]
          return isDeepStrictEqual(mine, its) || { path, value, answer }
        },
        { timeout: 20_000 },
      )
      .toBe(true)
  /** Of something else under the same id. */
  const watchAnew = async (name: ReadingName, wish: Wish) => {
    await page.watch(ids[name], { name, ...wish })
    framesOf(name).length = 0
  }
  const framesOf = (name: ReadingName) => page.known(ids[name]).frames

  test('each begins with what its GET answers', { timeout: 180_000 }, async () => {
    for (const name of Object.keys(readingKinds) as ReadingName[]) {
      const first = await page.watch(ids[name], { name, ...wishes[name] })
      expect([name, first]).toMatchObject([name, { type: 'snapshot', seq: 0 }])
      await untilSame(name)
    }
    expect(page.longest).toBeLessThanOrEqual(16 * 1024)
    expect(page.messages.filter(({ type }) => type === 'failed' || type === 'refused')).toEqual([])
  })

  test.each<[string, readonly ReadingName[], () => Promise<unknown>]>([
    [
      'an activation',
      ['models', 'model', 'model-activations', 'audit'],
      async () => {
        await bench.call('POST', '/api/v1/ml/models/activate', { model_id: another })
        await bench.call('PATCH', '/api/agents/a', { min_replicas: 0, rebalance_threshold: 0.5 })
      },
    ],
    [
      'an engine that is set',
      ['engine'],
      () =>
        bench.call('POST', '/api/v1/ml/engines/select', {
          engine_id: 'spot_optimizer_v1',
          config: { ranking: 'seed-linear' },
        }),
    ],
    [
      'an experiment that begins',
      ['lab-models', 'experiments'],
      async () => {
        const results = page.known(ids['experiment-results'])
        const id = wishes['experiment-results'].params?.id
        await bench.call('POST', `${LAB}/experiments/${id}/start`, {})
        // How long it has run is in its results from now on.
        await until(() => JSON.stringify(results.value).includes('"status":"RUNNING"'))
        expect(results.frames.at(-1)?.type).toBe('patch')
      },
    ],
    [
      'prices',
      ['pools'],
      () => addHistory(bench.db, { 'c5.large@us-east-1b': [{ price: 30_000 }], [POOL]: [{ price: 44_000 }] }),
    ],
    [
      'a decision',
      ['engines', 'lab-decisions', 'lab-config', 'lab-status'],
      async () => {
        const target = { instance_id: 'i-lab-test-001' }
        await bench.call('POST', `${LAB}/assign-model`, { ...target, model_id: 'model-001' })
        const pool = { instance_type: 'm5.large', availability_zone: 'us-east-1a' }
        await bench.call('POST', '/api/v1/evaluate', { ...pool, ...target })
      },
    ],
    [
      'a move',
      ['switches', 'agent-switches', 'deliveries', 'receivers'],
      async () => {
        const primary = await bench.primary('b')
        const { id } = await bench.replica('b', primary)
        await watchAnew('agent-switches', { params: { id: 'b' } })
        await bench.call('POST', `/api/agents/b/replicas/${id}/promote`, {})
      },
    ],
    [
      'a drill',
      ['drills'],
      async () => {
        await bench.replica('c', await bench.primary('c'))
        await watchAnew('drills', { params: { id: 'c' } })
        await bench.call('POST', '/api/agents/c/drills', {})
      },
    ],
  ])('%s comes as a patch, after which the page has what GET answers', async (_, names, change) => {
    const before = new Map(names.map((name) => [name, page.known(ids[name]).value]))
    for (const name of names) framesOf(name).length = 0
    await change()
    for (const name of names) {
      await until(() => framesOf(name).some(({ type }) => type === 'patch'))
      await untilSame(name)
      expect([name, framesOf(name).filter(({ type }) => type === 'snapshot')]).toEqual([name, []])
      expect(page.known(ids[name]).value).not.toEqual(before.get(name))
    }
  })

  test('the frames of each are counted, so that a gap is seen; who watches again begins anew', async () => {
    const mine = await openReadings(bench.url)
    const wish = { name: 'audit', query: { limit: '5' } }
    await mine.watch(1, wish)
    for (const threshold of [0.4, 0.6]) {
      const { length } = mine.known(1).frames
      await bench.call('PATCH', '/api/agents/a', { rebalance_threshold: threshold })
      await until(() => mine.known(1).frames.length > length)
    }
    expect(mine.known(1).frames.map((one) => ('seq' in one ? one.seq : 'none'))).toEqual([0, 1, 2])
    const again = await mine.watch(1, wish)
    expect(again).toMatchObject({ type: 'snapshot', seq: 0, value: await get('/api/audit?limit=5') })
    mine.say({ type: 'read', id: 1, read: 7 })
    await until(() => mine.messages.some((one) => 'read' in one && one.read === 7))
    expect(mine.messages.at(-1)).toEqual({ type: 'same', id: 1, seq: 1, read: 7 })
    await mine.end()
  })

  test('what is not there is said as GET says it; what cannot be asked is refused, and the rest goes on', async () => {
    const mine = await openReadings(bench.url)
    const missing = await mine.watch(1, { name: 'model', params: { id: 'model-none' } })
    const { body } = await bench.call('GET', '/api/v1/ml/models/model-none/details')
    expect(missing).toEqual({ type: 'failed', id: 1, seq: 0, problem: body })
    expect(await mine.watch(2, { name: 'tokens' })).toMatchObject({
      ...{ type: 'refused', id: 2 },
      problem: {
        status: 404,
        code: 'not_found',
        hint: expect.stringContaining('agent-savings, agent-switches'),
      },
    })
    const bad = { name: 'models', query: { limit: 'many' } }
    expect(await mine.watch(3, bad)).toMatchObject({
      ...{ type: 'refused', id: 3 },
      problem: (await bench.call('GET', '/api/v1/ml/models/list?limit=many')).body,
    })
    expect(await mine.watch(4, { name: 'drills', params: { id: '..' } })).toMatchObject({ type: 'refused' })
    mine.say('{"type":"watch"')
    await until(() => mine.messages.some((one) => one.type === 'refused' && one.id === null))
    expect(await mine.watch(5, { name: 'settings' })).toMatchObject({ type: 'snapshot' })
    await mine.end()
  })

  test('limits: forty readings for a page; who asks without end is cut off', async () => {
    const mine = await openReadings(bench.url)
    const first = await Promise.all(
      Array.from({ length: 41 }, (_, i) =>
        mine.watch(i + 1, { name: 'audit', query: { actor: `nobody-${i}` } }),
      ),
    )
    expect(first.map(({ type }) => type)).toEqual([...Array(40).fill('snapshot'), 'refused'])
    for (let i = 0; i < 400; i += 1) mine.say({ type: 'leave', id: 1 })
    await until(() => mine.closed !== undefined)
    expect(mine.closed).toBe(1008)
    const { body } = await bench.call('GET', '/metrics')
    expect(body).toMatch(/understudy_reading_pages 1\n/)
    expect(body).toMatch(/understudy_reading_pages_closed_total\{reason="messages"\} 1\n/)
    expect(body).toMatch(/understudy_readings_total\{outcome="changed"\} \d+/)
  })
})

describe('who may watch', () => {
  let bench: Bench
  beforeAll(async () => {
    bench = await startBench()
  })
  afterAll(() => bench.close())

  /** With which status the connection is refused. */
  const refused = (headers: Record<string, string>) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(addressOf(bench.url), { headers })
      socket.once('unexpected-response', (_, response) => resolve(response.statusCode))
      socket.once('open', () => reject(new Error('it was let in')))
      socket.once('error', reject)
    })

  test('nobody without a token, no agent, and no page of another site', async () => {
    const token = await bench.joinToken('a')
    const { body } = await bench.enrol(await bench.launch('a', POOL), token)
    expect(await refused({})).toBe(401)
    expect(await refused({ authorization: `Bearer ${body.credential}` })).toBe(403)
    const admin = { authorization: `Bearer ${bench.adminToken}` }
    expect(await refused({ ...admin, origin: 'https://evil.example' })).toBe(403)
  })

  test('a viewer by a token', async () => {
    const page = await openReadings(bench.url, {
      authorization: `Bearer ${await bench.operatorToken('viewer')}`,
      origin: bench.url,
    })
    expect(await page.watch(1, { name: 'models' })).toMatchObject({ type: 'snapshot' })
    await page.end()
  })
})
