import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import { afterEach, describe, expect, test } from 'vitest'
import { type Kysely, openDatabase, openSqlite, type Schema } from './database.ts'
import { dialectOf } from './dialect.ts'
import { migrate, pendingMigrations } from './migrate.ts'
import { nativeBinding } from './native-binding.ts'
import { nameOf } from './postgres.ts'
import { dialects, testPlace } from './testing.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-db-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'test.db')
}

describe.each(dialects)('a database on %s', (dialect) => {
  async function place() {
    const { place, remove } = await testPlace(dialect)
    cleanups.push(remove)
    return place
  }
  async function open(at?: Awaited<ReturnType<typeof place>>) {
    const database = await openDatabase(at ?? (await place()))
    cleanups.push(() => database.close())
    return database
  }

  test('a new database is brought up to date once', async () => {
    const { db } = await open()
    expect(dialectOf(db)).toBe(dialect)
    const all = [
      '0001-first',
      '0002-certificate-authority',
      '0003-votes',
      '0004-market',
      '0005-models',
      '0006-decisions',
      '0007-predictions',
      '0008-model-tasks',
      '0009-pipeline',
      '0010-lab',
      '0011-signal-outcomes',
      '0012-acted-predictions',
      '0013-decisions-kept',
      '0014-policies',
      '0015-notifications',
      '0016-covering-prices',
      '0018-engines',
      '0020-callers',
      '0021-notices-and-old-primaries',
    ]
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

  test('who owns a database owns it until it is closed, also when nobody keeps what gives it free', async () => {
    const at = await place()
    const first = await open(at)
    await first.own(() => undefined)
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    for (let i = 0; i < 3; i++) {
      collect()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    const second = await open(at)
    await expect(second.own(() => undefined)).rejects.toMatchObject({ code: 'busy' })
  })

  test('one coordinator owns a database; commands may still use it', async () => {
    const at = await place()
    const first = await open(at)
    const disown = await first.own(() => undefined)
    const second = await open(at)
    await expect(second.own(() => undefined)).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringContaining('in use by another coordinator'),
    })
    await migrate(second.db)
    await disown()
    await (await second.own(() => undefined))()
  })

  test('long work is done beside what decides', async () => {
    const { db, bulk } = await open()
    await migrate(db)
    await bulk.insertInto('clients').values({ id: 'c', name: 'C', created_at: 1 }).execute()
    expect(await db.selectFrom('clients').select('id').execute()).toEqual([{ id: 'c' }])
  })

  test('times and money come back as the numbers that they were; what is counted is a number', async () => {
    const { db } = await open()
    await migrate(db)
    const at = Date.UTC(2100, 0, 1)
    await db.insertInto('clients').values({ id: 'c', name: 'C', created_at: at }).execute()
    const { created_at } = await db.selectFrom('clients').selectAll().executeTakeFirstOrThrow()
    expect(created_at).toBe(at)
    const { n, sum } = await db
      .selectFrom('clients')
      .select((e) => [e.fn.countAll().as('n'), e.fn.sum('created_at').as('sum')])
      .executeTakeFirstOrThrow()
    expect([n, sum]).toEqual([1, at])
  })

  test('what is done twice in a transaction is seen once by others: transactions come one after another', async () => {
    const { db } = await open()
    await migrate(db)
    await db.insertInto('coordinator_starts').values({ id: 1, count: 0 }).execute()
    const bump = () =>
      db.transaction().execute(async (trx) => {
        const { count } = await trx.selectFrom('coordinator_starts').select('count').executeTakeFirstOrThrow()
        await trx
          .updateTable('coordinator_starts')
          .set({ count: count + 1 })
          .execute()
      })
    await Promise.all(Array.from({ length: 20 }, bump))
    expect(await db.selectFrom('coordinator_starts').select('count').executeTakeFirst()).toEqual({
      count: 20,
    })
  })

  test('it says that it can be written, and its name holds no password', async () => {
    const database = await open()
    expect(await database.isWritable()).toBe(true)
    expect(database.name).toMatch(/test/)
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

test('only its owner may read the database: it holds the key of the certificate authority', async () => {
  const path = scratch()
  const modes = () => [path, `${path}-wal`, `${path}-shm`].map((file) => statSync(file).mode & 0o777)
  const open = () => {
    const database = openSqlite({ path })
    cleanups.push(() => database.close())
    return database
  }
  await migrate(open().db)
  expect(modes()).toEqual([0o600, 0o600, 0o600])
  for (const file of [path, `${path}-wal`, `${path}-shm`]) chmodSync(file, 0o644)
  open()
  expect(modes()).toEqual([0o600, 0o600, 0o600])
})

test('a transaction in SQLite that reads first can write after, whatever other commands do meanwhile', async () => {
  const path = scratch()
  const { db, close } = openSqlite({ path })
  cleanups.push(close)
  await migrate(db)
  const other = new Database(path, { timeout: 0, ...nativeBinding() })
  cleanups.push(() => void other.close())
  const insert = `insert into clients (id, name, created_at) values ('other', 'other', 0)`
  await db.transaction().execute(async (tx) => {
    expect(await tx.selectFrom('clients').selectAll().execute()).toEqual([])
    expect(() => other.exec(insert)).toThrow('locked')
    await tx.insertInto('clients').values({ id: 'own', name: 'own', created_at: 0 }).execute()
  })
  other.exec(insert)
  expect(await db.selectFrom('clients').select('id').orderBy('id').execute()).toEqual([
    { id: 'other' },
    { id: 'own' },
  ])
})

test('what is shown of a PostgreSQL database is all but its password', () => {
  expect(nameOf('postgres://me:secret@db.example:5433/prices?sslmode=require')).toBe(
    'postgres://me@db.example:5433/prices',
  )
  const parts = { host: 'db.example', port: 5433, database: 'prices', user: 'me', password: 'secret' }
  expect(nameOf(parts)).toBe('postgres://me@db.example:5433/prices')
})

test('a PostgreSQL that does not answer, or that has no such database, says so without the password', async () => {
  const silent = openDatabase({ store: 'postgres', at: 'postgres://me:secret@127.0.0.1:1/prices' })
  const error = await silent.then(
    () => undefined,
    (reason: Error) => reason,
  )
  expect(error).toMatchObject({
    code: 'unavailable',
    retryable: true,
    hint: expect.stringContaining('DB_HOST'),
  })
  expect(JSON.stringify([error, String(error), error?.stack])).not.toContain('secret')

  const { place, remove } = await testPlace('postgres')
  cleanups.push(remove)
  if (place.store !== 'postgres' || typeof place.at === 'string')
    throw new Error('the test place has changed')
  await expect(
    openDatabase({ store: 'postgres', at: { ...place.at, database: 'nowhere' } }),
  ).rejects.toMatchObject({ code: 'config_invalid', hint: expect.stringContaining('createdb') })
})

test('a coordinator whose lock is gone is told so', async () => {
  const { place, remove } = await testPlace('postgres')
  cleanups.push(remove)
  const database = await openDatabase(place)
  cleanups.push(() => database.close())
  const lost = new Promise<string>((resolve) => void database.own(resolve))
  await expect.poll(() => lockHolders(database.db)).toHaveLength(1)
  for (const { pid } of await lockHolders(database.db))
    await sql`select pg_terminate_backend(${pid}::int)`.execute(database.db)
  expect(await lost).toContain('has ended')
})

async function lockHolders(db: Kysely<Schema>): Promise<{ pid: number }[]> {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_locks where locktype = 'advisory' and granted
    and database = (select oid from pg_database where datname = current_database())`.execute(db)
  return rows
}
