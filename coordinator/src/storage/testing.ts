import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { inject } from 'vitest'
import { type DatabasePlace, type OpenDatabase, openDatabase } from './database.ts'
import type { Dialect } from './dialect.ts'
import { migrate } from './migrate.ts'
import { TEMPLATE } from './postgres-global-setup.ts'

/** What a conformance suite runs on: `describe.each(dialects)('… on %s', (dialect) => …)`. */
export const dialects: readonly Dialect[] = ['sqlite', 'postgres']

/** A new and empty database, and what removes it. */
export interface TestPlace {
  readonly place: DatabasePlace
  remove(): Promise<void>
}

export async function testPlace(dialect: Dialect): Promise<TestPlace> {
  if (dialect === 'postgres') return postgresPlace()
  const directory = mkdtempSync(join(tmpdir(), 'understudy-db-'))
  return {
    place: { store: 'sqlite', path: join(directory, 'test.db') },
    remove: () => Promise.resolve(rmSync(directory, { recursive: true, force: true })),
  }
}

/** A new database with every table and nothing in them, open; `close` removes it. SQLite is in memory. */
export async function testDatabase(dialect: Dialect): Promise<OpenDatabase> {
  if (dialect === 'sqlite') {
    const inMemory = await openDatabase({ store: 'sqlite', path: ':memory:' })
    await migrate(inMemory.db)
    return inMemory
  }
  // Copied as files: what is written page by page goes through the log as well.
  const { place, remove } = await postgresPlace(`template ${TEMPLATE} strategy file_copy`)
  const database = await openDatabase(place)
  return {
    ...database,
    async close() {
      await database.close()
      await remove()
    },
  }
}

let socket: Promise<string> | undefined

async function postgresPlace(made = ''): Promise<TestPlace> {
  socket ??= askForSocket()
  const at = {
    host: await socket,
    port: 5432,
    user: 'understudy',
    database: `test_${randomUUID().slice(0, 8)}`,
  }
  const asAdmin = async (statement: string) => {
    const sql = postgres({
      ...at,
      database: 'postgres',
      max: 1,
      fetch_types: false,
      onnotice: () => undefined,
    })
    await sql.unsafe(statement)
    await sql.end()
  }
  await asAdmin(`create database ${at.database} ${made}`)
  return {
    place: { store: 'postgres', at },
    remove: () => asAdmin(`drop database if exists ${at.database} with (force)`),
  }
}

async function askForSocket(): Promise<string> {
  const response = await fetch(inject('postgresUrl'))
  const text = await response.text()
  if (!response.ok) throw new Error(text)
  return text
}
