import { AppError } from '@understudy/shared/core/app-error'
import { hours, instant, minutes, seconds } from '@understudy/shared/core/time'
import type { GivenSample } from '@understudy/shared/market/sample'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { HistoryQuery } from '../cloud/history-source.ts'
import { createTestSource, silent, testPrices } from '../market/testing.ts'
import type { ModelRow, OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { until } from './bench-testing.ts'
import { gapAnalysisView, gapFillView } from './model-data-views.ts'
import { createModelGapFiller, type ModelGapFillerParts } from './model-gap-filler.ts'
import { testModel } from './testing.ts'

const NOW = Date.UTC(2025, 10, 28, 12)
const DAY = hours(24)
const POOL = 'c5.large@us-east-1a'
const scope = { instanceTypes: ['c5.large'], regions: ['us-east-1'] }
const dateAgo = (days: number) => new Date(NOW - days * DAY).toISOString().slice(0, 10)

/** As EC2 answers: the price before the range, and each change in it. */
const answer = ({ range, instanceTypes: [type], region }: HistoryQuery): GivenSample[] => {
  const pool = `${type}@${region}a`
  const at = Date.UTC(2025, 10, 20, 10)
  return [
    { pool, at: range.from - 1000, price: '0.11' },
    { pool, at, price: '0.10' },
    { pool, at: at + hours(3), price: '0.12' },
  ]
}

describe.each(dialects)('the gap filler of models on %s', (dialect) => {
  let database: OpenDatabase
  beforeAll(async () => {
    database = await testDatabase(dialect)
  })
  afterAll(() => database.close())
  const cleanups: (() => Promise<void> | void)[] = []
  beforeEach(async () => {
    for (const table of [
      'model_gap_fills',
      'price_fetches',
      'price_changes',
      'price_coverage',
      'pools',
    ] as const)
      await database.db.deleteFrom(table).execute()
  })
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  const row = (id: string, trained_until: string) =>
    ({
      id,
      name: 'price-instability',
      version: '1.0.0',
      trained_until,
      manifest: JSON.stringify(testModel().manifest),
    }) as ModelRow

  function world(
    options: {
      readonly pages?: Parameters<typeof createTestSource>[0]
      readonly trainedUntil?: string
      readonly settings?: Partial<ModelGapFillerParts['settings']>
      readonly noSource?: boolean
    } = {},
  ) {
    const time = createVirtualTime(NOW)
    const source = createTestSource(options.pages ?? ((query) => [answer(query), answer(query)]))
    const models = new Map([
      ['model-1', row('model-1', options.trainedUntil ?? '2025-10-31')],
      ['model-2', row('model-2', dateAgo(120))],
    ])
    let active: string | undefined = 'model-1'
    /** Everything that runs, as after a start. */
    function start() {
      const prices = testPrices(database, source, time.clock)
      const filler = createModelGapFiller({
        db: database.db,
        clock: time.clock,
        log: silent,
        models: {
          store: { find: async (id: string) => models.get(id) } as ModelGapFillerParts['models']['store'],
          serving: {
            get active() {
              return active === undefined ? undefined : ({ id: active } as never)
            },
          },
        },
        ...prices,
        ...(options.noSource ? { backfill: undefined } : {}),
        settings: {
          enabled: true,
          instanceTypes: ['c5.large'],
          regions: ['us-east-1'],
          daysMax: 90,
          ...options.settings,
        },
      })
      const stop = new AbortController()
      const running: Promise<unknown>[] = []
      const end = async () => {
        stop.abort()
        await Promise.all(running)
      }
      cleanups.push(end)
      return {
        ...prices,
        filler,
        end,
        fetchNow: () => void running.push(prices.backfill.run(stop.signal)),
        runFiller: () => void running.push(filler.run(stop.signal)),
        async ended(id: string) {
          const task = async () => gapFillView(await filler.task(id), time.clock)
          await until(async () => (await task()).ended_at !== null)
          return task()
        },
      }
    }
    return { time, source, start, activate: (id: string | undefined) => (active = id), system: start() }
  }
  const changes = async () =>
    (await database.db.selectFrom('price_changes').select(['at', 'price']).orderBy('at').execute()).length

  test('a gap of 28 days is fetched once; the same page twice and a second fill add nothing', async () => {
    const { system, source, time } = world()
    const before = gapAnalysisView(await system.filler.analyze({}))
    expect(before).toMatchObject({
      trained_until: '2025-10-31',
      current_date: '2025-11-28',
      gap_days: 28,
      required_data_types: ['spot_prices'],
      readiness: 'MISSING',
      unfillable: null,
      items: [{ instance_type: 'c5.large', region: 'us-east-1', pools: 0, missing_hours: 35 * 24 + 12 }],
    })
    const row = await system.filler.fill(scope, 'manual', 'ada')
    expect(gapFillView(row, time.clock)).toMatchObject({
      status: 'in_progress',
      percent_complete: 0,
      records_filled: 0,
      created_by: 'ada',
    })
    await expect(system.filler.fill(scope, 'manual', 'ada')).rejects.toMatchObject({
      code: 'busy',
      facts: { task_id: row.id },
    })
    system.fetchNow()
    expect(await system.ended(row.id)).toMatchObject({
      status: 'completed',
      percent_complete: 100,
      readiness: 'READY',
      records_filled: 6,
      error: null,
    })
    expect(source.asked).toMatchObject([{ range: { from: Date.UTC(2025, 9, 24) } }])
    expect(await changes()).toBe(3)
    const from = Date.UTC(2025, 10, 20, 10)
    const series = await system.market.series(POOL, { from: instant(from), to: instant(from + hours(4)) })
    expect(series.map(({ price }) => price)).toEqual([
      ...new Array(36).fill(100_000),
      ...new Array(12).fill(120_000),
    ])
    const again = gapFillView(await system.filler.fill(scope, 'manual', 'ada'), time.clock)
    expect(again).toMatchObject({
      status: 'completed',
      records_filled: 0,
      fetches: [],
      percent_complete: 100,
    })
    expect([source.asked.length, await changes()]).toEqual([1, 3])
    const after = await system.filler.analyze({})
    expect(gapAnalysisView(after)).toMatchObject({ readiness: 'READY', percent_covered: 100 })
  })

  test('what is older than 90 days is unfillable: PARTIAL, and below 100 per cent for ever', async () => {
    const { system, time } = world({ trainedUntil: dateAgo(120) })
    const { id } = await system.filler.fill(scope, 'manual', 'ada')
    system.fetchNow()
    const ended = await system.ended(id)
    expect(ended).toMatchObject({ status: 'completed', readiness: 'PARTIAL', unfillable: { days: 37 } })
    expect(ended.percent_complete).toBe(70.5)
    const [model] = (await system.filler.analyses([row('model-1', dateAgo(120))])).values()
    expect(model?.gap).toMatchObject({ readiness: 'PARTIAL', missingMillis: 0 })
    expect(await system.filler.history(undefined, 10)).toHaveLength(1)
    expect(await system.filler.history({ at: time.clock.now(), id: '' }, 10)).toEqual([])
  })
  test('a restart takes up what was under way, and fetches nothing twice', async () => {
    const { system, start, source } = world()
    const { id } = await system.filler.fill(scope, 'manual', 'ada')
    await system.end()
    const next = start()
    next.runFiller()
    next.fetchNow()
    expect(await next.ended(id)).toMatchObject({ status: 'completed', readiness: 'READY', records_filled: 6 })
    expect(source.asked).toHaveLength(1)
  })

  test('cancelled, its fetches end, and nothing else is cancelled with it', async () => {
    const { system } = world()
    const range = { from: instant(NOW - 90 * DAY), to: instant(NOW) }
    const other = await system.backfill.startFetch({
      instanceTypes: ['m5.large'],
      regions: ['us-east-1'],
      ...range,
    })
    const both = { instanceTypes: ['c5.large', 'm5.large'], regions: ['us-east-1'] }
    const { id } = await system.filler.fill(both, 'manual', 'ada')
    const { fetches } = gapFillView(await system.filler.task(id), { now: () => instant(NOW) })
    expect(fetches).toHaveLength(2)
    expect(fetches).toContain(other.id)
    expect(await system.filler.cancel(id)).toMatchObject({ status: 'cancelled', left_ms: expect.any(Number) })
    expect((await system.backfill.fetchStatus(other.id)).status).toBe('queued')
    const own = fetches.find((fetch) => fetch !== other.id) ?? ''
    expect((await system.backfill.fetchStatus(own)).status).toBe('cancelled')
    expect(await system.filler.cancel(id)).toMatchObject({ status: 'cancelled' })
    await expect(system.filler.cancel('gap-fill-x')).rejects.toMatchObject({ code: 'not_found' })
  })

  test('a source that refuses makes it failed, with why, and what is missing is still missing', async () => {
    const { system } = world({ pages: () => [new AppError('forbidden', 'AWS does not allow it')] })
    const { id } = await system.filler.fill(scope, 'manual', 'ada')
    system.fetchNow()
    expect(await system.ended(id)).toMatchObject({
      status: 'failed',
      readiness: 'MISSING',
      percent_complete: 0,
      error: 'AWS does not allow it',
    })
  })

  test('it begins by itself at the start and when another version is activated, if it is enabled', async () => {
    const { system, time, activate } = world()
    system.runFiller()
    system.fetchNow()
    const next = async (count: number) => {
      const tasks = () => system.filler.history(undefined, 10)
      await until(async () => {
        await time.advance(seconds(5))
        const all = await tasks()
        return all.length >= count && all.every(({ ended_at }) => ended_at !== null)
      })
      return tasks()
    }
    expect(await next(1)).toMatchObject([{ trigger: 'start', actor: 'coordinator', model_id: 'model-1' }])
    activate('model-2')
    expect(await next(2)).toMatchObject([
      { trigger: 'activation', model_id: 'model-2', readiness: 'PARTIAL' },
      { trigger: 'start' },
    ])
    const off = world({ settings: { enabled: false } })
    off.system.runFiller()
    for (let i = 0; i < 5; i += 1) {
      await off.time.advance(minutes(1))
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(await off.system.filler.history(undefined, 10)).toHaveLength(2)
  })

  test('what could not begin by itself is tried again', async () => {
    const { system, time } = world()
    const { pools } = system.market
    let asked = 0
    Object.assign(system.market, {
      pools() {
        asked += 1
        return asked === 1 ? Promise.reject(new Error('the database is busy')) : pools()
      },
    })
    system.runFiller()
    const begun = () => system.filler.history(undefined, 10)
    await until(async () => {
      await time.advance(seconds(5))
      return (await begun()).length > 0
    })
    expect(await begun()).toMatchObject([{ trigger: 'start', model_id: 'model-1' }])
    expect(time.clock.now() - NOW, 'after a minute, not with every look').toBeGreaterThanOrEqual(90_000)
  })

  test('a fill whose fetches are gone ends, and without a source it can be cancelled', async () => {
    const { system } = world()
    const lost = await system.filler.fill(scope, 'manual', 'ada')
    await database.db.deleteFrom('price_fetches').execute()
    expect(await system.filler.task(lost.id)).toMatchObject({
      status: 'failed',
      error: expect.stringContaining('there is no fetch'),
    })
    const next = await system.filler.fill(scope, 'manual', 'ada')
    const none = world({ noSource: true })
    expect(await none.system.filler.cancel(next.id)).toMatchObject({ status: 'cancelled' })
  })

  test('without a model, a source or a region it says what to do; a refresh goes on all the same', async () => {
    const { system, activate } = world({ settings: { regions: [] } })
    await expect(system.filler.fill({ instanceTypes: ['c5.large'] }, 'manual', 'ada')).rejects.toMatchObject({
      code: 'input_invalid',
      hint: expect.stringContaining('GAP_FILLER_REGIONS'),
    })
    activate(undefined)
    await expect(system.filler.analyze({})).rejects.toMatchObject({ code: 'not_ready' })
    await expect(system.filler.analyze({ modelId: 'model-9' })).rejects.toMatchObject({ code: 'not_found' })
    expect(await system.filler.refresh('ada')).toBe('no prices were fetched: no model is active')
    const none = world({ noSource: true })
    await expect(none.system.filler.fill(scope, 'manual', 'ada')).rejects.toMatchObject({
      code: 'not_supported',
    })
    expect(gapAnalysisView(await none.system.filler.analyze(scope)).readiness).toBe('MISSING')
    expect(await none.system.filler.refresh('ada')).toContain('there is no source')
    const there = world()
    expect(await there.system.filler.refresh('ada')).toMatch(/^prices are being fetched: gap-fill-/)
  })
})
