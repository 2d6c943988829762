import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { inject } from 'vitest'
import { type DatabasePlace, type OpenDatabase, openDatabase } from './database.ts'
import type { Dialect } from './dialect.ts'
import './postgres-global-setup.ts'

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

/** A new and empty database, open; `close` removes it. SQLite is in memory. */
export async function testDatabase(dialect: Dialect): Promise<OpenDatabase> {
  if (dialect === 'sqlite') return openDatabase({ store: 'sqlite', path: ':memory:' })
  const { place, remove } = await postgresPlace()
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

async function postgresPlace(): Promise<TestPlace> {
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
  await asAdmin(`create database ${at.database}`)
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
