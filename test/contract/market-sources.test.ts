import { afterEach, expect, test } from 'vitest'
import type { HistoryQuery } from '../../coordinator/src/cloud/history-source.ts'
import type { PriceSources } from '../../coordinator/src/cloud/price-sources.ts'
import { dialects } from '../../coordinator/src/storage/testing.ts'
import { hours } from '../../shared/src/core/time.ts'
import type { GivenSample } from '../../shared/src/market/sample.ts'
import { type Bench, startBench, until } from './bench.ts'

/** What the coordinator fetches itself: histories and catalogs over the real API, and savings from them. */

let bench: Bench
afterEach(() => bench.close())

const HOUR = 3_600_000
/** Whole hours, a while ago. */
const START = Math.floor(Date.now() / HOUR) * HOUR - 12 * HOUR
const after = (hour: number): number => START + hour * HOUR
const iso = (time: number): string => new Date(time).toISOString()

const IN_A = 'c5.large@us-east-1a'
const IN_B = 'c5.large@us-east-1b'
const changes: readonly GivenSample[] = [
  { pool: IN_A, at: after(-30), price: 0.04 },
  { pool: IN_A, at: after(4), price: '0.05' },
  { pool: IN_B, at: after(-30), price: 0.03 },
]

/** Answers from a list; what `before` does comes first. */
function sourcesOf(before: (query: HistoryQuery) => Promise<void> | void = () => undefined): PriceSources {
  return {
    catalog: undefined,
    history: {
      reach: hours(90 * 24),
      async *fetch(query) {
        await before(query)
        yield changes.filter(({ pool }) => query.instanceTypes.includes(String(pool).split('@')[0] ?? ''))
        if (query.instanceTypes.includes('c5.large'))
          yield [
            { pool: IN_A, at: after(8), price: 0 },
            { pool: IN_A, at: after(9), price: 0.05 },
          ]
      },
    },
  }
}

const fetchThem = async (types: readonly string[]) => {
  const asked = { instance_types: types, regions: ['us-east-1'], days: 2 }
  const answer = await bench.call('POST', '/api/v1/ml/pricing/fetch', asked)
  expect(answer).toMatchObject({ status: 202, body: { kind: 'manual', total: types.length } })
  return `/api/v1/ml/pricing/fetch/${answer.body.task_id}`
}
const ended = async (path: string) => {
  await until(async () => !/queued|running/.test((await bench.call('GET', path)).body.status))
  return (await bench.call('GET', path)).body
}

test.each(dialects)(
  'a fetch runs by itself, says how far it is, and is history then: %s',
  async (dialect) => {
    let open: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const prices = sourcesOf(({ instanceTypes }) => (instanceTypes.includes('m5.large') ? gate : undefined))
    bench = await startBench({ dialect, prices })
    await bench.primary('a')
    const path = await fetchThem(['c5.large', 'm5.large'])
    await until(async () => (await bench.call('GET', path)).body.done === 1)
    expect((await bench.call('GET', path)).body).toMatchObject({
      status: 'running',
      percent_complete: 50,
      rows_refused: { price_zero: 1 },
      eta_seconds: expect.any(Number),
    })
    open()
    expect(await ended(path)).toMatchObject({
      status: 'done',
      percent_complete: 100,
      not_offered: ['m5.large in us-east-1'],
      error: null,
    })
    const { body: list } = await bench.call('GET', '/api/v1/ml/pricing/fetch')
    expect(list.items).toMatchObject([{ status: 'done', done: 2, total: 2 }])
    expect(await metric('price_fetches{status="done"}')).toBe(1)

    const range = `from=${iso(after(3))}&to=${iso(after(5))}`
    const { body: series } = await bench.call('GET', `/api/agents/a/pricing?pool=${IN_A}&${range}`)
    expect(series.buckets).toMatchObject({ total: 24, history: 24, missing: 0 })
    expect(series.points[11]).toEqual({
      at: iso(after(4) - 300_000),
      price: 0.04,
      data_source: 'history',
      confidence: 1,
    })
    expect(series.points[12]).toMatchObject({ at: iso(after(4)), price: 0.05 })
  },
)

test('a fetch that is cancelled ends, and one goes on with another coordinator', async () => {
  let stuck = true
  const prices = sourcesOf(() => (stuck ? new Promise(() => undefined) : undefined))
  // What never answers is left alone when the signal comes.
  const { history } = prices
  const abandoning: PriceSources = {
    catalog: undefined,
    history: {
      ...history,
      async *fetch(query, signal) {
        const aborted = new Promise<never>((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
        )
        const pages = history.fetch(query, signal)[Symbol.asyncIterator]()
        for (;;) {
          const page = await Promise.race([pages.next(), aborted])
          if (page.done) return
          yield page.value
        }
      },
    },
  }
  bench = await startBench({ prices: abandoning })
  const first = await fetchThem(['c5.large'])
  const second = await fetchThem(['c5.large'])
  await until(async () => (await bench.call('GET', first)).body.status === 'running')
  expect(await bench.call('DELETE', first)).toMatchObject({ status: 200, body: { status: 'cancelled' } })
  expect(await bench.call('DELETE', first)).toMatchObject({ status: 200, body: { status: 'cancelled' } })
  await until(async () => (await bench.call('GET', second)).body.status === 'running')
  await bench.stop()
  stuck = false
  await bench.start()
  expect(await ended(second)).toMatchObject({ status: 'done', done: 1, rows_refused: { price_zero: 1 } })
  expect((await bench.call('GET', first)).body).toMatchObject({ status: 'cancelled', done: 0 })
})

test.each([
  [{ instance_types: [], regions: ['us-east-1'] }, '/instance_types'],
  [{ instance_types: ['c5'], regions: ['us-east-1'] }, '/instance_types/0'],
  [{ instance_types: ['c5.large'], regions: ['us-east-1a'] }, '/regions/0'],
  [{ instance_types: ['c5.large'], regions: ['us-east-1'], days: 91 }, 'EC2 keeps 90 days'],
  [{ instance_types: ['c5.large'], regions: ['us-east-1'], since: '2025' }, 'unknown key'],
])('a fetch is refused: %j', async (body, text) => {
  bench = await startBench({ prices: sourcesOf() })
  const answer = await bench.call('POST', '/api/v1/ml/pricing/fetch', body)
  expect(answer).toMatchObject({ status: 400, body: { code: 'input_invalid' } })
  expect(JSON.stringify(answer.body)).toContain(text)
  expect((await bench.call('GET', '/api/v1/ml/pricing/fetch')).body.items).toEqual([])
  const missing = await bench.call('GET', `/api/v1/ml/pricing/fetch/${crypto.randomUUID()}`)
  expect(missing).toMatchObject({ status: 404, body: { code: 'not_found' } })
})

test.each(dialects)(
  'catalogs page by page, with where they are from and how old they are: %s',
  async (dialect) => {
    bench = await startBench({ dialect })
    const none = { source: 'none yet', as_of: null, fetched_at: null, error: null, items: [], next: null }
    expect((await bench.call('GET', '/api/v1/ml/pricing/spot-advisor')).body).toEqual(none)
    expect((await bench.call('GET', '/api/v1/ml/pricing/on-demand')).body).toEqual({
      sources: [],
      items: [],
      next: null,
    })
    await addCatalog()
    const walk = async (path: string) => {
      const items: { region: string; instance_type: string }[] = []
      let next: string | null = ''
      while (next !== null) {
        const cursor: string = next === '' ? '' : `&cursor=${encodeURIComponent(next)}`
        const { body } = await bench.call('GET', `/api/v1/ml/pricing/${path}&limit=2${cursor}`)
        items.push(...body.items)
        next = body.next
      }
      return items.map(({ region, instance_type: type }) => `${type} in ${region}`)
    }
    const everywhere = [
      'c5.large in ap-south-1',
      'm5.large in ap-south-1',
      'c5.large in us-east-1',
      'm5.large in us-east-1',
    ]
    expect(await walk('on-demand?os=Linux')).toEqual(everywhere)
    expect(await walk('spot-advisor?os=Linux')).toEqual(everywhere)
    expect(await walk('spot-advisor?region=us-east-1')).toEqual(everywhere.slice(2))
    expect(await walk('on-demand?instance_type=c5.large')).toEqual([everywhere[0], everywhere[2]])
    expect(await walk('on-demand?os=Windows')).toEqual([])

    const { body: prices } = await bench.call('GET', '/api/v1/ml/pricing/on-demand?region=us-east-1&limit=1')
    expect(prices).toMatchObject({
      sources: [
        { source: 'pricing:GetProducts', fetched_at: iso(START), error: 'the price list does not answer' },
      ],
      items: [{ on_demand_price: 0.085, source: 'pricing:GetProducts', fetched_at: iso(START), as_of: null }],
    })
    const { body: advisor } = await bench.call('GET', '/api/v1/ml/pricing/spot-advisor?region=ap-south-1')
    expect(advisor).toMatchObject({
      source: 'https://example.com/advisor.json',
      as_of: iso(START - HOUR),
      items: [
        { instance_type: 'c5.large', interruption_band: 4, interruption_range: '>20%', savings_percent: -3 },
        { instance_type: 'm5.large' },
      ],
    })
    const age = await metric('catalog_age_seconds{source="spot-advisor"}')
    expect(age).toBeGreaterThanOrEqual(13 * 3600)
    expect(age).toBeLessThan(14.1 * 3600)
    expect(await metric('catalog_failing{source="on-demand/us-east-1"}')).toBe(1)
    expect(await metric('catalog_failing{source="spot-advisor"}')).toBe(0)
    for (const cursor of ['x', 'a%00%20b', 'us-east-1%20'])
      expect((await bench.call('GET', `/api/v1/ml/pricing/on-demand?cursor=${cursor}`)).status).toBe(400)
  },
)

test.each(dialects)(
  'savings, net of double running, from the times when instances ran: %s',
  async (dialect) => {
    bench = await startBench({ dialect, prices: sourcesOf() })
    await ended(await fetchThem(['c5.large']))
    await addFleet()
    await until(async () => (await bench.call('GET', '/api/pools')).body.items[0]?.on_demand_price === 0.085)
    const from = (hour: number, to: number) => `from=${iso(after(hour))}&to=${iso(after(to))}`
    const savings = async (path: string) => (await bench.call('GET', path)).body

    // a: 5.5 h in zone a (4 h at 0.04, 1.5 h at 0.05) and 4.5 h in zone b at 0.03, of which one hour is not known: 0.34.
    // On demand 9 h at 0.085: 0.765. Half an hour of b beside a (0.015), half an hour of a beside b (0.025): 0.04.
    const own = await savings(`/api/agents/a/savings?${from(0, 10)}`)
    expect(own).toEqual({
      agent_id: 'a',
      from: iso(after(0)),
      to: iso(after(10)),
      spot_cost: 0.34,
      on_demand_cost: 0.765,
      double_running_cost: 0.04,
      switch_cost: 0,
      switches: 1,
      net_savings: 0.385,
      counted_hours: 9,
      unknown_hours: 1,
      on_demand_rate_percent: 100,
    })
    // b was bought on demand, where it cost 0.085 and saved nothing.
    expect(await savings(`/api/savings?${from(0, 10)}`)).toMatchObject({
      agent_id: null,
      spot_cost: 0.425,
      on_demand_cost: 0.85,
      net_savings: 0.385,
      counted_hours: 10,
    })
    const parts = [await savings(`/api/savings?${from(0, 4)}`), await savings(`/api/savings?${from(4, 10)}`)]
    const sum = (key: string) => parts.reduce((total, part) => total + part[key], 0)
    expect(sum('net_savings')).toBeCloseTo(0.385, 9)
    expect(sum('switches')).toBe(1)
    expect(sum('counted_hours')).toBe(10)
    expect(await metric('spot_cost_savings_usd')).toBeGreaterThan(0.385)
    expect(await bench.call('GET', '/api/agents/none/savings')).toMatchObject({ status: 404 })
    expect(await bench.call('GET', `/api/savings?${from(2, 1)}`)).toMatchObject({ status: 400 })
  },
)

/** As /metrics says it now. */
async function metric(name: string): Promise<number> {
  const { body } = await bench.call('GET', '/metrics')
  const line = String(body)
    .split('\n')
    .find((text) => text.startsWith(`understudy_${name} `))
  return Number(line?.split(' ').at(-1))
}

async function addCatalog(): Promise<void> {
  const pairs = ['us-east-1', 'ap-south-1'].flatMap((region) =>
    ['m5.large', 'c5.large'].map((instance_type) => ({ region, instance_type, os: 'Linux' })),
  )
  await bench.db
    .insertInto('on_demand_prices')
    .values(
      pairs.map((pair) => ({
        ...pair,
        price: pair.instance_type === 'c5.large' ? 85_000 : 96_000,
        source: 'pricing:GetProducts',
        as_of: null,
        fetched_at: START,
      })),
    )
    .execute()
  await bench.db
    .insertInto('spot_advisor_data')
    .values(
      pairs.map((pair) => ({
        ...pair,
        band: 4,
        savings_percent: -3,
        as_of: START - HOUR,
        fetched_at: START,
      })),
    )
    .execute()
  const row = { etag: null, fetched_at: START, checked_at: START }
  await bench.db
    .insertInto('catalog_sources')
    .values([
      {
        ...row,
        name: 'on-demand/us-east-1',
        url: 'pricing:GetProducts',
        as_of: null,
        error: 'the price list does not answer',
      },
      {
        ...row,
        name: 'spot-advisor',
        url: 'https://example.com/advisor.json',
        as_of: START - HOUR,
        error: null,
      },
    ])
    .execute()
}

/**
 * Agent a moves from i-a0 to i-b0 at 5.5 h; i-b0 runs from 5 h on, i-a0 to 6 h, and for the eighth hour an instance in a
 * pool without any price. Agent b has run on demand for one hour.
 */
async function addFleet(): Promise<void> {
  const stays: [string, string, string, string, number, number | null][] = [
    ['i-a0', 'a', IN_A, 'spot', 0, 6],
    ['i-b0', 'a', IN_B, 'spot', 5, null],
    ['i-c0', 'a', 'r5.large@us-east-1d', 'spot', 7, 8],
    ['i-d0', 'b', IN_B, 'on-demand', 0, 1],
  ]
  await bench.db.insertInto('clients').values({ id: 'c', name: 'c', created_at: START }).execute()
  for (const [id, instance] of [
    ['a', 'i-b0'],
    ['b', 'i-d0'],
  ] as const)
    await bench.db
      .insertInto('agents')
      .values({
        id,
        client_id: 'c',
        name: id,
        instance_id: instance,
        epoch: 1,
        term: 1,
        successor_id: null,
        voted_epoch: 0,
        voted_for: null,
        voted_digest: null,
        outdated: 0,
        auto_switch_enabled: 0,
        auto_replica_enabled: 0,
        manual_replica_enabled: 0,
        terminate_after_switch: 0,
        rebalance_threshold: 0.5,
        replica_count: 0,
        state_directories: 1,
        last_heartbeat_at: null,
        last_failover_at: null,
        created_at: START,
      })
      .execute()
  await bench.db
    .insertInto('instances')
    .values(
      stays.map(([id, agent, pool, cycle, from, to]) => ({
        id,
        agent_id: agent,
        instance_type: pool.split('@')[0] ?? '',
        availability_zone: pool.split('@')[1] ?? '',
        pool_id: pool,
        life_cycle: cycle,
        private_ip: null,
        is_active: to === null ? 1 : 0,
        retired: 0,
        has_copy: 0,
        credential_hash: null,
        credential_expires_at: null,
        next_credential_hash: null,
        next_credential_expires_at: null,
        launched_at: after(from),
        enrolled_at: after(from) + 60_000,
        terminated_at: to === null ? null : after(to),
      })),
    )
    .execute()
  await bench.db
    .insertInto('instance_switches')
    .values({
      id: crypto.randomUUID(),
      agent_id: 'a',
      epoch: 2,
      incident_id: null,
      switch_reason: 'manual',
      old_instance_id: 'i-a0',
      new_instance_id: 'i-b0',
      old_pool_id: IN_A,
      new_pool_id: IN_B,
      old_instance_price: 50_000,
      new_instance_price: 30_000,
      success: 1,
      switched_at: after(5.5),
    })
    .execute()
}
