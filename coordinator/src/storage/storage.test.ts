import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { openSqlite, ownDatabase } from './database.ts'
import { migrate, pendingMigrations } from './migrate.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-db-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'test.db')
}
async function open(path = ':memory:') {
  const database = openSqlite({ path })
  cleanups.push(() => database.close())
  return database
}

test('a new database is brought up to date once', async () => {
  const { db } = await open()
  const all = ['0001-first', '0002-certificate-authority', '0003-votes']
  expect(await pendingMigrations(db)).toEqual(all)
  expect(await migrate(db)).toEqual(all)
  expect(await migrate(db)).toEqual([])
})

test('a database that a newer version has used is left alone', async () => {
  const { db } = await open()
  await migrate(db)
  await db
    .withTables<{ kysely_migration: { name: string; timestamp: string } }>()
    .insertInto('kysely_migration')
    .values({ name: '9999-from-the-future', timestamp: '' })
    .execute()
  await expect(migrate(db)).rejects.toMatchObject({
    code: 'database_newer',
    message: expect.stringContaining('9999-from-the-future'),
    hint: expect.stringContaining('backup'),
  })
})

test('a file that is no database says so', () => {
  const path = scratch()
  writeFileSync(path, 'this is a text file, and a long one, so that it is read as a header of something else')
  expect(() => openSqlite({ path })).toThrow('is not a SQLite database')
})

test('a file that cannot be written says so', () => {
  expect(() => openSqlite({ path: '/dev/null/x.db' })).toThrow('cannot be opened')
})

test('one coordinator owns a database; commands may still open it', async () => {
  const path = scratch()
  await open(path)
  const disown = ownDatabase({ path })
  expect(() => ownDatabase({ path })).toThrow('in use by another coordinator')
  const { db } = await open(path)
  await migrate(db)
  disown()
  ownDatabase({ path })()
})

test('only its owner may read the database: it holds the key of the certificate authority', async () => {
  const path = scratch()
  const modes = () => [path, `${path}-wal`, `${path}-shm`].map((file) => statSync(file).mode & 0o777)
  await migrate((await open(path)).db)
  expect(modes()).toEqual([0o600, 0o600, 0o600])
  for (const file of [path, `${path}-wal`, `${path}-shm`]) chmodSync(file, 0o644)
  await open(path)
  expect(modes()).toEqual([0o600, 0o600, 0o600])
})
