import { AppError } from '@understudy/shared/core/app-error'
import { fromUsd } from '@understudy/shared/core/money'
import { hours, instant, minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { HttpResponse, http, passthrough } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { CatalogSource } from '../cloud/catalog-source.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createCatalog } from './catalog.ts'
import { createCatalogStore } from './catalog-store.ts'
import { silent } from './testing.ts'

/** PostgreSQL for tests is asked for on this machine. */
const server = setupServer(http.get('http://127.0.0.1:*/', () => passthrough()))
const cleanups: (() => Promise<void> | void)[] = []
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterEach(async () => {
  server.resetHandlers()
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
afterAll(() => server.close())

const NOW = Date.UTC(2025, 10, 20)
const URL = 'https://advisor.test/spot-advisor-data.json'
const signal = new AbortController().signal

const ranges = ['<5%', '5-10%', '10-15%', '15-20%', '>20%'].map((label, index) => ({
  index,
  label,
  dots: index,
  max: 0,
}))
const advisor = (band: number, more: object = {}) => ({
  instance_types: {},
  global_rate: '<10%',
  ranges,
  spot_advisor: {
    'ap-south-1': {
      Linux: Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`c${i}.large`, { r: band, s: 70 }])),
      Windows: { 'c0.large': { r: 4, s: -62 } },
    },
  },
  ...more,
})

const badFiles: readonly (readonly [what: string, body: unknown])[] = [
  ['cut off', JSON.stringify(advisor(3)).slice(0, 3000)],
  ['a page of a proxy', '<html>Please sign in</html>'],
  ['six bands', advisor(3, { ranges: [...ranges, { index: 5, label: '>50%', dots: 5, max: 100 }] })],
  [
    'bands in another order',
    advisor(3, { ranges: ranges.map((range) => ({ ...range, index: 4 - range.index })) }),
  ],
  ['bands that there are not', advisor(7)],
  [
    'hardly an entry',
    advisor(3, { spot_advisor: { 'ap-south-1': { Linux: { 'c5.large': { r: 1, s: 1 } } } } }),
  ],
  ['another form', { spot_advisor: [], ranges }],
  ['endless', `${' '.repeat(17_000_000)}{}`],
]

describe.each(dialects)('catalog on %s', (dialect) => {
  type Store = ReturnType<typeof createCatalogStore>
  async function world(source?: Partial<CatalogSource>, broken: (store: Store) => Store = (store) => store) {
    const database = await testDatabase(dialect)
    cleanups.push(() => database.close())
    const time = createVirtualTime(NOW)
    const store = createCatalogStore(database.bulk)
    const nothing = () => Promise.reject(new AppError('unavailable', 'not today'))
    const catalog = createCatalog({
      store: broken(store),
      source: source && { zones: nothing, instanceTypes: nothing, onDemandPrices: nothing, ...source },
      regions: ['ap-south-1'],
      advisorUrl: URL,
      fetch: globalThis.fetch,
      clock: time.clock,
      log: silent,
    })
    return { time, store, catalog }
  }
  /** Serves what it is told to, and answers 304 to whoever has it. */
  function serve(first: unknown) {
    const file = { body: first, etag: '"one"', asked: [] as (string | null)[] }
    server.use(
      http.get(URL, ({ request }) => {
        const known = request.headers.get('if-none-match')
        file.asked.push(known)
        if (known === file.etag) return new HttpResponse(null, { status: 304 })
        const headers = { etag: file.etag, 'last-modified': 'Wed, 19 Nov 2025 12:00:00 GMT' }
        return typeof file.body === 'string'
          ? HttpResponse.text(file.body, { headers })
          : HttpResponse.json(file.body as object, { headers })
      }),
    )
    return file
  }
  const bandOf = async (store: ReturnType<typeof createCatalogStore>) =>
    (await store.advisor('ap-south-1', 'Linux'))[0]?.band

  test('the Spot Advisor file is kept per region and system, with its date; unchanged it is not sent again', async () => {
    const { store, catalog, time } = await world()
    const file = serve(advisor(1))
    expect(await catalog.refresh(signal)).toEqual([
      { name: 'spot-advisor', outcome: 'replaced', note: '121 entries' },
    ])
    expect(await store.advisor('ap-south-1', 'Windows')).toEqual([
      {
        instanceType: 'c0.large',
        region: 'ap-south-1',
        os: 'Windows',
        band: 4,
        savingsPercent: -62,
        asOf: Date.UTC(2025, 10, 19, 12),
        fetchedAt: NOW,
      },
    ])
    await time.advance(hours(6))
    expect(await catalog.refresh(signal)).toMatchObject([{ outcome: 'unchanged' }])
    expect(file.asked).toEqual([null, '"one"'])
    file.etag = '"two"'
    file.body = advisor(3)
    expect(await catalog.refresh(signal)).toMatchObject([{ outcome: 'replaced' }])
    expect(await bandOf(store)).toBe(3)
    expect(await store.source('spot-advisor')).toMatchObject({
      etag: '"two"',
      error: null,
      checked_at: NOW + hours(6),
    })
  })

  test('a hostile or broken file leaves the last good one, and the error is told', async () => {
    const { store, catalog } = await world()
    const file = serve(advisor(1))
    await catalog.refresh(signal)
    for (const [what, body] of badFiles) {
      file.etag = '"bad"'
      file.body = body
      expect(await catalog.refresh(signal), what).toMatchObject([{ name: 'spot-advisor', outcome: 'failed' }])
      expect(await bandOf(store), what).toBe(1)
      const row = await store.source('spot-advisor')
      expect(row, what).toMatchObject({ etag: '"one"', fetched_at: NOW })
      expect(row?.error, what).toMatch(/Spot Advisor file cannot be used|larger than/)
      // It is asked for with the ETag of the copy that is here, and is good again as soon as the file is.
      file.etag = '"one"'
      expect(await catalog.refresh(signal), what).toMatchObject([{ outcome: 'unchanged' }])
      expect((await store.source('spot-advisor'))?.error, what).toBeNull()
    }
  })

  test('a few entries that make no sense are left out', async () => {
    const { store, catalog } = await world()
    const file = advisor(1)
    Object.assign(file.spot_advisor['ap-south-1'].Linux, {
      '__proto__.x': { r: 1, s: 1 },
      'c5.large': { r: 'x', s: 1 },
    })
    serve(file)
    expect(await catalog.refresh(signal)).toMatchObject([{ note: '120 entries, 2 refused' }])
    expect(await store.advisor('ap-south-1', 'Linux')).toHaveLength(119)
  })

  test('what EC2 knows of a region is kept with its source and age; a part that fails keeps its last copy', async () => {
    const type = {
      instanceType: 'c5.large',
      vcpu: 2,
      memoryMib: 4096,
      architecture: 'x86_64' as const,
      gpuCount: 0,
      gpuName: null,
      networkGbps: 10,
      burstable: false,
      bareMetal: false,
    }
    const price = {
      instanceType: 'c5.large',
      region: 'ap-south-1',
      os: 'Linux' as const,
      price: fromUsd(0.085),
      asOf: instant(NOW),
    }
    const zone = { name: 'ap-south-1a', id: 'aps1-az1', region: 'ap-south-1' }
    const parts: CatalogSource = {
      zones: () => Promise.resolve([zone]),
      instanceTypes: () => Promise.resolve([type]),
      onDemandPrices: () => Promise.resolve([price]),
    }
    const { store, catalog, time } = await world(parts)
    serve(advisor(1))
    expect((await catalog.refresh(signal)).map(({ outcome }) => outcome)).toEqual(Array(4).fill('replaced'))
    expect(await store.instanceTypes()).toEqual([type])
    expect(await store.onDemand('ap-south-1')).toEqual([price])
    expect(await store.zones('ap-south-1')).toEqual([zone])

    await time.advance(hours(24))
    parts.onDemandPrices = () => Promise.reject(new AppError('forbidden', 'AWS does not allow it'))
    parts.zones = () => Promise.resolve([{ ...zone, id: 'use1-az1' }])
    parts.instanceTypes = () => Promise.resolve([])
    const again = createCatalog({
      store,
      source: parts,
      regions: ['ap-south-1'],
      advisorUrl: URL,
      fetch: globalThis.fetch,
      clock: time.clock,
      log: silent,
    })
    expect((await again.refresh(signal)).map(({ outcome }) => outcome)).toEqual([
      'unchanged',
      'failed',
      'failed',
      'failed',
    ])
    expect(await store.onDemand('ap-south-1')).toEqual([price])
    expect(await store.zones('ap-south-1')).toEqual([zone])
    expect(await store.source('on-demand/ap-south-1')).toMatchObject({
      url: 'pricing:GetProducts',
      fetched_at: NOW,
      checked_at: NOW + hours(24),
      error: 'AWS does not allow it',
    })
  })

  test('it looks every six hours, and after half an hour again when it failed', async () => {
    const { catalog, time } = await world()
    const file = serve('not yet')
    const stop = new AbortController()
    const running = catalog.run(stop.signal)
    const until = async (count: number) => {
      for (;;) {
        // It waits only after it has written down how the last look went.
        while (time.pending() === 0) await new Promise((resolve) => setTimeout(resolve, 2))
        if (file.asked.length >= count) return time.clock.now() - NOW
        await time.advance(minutes(10))
      }
    }
    expect(await until(1)).toBe(0)
    file.body = advisor(2)
    expect(await until(2)).toBe(minutes(30))
    const first = time.clock.now() - NOW
    expect((await until(3)) - first).toBe(hours(6))
    stop.abort()
    await running
    expect(time.pending()).toBe(0)
  })

  test('what an answer names twice is kept once', async () => {
    const type = {
      instanceType: 'c5.large',
      vcpu: 2,
      memoryMib: 4096,
      architecture: 'x86_64' as const,
      gpuCount: 0,
      gpuName: null,
      networkGbps: 10,
      burstable: false,
      bareMetal: false,
    }
    const zone = { name: 'ap-south-1a', id: 'aps1-az1', region: 'ap-south-1' }
    const price = {
      instanceType: 'c5.large',
      region: 'ap-south-1',
      os: 'Linux' as const,
      price: fromUsd(0.085),
      asOf: null,
    }
    const { store, catalog } = await world({
      zones: () => Promise.resolve([zone, zone]),
      instanceTypes: () => Promise.resolve([type, { ...type, vcpu: 4 }]),
      onDemandPrices: () => Promise.resolve([price, price]),
    })
    serve(advisor(1))
    expect((await catalog.refresh(signal)).map(({ outcome }) => outcome)).toEqual(Array(4).fill('replaced'))
    expect(await store.zones()).toEqual([zone])
    expect(await store.instanceTypes()).toEqual([{ ...type, vcpu: 4 }])
    expect(await store.onDemand()).toEqual([price])
  })

  test('a database that refuses a part does not end it, nor keep the other parts from being kept', async () => {
    const zone = { name: 'ap-south-1a', id: 'aps1-az1', region: 'ap-south-1' }
    const { store, catalog, time } = await world({ zones: () => Promise.resolve([zone]) }, (kept) => ({
      ...kept,
      replaceAdvisor: () => Promise.reject(new Error('SQLITE_BUSY')),
    }))
    serve(advisor(1))
    const stop = new AbortController()
    const running = catalog.run(stop.signal)
    while (time.pending() === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    expect(await store.zones()).toEqual([zone])
    expect(await store.source('spot-advisor')).toMatchObject({ error: 'SQLITE_BUSY', checked_at: NOW })
    stop.abort()
    await running
  })

  test('a database that cannot be read is looked at again', async () => {
    let reads = 0
    const { catalog, time } = await world(undefined, (kept) => ({
      ...kept,
      zones: () => {
        reads += 1
        return Promise.reject(new Error('SQLITE_BUSY'))
      },
    }))
    const stop = new AbortController()
    const running = catalog.run(stop.signal)
    while (time.pending() === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    await time.advance(minutes(10))
    while (time.pending() === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    expect(reads).toBe(2)
    stop.abort()
    await running
  })
})
