import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'
import { type PostgresServer, startPostgresServer } from './postgres-server.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers with the directory of PostgreSQL's socket; the first who asks waits until it has started. */
    postgresUrl: string
  }
}

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
    shared.server ??= startPostgresServer()
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
