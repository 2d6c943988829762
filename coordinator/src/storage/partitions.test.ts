import { expect, onTestFinished, test } from 'vitest'
import { openDatabase } from './database.ts'
import { migrate } from './migrate.ts'
import { ensurePartitions } from './partitions.ts'
import { testPlace } from './testing.ts'

test('processes that need the partition of a new month at the same time all get it', async () => {
  const { place, remove } = await testPlace('postgres')
  onTestFinished(remove)
  const open = async () => {
    const database = await openDatabase(place)
    onTestFinished(() => database.close())
    return database.bulk
  }
  const all = await Promise.all([open(), open(), open()])
  await migrate(all[0] as (typeof all)[0])
  const months = Array.from({ length: 12 }, (_, month) => Date.UTC(2025, month, 10))
  await Promise.all(all.map((db) => ensurePartitions(db, 'price_changes', months)))
  for (const at of months)
    await all[0]?.insertInto('price_changes').values({ pool: 1, at, price: 1, source: 'history' }).execute()
  const kept = await all[1]?.selectFrom('price_changes').select('at').orderBy('at').execute()
  expect(kept?.map(({ at }) => at)).toEqual(months)
})
