import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite } from './database.ts'
import { createGroupCommit, type Write } from './group-commit.ts'
import { migrate } from './migrate.ts'
import { nativeBinding } from './native-binding.ts'

async function open(clock: Clock = systemClock) {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-commit-'))
  const path = join(directory, 'test.db')
  const { db, close } = openSqlite({ path })
  // What others see is what has been committed.
  const other = new Database(path, { timeout: 0, ...nativeBinding() })
  onTestFinished(async () => {
    other.close()
    await close()
    rmSync(directory, { recursive: true })
  })
  await migrate(db)
  const names = () => other.prepare('select name from clients order by rowid').pluck().all()
  /** Goes up with every commit of another connection. */
  const version = () => Number(other.pragma('data_version', { simple: true }))
  return { db, commit: createGroupCommit(db, clock), names, version, other }
}

const add =
  (name: string): Write<string> =>
  async (tx) => {
    await tx.insertInto('clients').values({ id: name, name, created_at: 0 }).execute()
    return name
  }

test('what comes in one turn is one commit, in order, and is there when it is told', async () => {
  const { commit, names, version } = await open()
  const before = version()
  const all = ['a', 'b', 'c'].map((name) =>
    commit.now(add(name)).then((told) => {
      expect(names()).toContain(told)
      return told
    }),
  )
  expect(await Promise.all(all)).toEqual(['a', 'b', 'c'])
  expect(names()).toEqual(['a', 'b', 'c'])
  expect(version()).toBe(before + 1)
})

test('a write that fails is undone alone', async () => {
  const { commit, names } = await open()
  const refused = async (tx: Parameters<Write<string>>[0]) => {
    await add('half')(tx)
    throw new Error('refused')
  }
  const outcomes = await Promise.allSettled([commit.now(add('a')), commit.now(refused), commit.now(add('b'))])
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(names()).toEqual(['a', 'b'])
})

test('what need not be at once goes with the next that must, before it', async () => {
  const { commit, names, version } = await open(createVirtualTime().clock)
  const before = version()
  const soon = commit.soon(add('soon'))
  await new Promise((resolve) => setImmediate(resolve))
  expect(names()).toEqual([])
  await commit.now(add('now'))
  expect(names()).toEqual(['soon', 'now'])
  expect(await soon).toBe('soon')
  expect(version()).toBe(before + 1)
})

test('it goes by itself after a while, or when somebody waits for everything', async () => {
  const { commit, names } = await open()
  expect(await commit.soon(add('alone'))).toBe('alone')
  const told = commit.soon(add('waited for'))
  await commit.settled()
  expect(names()).toEqual(['alone', 'waited for'])
  await told
})

test('a commit that fails is told to all of it, and the next one is made', async () => {
  const { commit, db, names, other } = await open()
  await sql`pragma busy_timeout = 0`.execute(db)
  other.exec('begin immediate')
  const outcomes = Promise.allSettled([commit.now(add('a')), commit.now(add('b'))])
  expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  other.exec('commit')
  expect(names()).toEqual([])
  expect(await commit.now(add('a'))).toBe('a')
  expect(names()).toEqual(['a'])
})

test('what is given while a commit is made is in the next one', async () => {
  const { commit, names } = await open()
  let inner: Promise<string> | undefined
  await commit.now(async (tx) => {
    inner = commit.now(add('inner'))
    return add('outer')(tx)
  })
  expect(await inner).toBe('inner')
  expect(names()).toEqual(['outer', 'inner'])
})
