import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import { afterEach, expect, test } from 'vitest'
import { commitEpoch } from '../failover/commit-epoch.ts'
import { createFleetStore } from '../fleet/fleet.ts'
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
  expect(await pendingMigrations(db)).toEqual(['0001-first'])
  expect(await migrate(db)).toEqual(['0001-first'])
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

test('an epoch is committed once, whoever comes first', async () => {
  const { db } = await open()
  await migrate(db)
  const fleet = createFleetStore(db, systemClock)
  const id = agentId('a')
  await fleet.ensureAgent({ id, name: 'a', clientId: 'c' })
  const [p, r] = [instanceId('i-aaa'), instanceId('i-bbb')]
  for (const instance of [p, r])
    await fleet.addInstance({
      id: instance,
      agentId: id,
      pool: parsePool('m5.large@us-east-1a'),
      lifeCycle: 'spot',
      privateIp: null,
      launchedAt: null,
    })
  const change = {
    agentId: id,
    from: 0,
    to: 1,
    target: p,
    previous: null,
    incident: null,
    trigger: null,
    fresh: false,
    retirePrevious: false,
    oldPrice: null,
    newPrice: null,
  }
  expect(await commitEpoch(db, systemClock, change)).toEqual({ kind: 'committed', replicaId: null })
  expect(await commitEpoch(db, systemClock, change)).toEqual({ kind: 'moved', epoch: 1 })
  const next = { ...change, from: 1, to: 2, target: r, previous: p, trigger: 'notice' as const }
  const both = await Promise.all([
    commitEpoch(db, systemClock, next),
    commitEpoch(db, systemClock, { ...next, target: p, previous: r }),
  ])
  expect(both.map(({ kind }) => kind).sort()).toEqual(['committed', 'moved'])
  expect(await db.selectFrom('instance_switches').selectAll().execute()).toHaveLength(1)
  expect(await fleet.agent(id)).toMatchObject({ epoch: 2, instance_id: r })
  expect(await fleet.instance(p)).toMatchObject({ is_active: 0 })
})
