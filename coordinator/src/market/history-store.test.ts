import { instant } from '@understudy/shared/core/time'
import { afterEach, expect, test } from 'vitest'
import { openDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { testPlace } from '../storage/testing.ts'
import { createGapStore } from './gap-store.ts'
import { createHistoryStore } from './history-store.ts'
import { createPoolStore } from './pool-store.ts'
import { at, POOL } from './testing.ts'

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

test('two processes at once leave one coverage on PostgreSQL', async () => {
  const { place, remove } = await testPlace('postgres')
  cleanups.push(remove)
  const open = async () => {
    const database = await openDatabase(place)
    cleanups.push(database.close)
    return database
  }
  const processes = [await open(), await open()]
  await migrate((processes[0] as (typeof processes)[0]).db)
  const stores = processes.map(({ bulk: db }) =>
    createHistoryStore({
      db,
      clock: { now: () => at(500), mono: () => 0 as never, timer: () => () => undefined },
      pools: createPoolStore(db),
      gaps: createGapStore(db),
      inOrder: (task) => task(),
    }),
  )
  // Each writes its own parts of the same time, which touch those of the other.
  for (let round = 0; round < 15; round++) {
    const from = round * 10
    await Promise.all(
      stores.map((store, i) =>
        store.recordHistory(POOL, [], [{ from: at(from), to: at(from + 8 + i) }], 'history'),
      ),
    )
  }
  const rows = await processes[0]?.db.selectFrom('price_coverage').selectAll().orderBy('from_at').execute()
  expect(rows?.map(({ from_at, to_at }) => [instant(from_at), instant(to_at)])).toEqual(
    Array.from({ length: 15 }, (_, round) => [at(round * 10), at(round * 10 + 9)]),
  )
})
