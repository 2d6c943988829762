import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Dialect } from '../../coordinator/src/storage/dialect.ts'
import { dialects } from '../../coordinator/src/storage/testing.ts'
import { type Answer, type Bench, startBench } from './bench.ts'
import type { Puppet } from './puppet.ts'

/** Prices over the real API: what agents send, and what is made of it. */

const POOL = 'm5.large@us-east-1a'
const MINUTE = 60_000
const HOUR = 60 * MINUTE
/** Whole hours, a while ago. */
const START = Math.floor(Date.now() / HOUR) * HOUR - 12 * HOUR
const at = (minutes: number): string => new Date(START + minutes * MINUTE).toISOString()
const row = (minutes: number, price: unknown = 0.04, pool: unknown = POOL) => ({
  pool_id: pool,
  at: at(minutes),
  price,
})

function expectProblem(answer: Answer, status: number, code: string, text: string): void {
  expect(answer).toMatchObject({ status, type: 'application/problem+json', body: { status, code } })
  expect(JSON.stringify(answer.body)).toContain(text)
}

describe.each(dialects)('prices on %s', (dialect: Dialect) => {
  let bench: Bench
  let primary: Puppet
  let replica: Puppet
  let stranger: Puppet
  beforeAll(async () => {
    bench = await startBench({ dialect })
    await bench.stop()
    await know(bench)
    await bench.start()
    primary = await bench.primary('a')
    replica = (await bench.replica('a', primary)).puppet
    stranger = await bench.primary('b', 'c5.large@us-east-1c')
    // They have run for a day.
    await bench.db
      .updateTable('instances')
      .set({ launched_at: START - 12 * HOUR })
      .execute()
  }, 60_000)
  afterAll(() => bench.close())

  const as = ({ credential }: Puppet) => ({ authorization: `Bearer ${credential}` })
  const send = (samples: readonly unknown[], from = primary, agent = 'a') =>
    bench.call('POST', `/api/agents/${agent}/pricing`, { samples }, as(from))
  const series = async (query: string) => (await bench.call('GET', `/api/agents/a/pricing?${query}`)).body
  const counted = (accepted: number, duplicates: number, refused: number) => ({
    status: 200,
    body: { accepted, duplicates, refused },
  })

  test('the same again is nothing new, and a primary goes before a replica', async () => {
    const pool = 'c6i.large@us-east-1a'
    const samples = [row(0, 0.05, pool), row(5, '0.0512', pool), row(10, 0.052, pool)]
    expect(await send(samples, replica)).toMatchObject(counted(3, 0, 0))
    expect(await send(samples, replica)).toMatchObject(counted(0, 3, 0))
    expect(await send([row(5, 0.06, pool)])).toMatchObject(counted(1, 0, 0))
    const { points, buckets } = await series(`pool=${pool}&from=${at(0)}&to=${at(20)}`)
    expect(points).toEqual([
      { at: at(0), price: 0.05, data_source: 'replica', confidence: 0.95 },
      { at: at(5), price: 0.06, data_source: 'primary', confidence: 1 },
      { at: at(10), price: 0.052, data_source: 'replica', confidence: 0.95 },
      { at: at(15), price: null, data_source: null, confidence: null },
    ])
    expect(buckets).toEqual({ total: 4, primary: 1, replica: 2, history: 0, interpolated: 0, missing: 1 })
    const ofPool = await bench.call('GET', `/api/pools/${pool}/pricing?from=${at(0)}&to=${at(20)}`)
    expect([ofPool.status, ofPool.body.points]).toEqual([200, points])
    expect(await bench.call('GET', '/api/pools/c6i.large/pricing')).toMatchObject({
      status: 400,
      body: { code: 'input_invalid' },
    })
  })

  test('only who is primary can have sampled as one; the rows of others count for nothing', async () => {
    const pool = 'c6i.large@us-east-1b'
    const claimed = { ...row(0, 0.05, pool), instance_id: replica.instance, role: 'primary' }
    const taken = { ...row(5, 0.05, pool), instance_id: primary.instance, role: 'primary' }
    const foreign = { ...row(10, 0.05, pool), instance_id: stranger.instance, role: 'primary' }
    const modest = { ...row(25, 0.05, pool), instance_id: primary.instance, role: 'replica' }
    const hostile = { ...row(15, 0.05, pool), instance_id: { toString: 1, valueOf: null } }
    const answer = await send(
      [claimed, taken, foreign, hostile, { ...row(20, 1, pool), instance_id: null }, modest],
      replica,
    )
    expect(answer).toMatchObject(counted(3, 0, 3))
    expect(
      answer.body.errors.map(({ pointer, code }: Record<string, string>) => `${pointer} ${code}`),
    ).toEqual(['/samples/2 instance_unknown', '/samples/3 instance_unknown', '/samples/4 instance_unknown'])
    const { points } = await series(`pool=${pool}&from=${at(0)}&to=${at(30)}`)
    expect(points.map((point: { confidence: number }) => point.confidence)).toEqual([
      0.95,
      1,
      null,
      null,
      null,
      0.95,
    ])
    expectProblem(await send([row(0)], stranger), 403, 'forbidden', 'this credential is for b, not for a')
    expectProblem(
      await bench.call('POST', '/api/agents/none/pricing', { samples: [row(0)] }),
      404,
      'not_found',
      'no agent none',
    )
  })

  test('each kind of bad row is refused alone, and the rest is kept', async () => {
    const pool = 'c6i.large@us-east-1c'
    const bad: readonly [string, unknown][] = [
      ['price_zero', row(0, 0, pool)],
      ['price_negative', row(0, -0.04, pool)],
      ['price_not_a_number', row(0, 'NaN', pool)],
      ['price_not_a_number', row(0, null, pool)],
      ['price_not_a_number', row(0, 'cheap', pool)],
      ['price_not_a_number', row(0, { toString: 1 }, pool)],
      // In cents, and above ten times the 0.085 that it costs on demand.
      ['price_implausible', row(0, 4.16, pool)],
      ['price_implausible', row(0, 0.8501, pool)],
      ['pool_malformed', row(0, 0.04, 'c6i.large')],
      ['pool_malformed', row(0, 0.04, 7)],
      ['pool_malformed', 'a text'],
      ['pool_malformed', null],
      ['zone_unknown', row(0, 0.04, 'c6i.large@ap-south-1z')],
      ['instance_type_unknown', row(0, 0.04, 'q1.large@us-east-1a')],
      ['time_in_future', { ...row(0, 0.04, pool), at: Date.now() + 6 * MINUTE }],
      ['time_too_old', { ...row(0, 0.04, pool), at: '2009-12-13T23:59:59Z' }],
      // Seconds where milliseconds are asked for.
      ['time_too_old', { ...row(0, 0.04, pool), at: Math.floor(Date.now() / 1000) }],
      // The hour that a change to summer time leaves out, as its clock shows it.
      ['time_without_zone', { ...row(0, 0.04, pool), at: '2025-03-30T02:30:00' }],
      ['time_malformed', { ...row(0, 0.04, pool), at: '2016-12-31T23:59:60Z' }],
      ['time_malformed', { ...row(0, 0.04, pool), at: 'yesterday' }],
    ]
    const good = bad.map((_, i) => row(5 * i, 0.8499, pool))
    const { body } = await send(bad.flatMap(([, given], i) => [given, good[i]]))
    expect(body).toMatchObject({ accepted: bad.length, duplicates: 0, refused: bad.length })
    expect(body.errors.map(({ pointer, code }: Record<string, string>) => [pointer, code])).toEqual(
      bad.map(([code], i) => [`/samples/${2 * i}`, code]),
    )
    const { buckets } = await series(`pool=${pool}&from=${at(0)}&to=${at(5 * bad.length)}`)
    expect(buckets.primary).toBe(bad.length)
    const { body: metrics } = await bench.call('GET', '/metrics')
    for (const code of new Set(bad.map(([code]) => code)))
      expect(metrics).toContain(
        `understudy_price_rows_refused_total{code="${code}"} ${bad.filter(([own]) => own === code).length}`,
      )
  })

  test('a body that is too large, or has what nobody asked for, changes nothing', async () => {
    const million = `{"samples": [${'{},'.repeat(999_999)}{}]}`
    const refused = await sendAll(`${bench.url}/api/agents/a/pricing`, million, primary.credential)
    expectProblem(refused, 413, 'payload_too_large', 'a body may have')
    expectProblem(await send(Array.from({ length: 1501 }, () => 0)), 400, 'input_invalid', 'at most 1500')
    // As many as there may be, as an agent writes them and with the longest names that there are, do fit.
    const longest = row(0, '123.041600', 'u7inh-32tb.480xlarge@ap-northeast-1-wl1-nrt-wlz-1')
    const many = Array.from({ length: 1500 }, () => ({
      ...longest,
      instance_id: 'i-0123456789abcdef0',
      role: 'primary',
    }))
    expect(await send(many)).toMatchObject(counted(0, 0, 1500))
    expectProblem(await send([]), 400, 'input_invalid', '/samples')
    const unknown = await bench.call('POST', '/api/agents/a/pricing', { samples: [row(0)], sample: [] })
    expectProblem(unknown, 400, 'input_invalid', 'unknown key')
    expect(unknown.body.errors).toEqual([{ pointer: '/sample', message: 'unknown key' }])
    const cut = await bench.raw('POST', '/api/agents/a/pricing', '{"samples": [{"pool_id"')
    expectProblem(cut, 400, 'input_invalid', 'JSON')
  })

  test('at most so many points of a series, each one that was there, with the gap between them', async () => {
    const pool = 'r5.large@us-east-1a'
    const kept = Array.from({ length: 100 }, (_, i) => i).filter((i) => i < 40 || i >= 60)
    await send(kept.map((i) => row(5 * i, i === 17 ? 0.09 : 0.05 + (i % 5) / 10_000, pool)))
    const whole = await series(`pool=${pool}&from=${at(0)}&to=${at(500)}`)
    expect(whole).toMatchObject({ decimated: false, bucket_seconds: 300, from: at(0), to: at(500) })
    expect(whole.points).toHaveLength(100)
    const few = await series(`pool=${pool}&from=${at(0)}&to=${at(500)}&points=20`)
    expect(few).toMatchObject({ decimated: true, buckets: whole.buckets })
    expect(few.points.length).toBeLessThanOrEqual(20)
    expect(whole.points).toEqual(expect.arrayContaining(few.points))
    const prices = few.points.map(({ price }: { price: number | null }) => price)
    expect(prices).toContain(0.09)
    expect(prices).toContain(null)
    const usual = await series('')
    expect(usual).toMatchObject({ pool_id: POOL, buckets: { total: 288 } })
    const last = Date.now() - Date.parse(usual.points.at(-1).at)
    expect(last >= 0 && last < 6 * MINUTE).toBe(true)
  })

  test.each([
    ['points=9', '/points'],
    ['pool=m5.large', '/pool'],
    ['from=yesterday', '/from'],
    ['since=2025-01-01T00:00:00Z', 'unknown key'],
    [`from=${at(60)}&to=${at(0)}`, 'has to be before'],
    [`from=${at(1)}&to=${at(2)}`, 'has to be before'],
    ['from=2020-01-01T00:00:00Z&to=2025-01-01T00:00:00Z', 'at most 400 days'],
    ['to=9999-12-31T23:59:59Z&from=2025-01-01T00:00:00Z', 'at most 400 days'],
  ])('a series is refused: %s', async (query, text) => {
    expectProblem(await bench.call('GET', `/api/agents/a/pricing?${query}`), 400, 'input_invalid', text)
  })

  test('gaps are found, filled, listed, taken back, and give way to real prices', async () => {
    const pool = 'm6i.large@us-east-1a'
    const points = async () =>
      (await series(`pool=${pool}&from=${at(0)}&to=${at(60)}`)).points as {
        price: number | null
        confidence: number | null
      }[]
    const scan = async (body = {}) =>
      bench.call('POST', '/api/market/gaps/scan', { pools: [pool], from: at(0), to: at(60), ...body })
    // 09:55 and 10:20 of the seed: four buckets without a price between 0.0416 and 0.0420. Then one bucket.
    await send([0, 5].map((i) => row(i, 0.0416, pool)))
    await send([30, 40, 45, 50, 55].map((i) => row(i, 0.042, pool)))
    const looked = await scan({ fill: false })
    expect(looked).toMatchObject({ status: 200, body: { pools: 1, gaps: 2, filled: 0, rows: 0, empty: 2 } })
    expect((await points()).filter(({ price }) => price === null)).toHaveLength(5)

    const { body: filled } = await scan()
    expect(filled).toMatchObject({ gaps: 2, filled: 2, rows: 5, empty: 0, open: 0 })
    const between = (await points()).slice(2, 6)
    for (const { price, confidence } of between) {
      expect(confidence).toBe(0.75)
      expect(price).toBeGreaterThanOrEqual(0.0416)
      expect(price).toBeLessThanOrEqual(0.042)
    }
    expect((await points())[7]).toMatchObject({ price: 0.042, confidence: 0.85, data_source: 'interpolated' })
    expect((await scan()).body).toMatchObject({ gaps: 2, filled: 0, rows: 0 })

    const list = `/api/market/gaps?pool=${pool}&limit=1`
    const { body: first } = await bench.call('GET', list)
    const { body: second } = await bench.call('GET', `${list}&cursor=${encodeURIComponent(first.next)}`)
    expect([...first.items, ...second.items]).toMatchObject([
      { from: at(35), buckets: 1, gap_class: 'short', method: 'linear', confidence: 0.85, status: 'filled' },
      { from: at(10), to: at(30), buckets: 4, gap_class: 'medium', method: 'weighted-average' },
    ])
    expect(second.next).toBeNull()
    for (const { batch_id: batch } of first.items) expect(batch).toBe(filled.batch_id)
    expectProblem(await bench.call('GET', '/api/market/gaps?cursor=x'), 400, 'input_invalid', 'cursor')
    expectProblem(await bench.call('GET', '/api/market/gaps?limit=0'), 400, 'input_invalid', '/limit')

    const path = `/api/market/gaps/batches/${filled.batch_id}`
    const undone = { batch_id: filled.batch_id, rows: 5, gaps: 2 }
    expect(await bench.call('DELETE', path)).toMatchObject({ status: 200, body: undone })
    expectProblem(await bench.call('DELETE', path), 404, 'not_found', 'no gap is filled by the batch')
    expectProblem(await bench.call('DELETE', '/api/market/gaps/batches/x'), 400, 'input_invalid', '/batch')
    expect((await points()).filter(({ price }) => price === null)).toHaveLength(5)
    expect((await scan()).body).toMatchObject({ filled: 0, rows: 0 })

    await send([row(15, 0.05, pool)])
    expect((await scan()).body).toMatchObject({ gaps: 3, filled: 2, rows: 3 })
    expect((await points())[3]).toMatchObject({ price: 0.05, confidence: 1 })
  })

  test('pools page by page; what is not known is null and never 0', async () => {
    await send([row(0, 0.03, 'm5.large@us-east-1c'), row(0, 0.7, 'x9.large@eu-west-3a')])
    const pages: { pool_id: string }[] = []
    let next: string | null = ''
    while (next !== null) {
      const cursor: string = next === '' ? '' : `&cursor=${encodeURIComponent(next)}`
      const { body } = await bench.call('GET', `/api/pools?limit=2${cursor}`)
      expect(body.items.length).toBeLessThanOrEqual(2)
      pages.push(...body.items)
      next = body.next
    }
    const { body: all } = await bench.call('GET', '/api/pools')
    const idsOf = (pools: readonly { pool_id: string }[]) => pools.map(({ pool_id: id }) => id)
    expect(idsOf(pages)).toEqual(idsOf(all.items))
    expect(idsOf(pages)).toEqual(idsOf(pages).sort())
    const { body } = await bench.call('GET', '/api/pools?instance_type=m5.large')
    expect(body.items.find(({ pool_id: id }: { pool_id: string }) => id === 'm5.large@us-east-1c')).toEqual({
      pool_id: 'm5.large@us-east-1c',
      instance_type: 'm5.large',
      availability_zone: 'us-east-1c',
      az_id: 'use1-az3',
      region: 'us-east-1',
      spot_price: 0.03,
      price_at: at(0),
      data_source: 'primary',
      confidence: 1,
      on_demand_price: 0.096,
      discount_percent: 68.75,
      interruption_band: 0,
      interruption_range: '<5%',
      band_as_of: expect.any(String),
      risk: null,
    })
    const unknown = (await bench.call('GET', '/api/pools?region=eu-west-3')).body.items[0]
    expect(unknown).toMatchObject({
      spot_price: 0.7,
      on_demand_price: null,
      discount_percent: null,
      interruption_band: null,
      az_id: null,
    })
    expectProblem(await bench.call('GET', '/api/pools?limit=0'), 400, 'input_invalid', '/limit')
  })

  test('real prices for the ML server: the last of each pool, or one pool over time', async () => {
    const pool = 'c6i.large@us-east-1d'
    await send([row(0, 0.051, pool), row(15, 0.052, pool)])
    await bench.call('POST', '/api/market/gaps/scan', { pools: [pool], from: at(0), to: at(20) })
    const spot = async (query: string) => (await bench.call('GET', `/api/v1/ml/pricing/spot?${query}`)).body
    expect((await spot(`pool=${pool}`)).items).toMatchObject([{ spot_price: 0.052, at: at(15) }])
    const range = `pool=${pool}&from=${at(0)}&to=${at(20)}`
    const first = await spot(`${range}&limit=1`)
    const second = await spot(`${range}&limit=1&cursor=${first.next}`)
    expect([...first.items, ...second.items]).toMatchObject([
      { spot_price: 0.052, at: at(15), product: 'Linux/UNIX', data_source: 'primary', confidence: 1 },
      { spot_price: 0.051, at: at(0), availability_zone: 'us-east-1d' },
    ])
    expect(second.next).toBeNull()
    expect((await spot('region=ap-south-1')).items).toEqual([])
    const several = await bench.call('GET', `/api/v1/ml/pricing/spot?region=us-east-1&from=${at(0)}`)
    expectProblem(several, 400, 'input_invalid', 'a time can be asked for one of them')
  })

  test('who may only look changes nothing', async () => {
    const viewer = { authorization: `Bearer ${await bench.operatorToken('viewer')}` }
    const nobody = { authorization: 'Bearer x' }
    for (const path of [
      '/api/agents/a/pricing',
      '/api/agents/a/savings',
      '/api/savings',
      '/api/market/gaps',
      '/api/pools',
      '/api/v1/ml/pricing/spot',
      '/api/v1/ml/pricing/on-demand',
      '/api/v1/ml/pricing/spot-advisor',
      '/api/v1/ml/pricing/fetch',
    ]) {
      expect((await bench.call('GET', path, undefined, viewer)).status).toBe(200)
      expect((await bench.call('GET', path, undefined, nobody)).status).toBe(401)
      expect((await bench.call('GET', path, undefined, as(primary))).status).toBe(403)
    }
    const id = crypto.randomUUID()
    for (const [method, path, body] of [
      ['POST', '/api/agents/a/pricing', { samples: [row(0)] }],
      ['POST', '/api/market/gaps/scan', {}],
      ['DELETE', `/api/market/gaps/batches/${id}`, undefined],
      ['POST', '/api/v1/ml/pricing/fetch', { instance_types: ['m5.large'], regions: ['us-east-1'] }],
      ['DELETE', `/api/v1/ml/pricing/fetch/${id}`, undefined],
    ] as const)
      expectProblem(await bench.call(method, path, body, viewer), 403, 'forbidden', 'needs the role operator')
  })

  test('without a source of histories a fetch says so', async () => {
    const body = { instance_types: ['m5.large'], regions: ['us-east-1'] }
    const answer = await bench.call('POST', '/api/v1/ml/pricing/fetch', body)
    expectProblem(answer, 501, 'not_supported', 'coordinator import prices')
  })
})

/** As a client that sends everything before it reads the answer. */
async function sendAll(url: string, body: string, credential: string): Promise<Answer> {
  const headers = { authorization: `Bearer ${credential}`, 'content-type': 'application/json' }
  const sent = request(url, { method: 'POST', headers })
  sent.end(body)
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  const type = response.headers['content-type'] ?? ''
  return { status: response.statusCode ?? 0, type, body: JSON.parse(await text(response)) }
}

/** Which zones and types there are, as after a look at the catalog. */
async function know(bench: Bench): Promise<void> {
  const row = { source: 'test', fetched_at: Date.now() }
  await bench.db
    .insertInto('availability_zones')
    .values([
      { az_name: 'ap-south-1a', az_id: 'aps1-az1', region: 'ap-south-1', ...row },
      ...['a', 'b', 'c', 'd'].map((letter, i) => ({
        az_name: `us-east-1${letter}`,
        az_id: `use1-az${i + 1}`,
        region: 'us-east-1',
        ...row,
      })),
    ])
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  await bench.db
    .insertInto('instance_types')
    .values(
      ['m5.large', 'm6i.large', 'c5.large', 'c6i.large', 'r5.large', 'x9.large'].map((instance_type) => ({
        instance_type,
        vcpu: 2,
        memory_mib: 8192,
        architecture: 'x86_64',
        gpu_count: 0,
        gpu_name: null,
        network_gbps: null,
        burstable: 0,
        bare_metal: 0,
        source: 'test',
        as_of: null,
      })),
    )
    .execute()
}
