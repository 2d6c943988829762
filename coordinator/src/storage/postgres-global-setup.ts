import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import type { TestProject } from 'vitest/node'
import { migrate } from './migrate.ts'
import { openPostgres } from './postgres.ts'
import { type PostgresServer, startPostgresServer } from './postgres-server.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers with the directory of PostgreSQL's socket; the first who asks waits until it has started. */
    postgresUrl: string
  }
}

/** A database with every table and nothing in them: to copy it costs a third of what the steps to it do. */
export const TEMPLATE = 'migrated'

/** What all projects of one run share. */
interface Shared {
  server?: Promise<PostgresServer>
  users: number
}
const everywhere = globalThis as { understudyPostgres?: Shared }
everywhere.understudyPostgres ??= { users: 0 }
const shared = everywhere.understudyPostgres

/** One PostgreSQL for a test run, started by the first test that asks for it: a run without such tests pays nothing. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  shared.users += 1
  const door = createServer((_, response) => {
    shared.server ??= startWithTemplate()
    shared.server.then(
      ({ host }) => response.end(host),
      (error) => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
  project.provide('postgresUrl', `http://127.0.0.1:${(door.address() as AddressInfo).port}`)
  return async () => {
    door.close()
    shared.users -= 1
    if (shared.users > 0) return
    const server = await shared.server?.catch(() => undefined)
    await server?.stop()
  }
}

async function startWithTemplate(): Promise<PostgresServer> {
  const server = await startPostgresServer()
  const at = { host: server.host, port: 5432, user: 'understudy' }
  const admin = postgres({ ...at, database: 'postgres', max: 1, fetch_types: false })
  await admin.unsafe(`create database ${TEMPLATE}`)
  await admin.end()
  const database = await openPostgres({ at: { ...at, database: TEMPLATE } })
  await migrate(database.db)
  await database.close()
  return server
}
