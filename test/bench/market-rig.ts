import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { sql } from 'kysely'
import { type DatabasePlace, openDatabase } from '../../coordinator/src/storage/database.ts'
import { startPostgresServer } from '../../coordinator/src/storage/postgres-server.ts'
import type { TaskName, Tasks } from './market-tasks.ts'
import { cpuOfTree } from './measure.ts'

export type Store = 'sqlite' | 'postgres'

/** Places for new databases, and processes that work on them one after the other. */
export interface MarketRig {
  readonly directory: string
  newPlace(store: Store): Promise<DatabasePlace>
  run<N extends TaskName>(
    task: N,
    place: DatabasePlace,
    ask: Tasks[N]['ask'],
  ): Promise<Tasks[N]['answer'] & { readonly serverCpuSeconds: number }>
  say(line: string): void
  close(): Promise<void>
}

const start = promisify(execFile)
const PROGRAM = fileURLToPath(new URL('market-child.ts', import.meta.url))

export function openMarketRig(parent: string, say: (line: string) => void): MarketRig {
  const directory = mkdtempSync(join(parent === '' ? tmpdir() : parent, 'understudy-bench-'))
  // Also where a signal ends it.
  process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  let server: ReturnType<typeof startPostgresServer> | undefined
  let made = 0
  /** The first process of the server, whose descendants are the rest of it. */
  const serverPid = async (): Promise<number> =>
    server ? Number(readFileSync(join((await server).host, 'postmaster.pid'), 'utf8').split('\n')[0]) : 0

  return {
    directory,
    say,
    async newPlace(store) {
      made += 1
      if (store === 'sqlite') return { store, path: join(directory, `${made}.db`) }
      server ??= startPostgresServer({ durable: true })
      const at = { host: (await server).host, port: 5432, user: 'understudy' }
      const database = `bench_${made}`
      const admin = await openDatabase({ store, at: { ...at, database: 'postgres' } })
      await sql.raw(`create database ${database}`).execute(admin.bulk)
      await admin.close()
      return { store, at: { ...at, database } }
    },
    async run(task, place, ask) {
      const pid = place.store === 'postgres' ? await serverPid() : 0
      const before = pid === 0 ? 0 : cpuOfTree(pid)
      const { stdout } = await start(process.execPath, [PROGRAM, JSON.stringify({ task, place, ask })])
      const answer = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
      return { ...answer, serverCpuSeconds: pid === 0 ? 0 : cpuOfTree(pid) - before }
    },
    async close() {
      await (await server)?.stop()
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
