import { hours, instant } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { type Backfill, createBackfill } from './backfill.ts'
import type { FetchRequest } from './backfill-plan.ts'
import { createDailyBackfill } from './daily-backfill.ts'
import { planDaily } from './daily-plan.ts'
import { createFetchStore, emptyCursor } from './fetch-store.ts'
import { createMemorySink, createTestSource, silent } from './testing.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const NOW = Date.UTC(2025, 10, 20, 10)
const DAY = hours(24)
const ago = (days: number) => instant(NOW - days * DAY)

test('each type is asked for from the end of what is covered, and 90 days back where nothing is', () => {
  const type = (instanceType: string, region: string, until: number[], lacks = false) => ({
    instanceType,
    region,
    until: until.map(ago),
    lacks,
  })
  const plan = planDaily(
    [
      type('c5.large', 'us-east-1', [1]),
      type('m5.large', 'us-east-1', [0.5, 0.1]),
      type('r5.large', 'us-east-1', [0.2, 3.5]),
      type('c5.large', 'ap-south-1', []),
      type('c6i.large', 'us-east-1', [1], true),
    ],
    instant(NOW),
  )
  const asked = (types: string[], region: string, days: number) => ({
    instanceTypes: types,
    regions: [region],
    from: ago(days),
    to: NOW,
  })
  expect(plan).toEqual([
    asked(['c5.large', 'm5.large'], 'us-east-1', 1),
    asked(['r5.large'], 'us-east-1', 4),
    asked(['c5.large'], 'ap-south-1', 90),
    asked(['c6i.large'], 'us-east-1', 90),
  ])
})

describe.each(dialects)('the daily backfill on %s', (dialect) => {
  async function world() {
    const database = await testDatabase(dialect)
    cleanups.push(() => database.close())
    const { db } = database
    const time = createVirtualTime(NOW)
    const store = createFetchStore(db)
    const asked: FetchRequest[] = []
    let ending: 'done' | 'failed' = 'done'
    /** A backfill whose fetches end at once. */
    const startFetch = async (request: FetchRequest, kind: 'backfill' | 'manual' = 'manual') => {
      asked.push(request)
      const now = time.clock.now()
      const fetch = {
        id: `f-${asked.length}`,
        kind,
        request,
        status: 'done' as const,
        done: 1,
        total: 1,
        rows: 0,
        error: null,
        cursor: emptyCursor,
        createdAt: now,
        startedAt: now,
        endedAt: now,
      }
      await store.add({ ...fetch, status: ending })
      if (ending === 'done') await cover(now)
      return { ...fetch, percent: 100, eta: null }
    }
    /** Everything sold in us-east-1 is covered until then. */
    async function cover(until: number) {
      await db.deleteFrom('price_coverage').where('pool', '<', 3).execute()
      await db
        .insertInto('price_coverage')
        .values(
          [1, 2].map((pool) => ({
            pool,
            from_at: ago(90),
            to_at: until,
            source: 'history',
            fetched_at: until,
          })),
        )
        .execute()
    }
    const pool = (type: string, zone: string) => ({
      pool_id: `${type}@${zone}`,
      instance_type: type,
      availability_zone: zone,
      region: zone.slice(0, -1),
    })
    const real = createBackfill({
      source: createTestSource(() => []),
      sink: createMemorySink(),
      store,
      known: () => ({ now: time.clock.now(), isKnownZone: () => undefined, onDemand: () => undefined }),
      clock: time.clock,
      log: silent,
    })
    const stop = new AbortController()
    const start = (how: Backfill['startFetch'] = startFetch) => {
      const service = createDailyBackfill({
        db,
        regions: ['us-east-1'],
        isKnownType: (type) => (type === 'm1.small' ? false : undefined),
        startFetch: how,
        clock: time.clock,
        log: silent,
      })
      const running = service.run(stop.signal)
      cleanups.push(async () => {
        stop.abort()
        await running
      })
    }
    return {
      db,
      time,
      asked,
      real,
      pool,
      start,
      fails: (answer: boolean) => {
        ending = answer ? 'failed' : 'done'
      },
      /** An hour at a time; the database has its time too: the next one begins when the service waits again. */
      async pass(hoursToPass: number) {
        const waits = () => vi.waitUntil(() => time.pending() > 0, { interval: 1, timeout: 10_000 })
        await waits()
        for (let hour = 0; hour < hoursToPass; hour++) {
          await time.advance(hours(1))
          await waits()
        }
      },
    }
  }

  test('once a day the types in use in the configured regions, from where the last one ended', async () => {
    const { db, time, asked, pool, start, pass, fails } = await world()
    start()
    await pass(2)
    expect(asked).toEqual([])
    await db
      .insertInto('pools')
      .values([
        pool('c5.large', 'us-east-1a'),
        pool('c5.large', 'us-east-1b'),
        pool('c5.large', 'eu-west-1a'),
        // Of a file of years ago: EC2 does not know the type any more.
        pool('m1.small', 'us-east-1a'),
      ])
      .execute()
    await pass(1)
    const first = time.clock.now()
    expect(asked).toEqual([
      { instanceTypes: ['c5.large'], regions: ['us-east-1'], from: first - 90 * DAY, to: first },
    ])
    await pass(23)
    expect(asked).toHaveLength(1)
    fails(true)
    await pass(1)
    expect(asked).toMatchObject([{}, { from: first, to: first + DAY }])
    // Nothing was covered by the one that failed: the next goes back over two days.
    fails(false)
    await pass(24)
    expect(asked).toMatchObject([{}, {}, { from: first, to: first + 2 * DAY }])
    await pass(24)
    expect(asked).toMatchObject([{}, {}, {}, { from: first + 2 * DAY, to: first + 3 * DAY }])
  })

  test('nothing more is queued while the last one is at work', async () => {
    const { db, real, pool, start, pass } = await world()
    await db
      .insertInto('pools')
      .values([pool('c5.large', 'us-east-1a'), pool('m5.large', 'us-east-1a')])
      .execute()
    start(real.startFetch)
    await pass(30)
    expect(await real.listFetches(10)).toMatchObject([{ kind: 'backfill', status: 'queued', total: 2 }])
  })

  test('the type of an instance is in use before any price of it has come, and while it lives', async () => {
    const { db, asked, start, pass } = await world()
    await addAgent(db, { id: 'a' })
    const instance = (id: string, pool: string, end: number | null) =>
      addInstance(db, { id, agent_id: 'a', pool_id: pool, terminated_at: end })
    await instance('i-1', 'r6g.large@us-east-1c', null)
    await instance('i-2', 'r6g.xlarge@us-east-1c', NOW)
    await instance('i-3', 'r6g.2xlarge@eu-west-1c', null)
    start()
    await pass(1)
    expect(asked).toMatchObject([{ instanceTypes: ['r6g.large'], regions: ['us-east-1'], from: ago(90) }])
  })
})
