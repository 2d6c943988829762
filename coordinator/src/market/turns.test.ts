import { setImmediate } from 'node:timers/promises'
import { microUsd } from '@understudy/shared/core/money'
import { instant } from '@understudy/shared/core/time'
import type { PriceChange } from '@understudy/shared/market/history'
import { afterEach, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { testDatabase } from '../storage/testing.ts'
import { createGapStore } from './gap-store.ts'
import { createHistoryStore } from './history-store.ts'
import { createPoolStore } from './pool-store.ts'
import { createSavingsBook } from './savings.ts'
import { at, day, POOL, row, T0, testMarket } from './testing.ts'

/** On SQLite a query is no pause: without turns of their own, loops of queries would keep leases from being renewed. */

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** How many turns the event loop has had while that was done. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0
  let done = false
  const counting = (async () => {
    while (!done) {
      await setImmediate()
      turns += 1
    }
  })()
  await work()
  done = true
  await counting
  return turns
}

const POOLS = Array.from({ length: 40 }, (_, i) => `c${i}.large@ap-south-1a`)
const world = testMarket('sqlite')
const OTHER = 'm5.large@ap-south-1a'
const price = microUsd(40_000)

test('scans and the purge go pool by pool', async () => {
  for (const pool of POOLS) await world.send(row(0, 0.04, { pool }), row(9, 0.04, { pool }))
  let asked = 0
  let turns = 0
  world.history = {
    fetchHistory: () => {
      asked = turns
      return Promise.resolve()
    },
  }
  const counting = async (signal: AbortSignal) => {
    for (; !signal.aborted; turns++) await setImmediate()
  }
  const stop = new AbortController()
  const counted = counting(stop.signal)
  await world.scan(0, 20)
  stop.abort()
  await counted
  // Before history was asked for, each pool had been looked at.
  expect(asked).toBeGreaterThanOrEqual(POOLS.length)
  // Once for what is carried, and once for each of the three tables.
  expect(await turnsDuring(() => world.market.purge())).toBeGreaterThanOrEqual(POOLS.length * 4)
})

test('peers are read one after the other', async () => {
  const peers = [...'bcdefghijk'].map((zone) => `c5.large@ap-south-1${zone}`)
  for (const pool of peers) await world.send(...Array.from({ length: 30 }, (_, i) => row(i, 0.04, { pool })))
  await world.send(row(0, 0.04), row(20, 0.04), row(29, 0.04))
  const turns = await turnsDuring(() => world.market.scan({ pools: [POOL], range: world.range(0, 30) }))
  // Two long gaps, each with all of them.
  expect(turns).toBeGreaterThanOrEqual(peers.length * 2)
})

test('history is recorded in one transaction, and then everything else has its turn', async () => {
  const { recordHistory } = world.market
  const turns = await turnsDuring(async () => {
    for (const pool of POOLS)
      await recordHistory(pool, [{ at: at(0), price }], [world.range(0, 1)], 'history')
  })
  expect(turns).toBeGreaterThanOrEqual(POOLS.length * 2)
  const changes: PriceChange[] = Array.from({ length: 300 }, (_, i) => ({ at: at(i), price }))
  const broken = [...changes, { at: at(300), price: null as unknown as typeof price }]
  await expect(recordHistory(OTHER, broken, [], 'history')).rejects.toThrow(/NOT NULL/)
  expect((await world.market.history(OTHER, world.range(0, 400))).changes).toEqual([])
  expect(await recordHistory(OTHER, changes, [], 'history')).toBe(300)
})

test('an import waits after each transaction', async () => {
  const { db } = world.database
  let waits = 0
  const store = createHistoryStore({
    db,
    clock: { now: () => at(500), mono: () => 0 as never, timer: () => () => undefined },
    pools: createPoolStore(db),
    gaps: createGapStore(db),
    inOrder: (task) => task(),
    pause: () => {
      waits += 1
      return Promise.resolve()
    },
  })
  const many: PriceChange[] = Array.from({ length: 5001 }, (_, i) => ({ at: instant(T0 + i), price }))
  await store.recordHistory(POOL, many, [world.range(0, 1)], 'import')
  expect(waits).toBe(3)
})

/** Agents whose only instances have run for all the time, each in a pool of its own. */
async function fleet(agents: number): Promise<OpenDatabase> {
  const database = await testDatabase('sqlite')
  cleanups.push(() => database.close())
  const { db } = database
  for (let i = 0; i < agents; i++) {
    const instance = `i-${i}`
    await addAgent(db, { id: `a${i}`, instance_id: instance })
    await addInstance(db, {
      id: instance,
      agent_id: `a${i}`,
      pool_id: `c${i}.large@ap-south-1a`,
      launched_at: T0,
    })
  }
  return database
}

test('savings of a fleet over a long time are computed in pieces, and are the same', async () => {
  const { db } = await fleet(3)
  const end = instant(T0 + 100 * day)
  const asked: number[] = []
  const book = createSavingsBook({
    db,
    clock: { now: () => end, mono: () => 0 as never, timer: () => () => undefined },
    pricesOf: (pool, { from, to }) => {
      asked.push(to - from)
      // Another price every three hours, as history; each pool has a day that is not covered.
      const step = day / 8
      const first = Math.floor(from / step) * step
      const changes: PriceChange[] = []
      for (let time = first; time < to; time += step)
        changes.push({ at: instant(time), price: microUsd(30_000 + ((time / step) % 7) * 1000) })
      const lost = T0 + Number(/\d+/.exec(pool)?.[0]) * day
      const covered = [
        { from, to: instant(Math.min(to, lost)) },
        { from: instant(Math.max(from, lost + day)), to },
      ]
      return Promise.resolve({ samples: [], changes, covered })
    },
    onDemandOf: () => Promise.resolve(microUsd(90_000)),
    onDemandRate: 100,
    switchCost: undefined,
  })
  const range = { from: instant(T0 - 1234), to: end }
  const views: Awaited<ReturnType<typeof book.of>>[] = []
  const turns = await turnsDuring(async () => views.push(await book.of(null, range)))
  expect(turns).toBeGreaterThanOrEqual(3 * 14)
  expect(Math.max(...asked)).toBeLessThanOrEqual(7 * day)
  // 100 days of each less the one that is not known; of 800 steps 8 are missing.
  expect(views[0]).toMatchObject({ counted_hours: 3 * 99 * 24, unknown_hours: 3 * 24 })
  const spot = Array.from({ length: 3 }, (_, i) => costOf(i)).reduce((sum, cost) => sum + cost, 0)
  expect(views[0]?.spot_cost).toBeCloseTo(spot, 5)
  expect(views[0]?.on_demand_cost).toBeCloseTo(3 * 99 * 24 * 0.09, 5)
})

/** What three-hour steps of the test's prices come to, summed one by one. */
function costOf(lostDay: number): number {
  let cost = 0
  const step = day / 8
  for (let i = 0; i < 800; i++) {
    if (Math.floor(i / 8) === lostDay) continue
    cost += 3 * (0.03 + (((T0 + i * step) / step) % 7) * 0.001)
  }
  return cost
}
