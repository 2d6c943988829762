import { systemClock } from '@understudy/shared/core/time'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { openVoting } from './identity.ts'

async function newDatabase() {
  const { db, close } = openSqlite({ path: ':memory:' })
  onTestFinished(() => close())
  await migrate(db)
  return db
}

/** The number of starts as a backup had it. */
const goBack = (db: Awaited<ReturnType<typeof newDatabase>>) =>
  db.updateTable('coordinator_starts').set({ count: 0 }).execute()

test('a number that was told shows that the database is outdated, and shows it once', async () => {
  const db = await newDatabase()
  const [first, second] = [await openVoting(db, systemClock), await openVoting(db, systemClock)]
  expect(first.compare(first.start, first.startProof)).toBe('known')
  expect(second.compare(first.start, first.startProof)).toBe('known')
  await goBack(db)
  const restored = await openVoting(db, systemClock)
  expect(restored.compare(second.start, second.startProof)).toBe('outdated')
  expect(restored.leaveBehind(second.start)).toBeGreaterThanOrEqual(1000)
  expect(restored.start).toBeGreaterThan(second.start)
  for (const known of [first, second, restored])
    expect(restored.compare(known.start, known.startProof)).toBe('known')
})

test('a number that our key has never told shows nothing', async () => {
  const db = await newDatabase()
  const voting = await openVoting(db, systemClock)
  const other = await openVoting(await newDatabase(), systemClock)
  const high = voting.start + 5000
  expect(voting.compare(high, '')).toBe('unproven')
  expect(voting.compare(high, voting.startProof)).toBe('unproven')
  expect(voting.compare(Number.MAX_SAFE_INTEGER, 'x'.repeat(43))).toBe('unproven')
  other.leaveBehind(high)
  expect(voting.compare(other.start, other.startProof)).toBe('unproven')
})
