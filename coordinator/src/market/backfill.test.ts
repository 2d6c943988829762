import { AppError } from '@understudy/shared/core/app-error'
import { hours, instant } from '@understudy/shared/core/time'
import type { GivenSample } from '@understudy/shared/market/sample'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, describe, expect, test } from 'vitest'
import type { HistoryQuery } from '../cloud/history-source.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createBackfill } from './backfill.ts'
import { createFetchStore } from './fetch-store.ts'
import { createMemorySink, createTestSource, silent } from './testing.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const NOW = Date.UTC(2025, 10, 20, 10)
type Pages = Parameters<typeof createTestSource>[0]

const inRegion = ({ region, instanceTypes: [type], range }: HistoryQuery): GivenSample[] => [
  { pool: `${type}@${region}a`, at: range.from + 1000, price: '0.05' },
  { pool: `${type}@${region}a`, at: range.from - 1000, price: '0.04' },
]

describe.each(dialects)('backfill on %s', (dialect) => {
  async function world(pages: Pages = (query) => [inRegion(query)]) {
    const database = await testDatabase(dialect)
    cleanups.push(() => database.close())
    const time = createVirtualTime(NOW)
    const sink = createMemorySink()
    const source = createTestSource(pages)
    const known = () => ({ now: time.clock.now(), isKnownZone: () => undefined, onDemand: () => undefined })
    const store = createFetchStore(database.db)
    const make = (from = source, kept = store) =>
      createBackfill({
        source: from,
        sink,
        store: kept,
        known,
        clock: time.clock,
        log: silent,
      })
    return { time, sink, source, store, make, backfill: make() }
  }
  const request = (types: number, regions = ['ap-south-1'], days = 30) => ({
    instanceTypes: Array.from({ length: types }, (_, i) => `c${i + 1}.large`),
    regions,
    from: instant(NOW - hours(24 * days)),
    to: instant(NOW),
  })
  /** Runs the service until the fetch has ended. */
  async function untilEnded(backfill: ReturnType<typeof createBackfill>, id: string) {
    const stop = new AbortController()
    const running = backfill.run(stop.signal)
    for (;;) {
      const status = await backfill.fetchStatus(id)
      if (status.endedAt !== null) {
        stop.abort()
        await running
        return status
      }
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  test('every type in every region is fetched, recorded and covered', async () => {
    const { backfill, sink, source, time } = await world()
    const { id, total, status } = await backfill.startFetch(request(2, ['ap-south-1', 'us-east-1']))
    expect({ total, status }).toEqual({ total: 4, status: 'queued' })
    const ended = await untilEnded(backfill, id)
    expect(ended).toMatchObject({
      status: 'done',
      done: 4,
      total: 4,
      rows: 8,
      percent: 100,
      eta: null,
      error: null,
    })
    expect(source.asked.map(({ region, instanceTypes }) => `${instanceTypes[0]} ${region}`)).toEqual([
      'c1.large ap-south-1',
      'c2.large ap-south-1',
      'c1.large us-east-1',
      'c2.large us-east-1',
    ])
    expect(sink.coverage.get('c2.large@us-east-1a')).toEqual([{ from: NOW - hours(720), to: NOW }])
    expect([...(sink.changes.get('c1.large@ap-south-1a') ?? [])].map(([, price]) => price)).toEqual([
      50_000, 40_000,
    ])
    expect(time.pending()).toBe(0)
  })

  test('after a crash it goes on from the part that was not done, and what is repeated does no harm', async () => {
    const { make, sink, source } = await world()
    const first = make()
    const { id } = await first.startFetch(request(4))
    const crash = new AbortController()
    sink.before = () => {
      // In the middle of the third part, after its rows and before its coverage.
      if (sink.changes.size === 3) crash.abort()
      crash.signal.throwIfAborted()
    }
    await first.run(crash.signal)
    expect(await first.fetchStatus(id)).toMatchObject({ status: 'running', done: 2, rows: 4, percent: 50 })
    expect(sink.coverage.size).toBe(2)

    sink.before = () => undefined
    const ended = await untilEnded(make(), id)
    expect(ended).toMatchObject({ status: 'done', done: 4, rows: 8 })
    expect(sink.coverage.size).toBe(4)
    expect(source.asked.map(({ instanceTypes }) => instanceTypes[0])).toEqual([
      'c1.large',
      'c2.large',
      'c3.large',
      'c3.large',
      'c4.large',
    ])
  })

  test('a part that fails is passed over without coverage, and the fetch says so', async () => {
    const cut = new AppError('unavailable', 'the answer was cut off')
    const { backfill, sink } = await world((query) =>
      query.instanceTypes[0] === 'c2.large' ? [inRegion(query), cut] : [inRegion(query)],
    )
    const { id } = await backfill.startFetch(request(3))
    const ended = await untilEnded(backfill, id)
    expect(ended).toMatchObject({ status: 'failed', done: 3, rows: 4 })
    expect(ended.error).toBe('1 of 3 parts failed, the first c2.large in ap-south-1: the answer was cut off')
    expect([...sink.coverage.keys()]).toEqual(['c1.large@ap-south-1a', 'c3.large@ap-south-1a'])
  })

  test.each([
    ['not allowed', new AppError('forbidden', 'no credentials'), 1],
    ['not reachable', new AppError('unavailable', 'no route'), 3],
  ])('when AWS is %s the rest is not asked for', async (_, error, asked) => {
    const { backfill, source } = await world(() => [error])
    const { id } = await backfill.startFetch(request(9))
    expect(await untilEnded(backfill, id)).toMatchObject({ status: 'failed', error: error.message, rows: 0 })
    expect(source.asked).toHaveLength(asked)
  })

  test('what is not offered, and rows that are refused, are told', async () => {
    const { backfill } = await world((query) =>
      query.instanceTypes[0] === 'c1.large'
        ? [[]]
        : [[...inRegion(query), { ...inRegion(query)[0], price: 'NaN' } as GivenSample]],
    )
    const { id } = await backfill.startFetch(request(2))
    const { status, cursor } = await untilEnded(backfill, id)
    expect(status).toBe('done')
    expect(cursor.notOffered).toEqual(['c1.large in ap-south-1'])
    expect(cursor.refused).toEqual({ price_not_a_number: 1 })
  })

  test('a fetch that is cancelled ends where it is', async () => {
    const { backfill, sink } = await world()
    const { id } = await backfill.startFetch(request(5))
    const queued = await backfill.startFetch(request(1, ['us-east-1']))
    expect((await backfill.cancelFetch(queued.id)).status).toBe('cancelled')
    sink.before = async () => {
      if (sink.changes.size === 2) await backfill.cancelFetch(id)
    }
    const ended = await untilEnded(backfill, id)
    expect(ended.status).toBe('cancelled')
    expect(ended.done).toBeLessThan(5)
    expect(sink.changes.has('c1.large@us-east-1a')).toBe(false)
    expect((await backfill.cancelFetch(id)).endedAt).toBe(ended.endedAt)
    await expect(backfill.cancelFetch('none')).rejects.toMatchObject({ code: 'not_found' })
  })

  test('no further back than the source reaches, and not into the future', async () => {
    const { backfill, source, sink, time } = await world()
    const { id } = await backfill.startFetch({ ...request(1, undefined, 400), to: instant(NOW + hours(5)) })
    await time.advance(700)
    await untilEnded(backfill, id)
    expect(source.asked[0]?.range).toEqual({ from: NOW + 700 - hours(90 * 24), to: NOW })
    expect(sink.coverage.get('c1.large@ap-south-1a')).toEqual([{ from: NOW + 700 - hours(90 * 24), to: NOW }])
  })

  test('while it runs it says how long it will take', async () => {
    const { backfill, sink, time } = await world()
    const { id } = await backfill.startFetch(request(4))
    const seen: (number | null)[] = []
    sink.before = async () => {
      await time.advance(1000)
      seen.push((await backfill.fetchStatus(id)).eta)
    }
    await untilEnded(backfill, id)
    // Each part is recorded twice, rows then coverage: two seconds.
    expect(seen).toEqual([null, null, 9000, 12_000, 5000, 6000, 2333, 2667])
  })

  test('the gap filler’s holes are fetched at once, per type and region', async () => {
    const { backfill, source, sink } = await world()
    const range = { from: instant(NOW - hours(8)), to: instant(NOW - hours(6)) }
    const pools = ['c1.large@ap-south-1a', 'c1.large@ap-south-1b', 'c2.large@us-east-1a']
    const { covered } = await backfill.fetchHistory({ pools, range }, new AbortController().signal)
    expect(source.asked).toEqual([
      { region: 'ap-south-1', instanceTypes: ['c1.large'], range },
      { region: 'us-east-1', instanceTypes: ['c2.large'], range, availabilityZone: 'us-east-1a' },
    ])
    expect([...covered]).toEqual([
      ['c1.large@ap-south-1a', [range]],
      ['c2.large@us-east-1a', [range]],
    ])
    expect(sink.coverage.get('c2.large@us-east-1a')).toEqual([range])
  })

  test('a type that is refused does not keep the others from being fetched; when nothing is, it is told', async () => {
    const pools = ['c1.large@ap-south-1a', 'c2.large@ap-south-1a', 'c3.large@ap-south-1a']
    const range = { from: instant(NOW - hours(8)), to: instant(NOW - hours(6)) }
    const signal = new AbortController().signal
    const refused = new AppError('input_invalid', 'EC2 does not know c1.large')
    const { backfill } = await world((query) =>
      query.instanceTypes[0] === 'c1.large' ? [refused] : [inRegion(query)],
    )
    const { covered } = await backfill.fetchHistory({ pools, range }, signal)
    expect([...covered.keys()]).toEqual(pools.slice(1))
    await expect(backfill.fetchHistory({ pools: pools.slice(0, 1), range }, signal)).rejects.toBe(refused)

    const closed = await world(() => [new AppError('forbidden', 'no credentials')])
    await expect(closed.backfill.fetchHistory({ pools, range }, signal)).rejects.toMatchObject({
      code: 'forbidden',
    })
    expect(closed.source.asked).toHaveLength(1)
    const away = await world(() => [new AppError('unavailable', 'no route')])
    const many = Array.from({ length: 9 }, (_, i) => `c${i + 1}.large@ap-south-1a`)
    await expect(away.backfill.fetchHistory({ pools: many, range }, signal)).rejects.toMatchObject({
      code: 'unavailable',
    })
    expect(away.source.asked).toHaveLength(3)
  })

  test('a database that is busy is asked again', async () => {
    const { make, store, time } = await world()
    let busy = true
    const backfill = make(undefined, {
      ...store,
      unfinished: () => (busy ? Promise.reject(new Error('SQLITE_BUSY')) : store.unfinished()),
    })
    const { id } = await backfill.startFetch(request(1))
    const stop = new AbortController()
    const running = backfill.run(stop.signal)
    while (time.pending() === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    busy = false
    await time.advance(5000)
    while ((await backfill.fetchStatus(id)).endedAt === null)
      await new Promise((resolve) => setTimeout(resolve, 2))
    expect((await backfill.fetchStatus(id)).status).toBe('done')
    stop.abort()
    await running
  })

  test('requests that make no sense are refused', async () => {
    const { backfill } = await world()
    const good = request(1)
    for (const bad of [
      { ...good, instanceTypes: [] },
      { ...good, regions: ['nowhere'] },
      { ...good, instanceTypes: ["c5.large'; drop table pools"] },
      { ...good, from: good.to },
      { ...good, from: instant(NOW + 1), to: instant(NOW + 2) },
    ])
      await expect(backfill.startFetch(bad)).rejects.toMatchObject({ code: 'input_invalid' })
    expect(await backfill.listFetches(10)).toEqual([])
  })
})
