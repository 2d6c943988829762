import { afterEach, expect, test } from 'vitest'
import type { PriceSources } from '../../coordinator/src/cloud/price-sources.ts'
import { dialects } from '../../coordinator/src/storage/testing.ts'
import { type Bench, startBench, until } from './bench.ts'
import { after, ended, fetchThem, HOUR, IN_A, iso, metric, START, sourcesOf } from './price-sources.ts'

/** What the coordinator fetches itself: histories and catalogs over the real API. */

let bench: Bench
afterEach(() => bench.close())

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
    const path = await fetchThem(bench, ['c5.large', 'm5.large'])
    await until(async () => (await bench.call('GET', path)).body.done === 1)
    expect((await bench.call('GET', path)).body).toMatchObject({
      status: 'running',
      percent_complete: 50,
      rows_refused: { price_zero: 1 },
      eta_seconds: expect.any(Number),
    })
    open()
    expect(await ended(bench, path)).toMatchObject({
      status: 'done',
      percent_complete: 100,
      not_offered: ['m5.large in us-east-1'],
      error: null,
    })
    const { body: list } = await bench.call('GET', '/api/v1/ml/pricing/fetch')
    expect(list.items).toMatchObject([{ status: 'done', done: 2, total: 2 }])
    expect(await metric(bench, 'understudy_price_fetches{status="done"}')).toBe(1)

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
  const first = await fetchThem(bench, ['c5.large'])
  const second = await fetchThem(bench, ['c5.large'])
  await until(async () => (await bench.call('GET', first)).body.status === 'running')
  expect(await bench.call('DELETE', first)).toMatchObject({ status: 200, body: { status: 'cancelled' } })
  expect(await bench.call('DELETE', first)).toMatchObject({ status: 200, body: { status: 'cancelled' } })
  await until(async () => (await bench.call('GET', second)).body.status === 'running')
  await bench.stop()
  stuck = false
  await bench.start()
  expect(await ended(bench, second)).toMatchObject({
    status: 'done',
    done: 1,
    rows_refused: { price_zero: 1 },
  })
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
    const age = await metric(bench, 'understudy_catalog_age_seconds{source="spot-advisor"}')
    expect(age).toBeGreaterThanOrEqual(13 * 3600)
    expect(age).toBeLessThan(14.1 * 3600)
    expect(await metric(bench, 'understudy_catalog_failing{source="on-demand/us-east-1"}')).toBe(1)
    expect(await metric(bench, 'understudy_catalog_failing{source="spot-advisor"}')).toBe(0)
    for (const cursor of ['x', 'a%00%20b', 'us-east-1%20'])
      expect((await bench.call('GET', `/api/v1/ml/pricing/on-demand?cursor=${cursor}`)).status).toBe(400)
  },
)

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
