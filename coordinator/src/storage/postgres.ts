import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { Kysely } from 'kysely'
import { PostgresJSDialect } from 'kysely-postgres-js'
import postgres from 'postgres'
import type { OpenDatabase } from './open-database.ts'
import type { Schema } from './schema.ts'

/** Both forms hold the password: never shown, never logged. */
export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`, or its parts; a host that starts with / is the directory of a socket. */
  readonly at: string | PostgresParts
}

interface PostgresParts {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: string | undefined
}

/** In whole seconds. */
const CONNECT_TIMEOUT = 5
/** Long work may wait for another long work, never a vote for either. */
const BULK_CONNECTIONS = 2
const OLDEST = 150_000
/** Of the advisory lock by which one coordinator serves a database: `understudy` in eight bytes. */
const OWNER_LOCK = 0x756e_6465_7273_74n

/**
 * Opens PostgreSQL. The connection that decides is one, as on SQLite: its transactions come one after another, so that
 * read-then-write in a store means the same on both. Bulk work has its own.
 * @throws AppError `config_invalid` when it refuses us, `unavailable` when it does not answer
 */
export async function openPostgres({ at }: PostgresOptions): Promise<OpenDatabase> {
  const name = nameOf(at)
  const main = connect(at, 1)
  const bulk = connect(at, BULK_CONNECTIONS)
  try {
    await assertUsable(main, name)
  } catch (error) {
    await Promise.all([main.end({ timeout: 0 }), bulk.end({ timeout: 0 })])
    throw error
  }
  const db = new Kysely<Schema>({ dialect: new PostgresJSDialect({ postgres: main }) })
  const bulkDb = new Kysely<Schema>({ dialect: new PostgresJSDialect({ postgres: bulk }) })
  return {
    dialect: 'postgres',
    name,
    db,
    bulk: bulkDb,
    isWritable: () => isWritable(bulk),
    own: (onLost) => own(at, name, onLost),
    async close() {
      await Promise.all([main.end({ timeout: 5 }), bulk.end({ timeout: 5 })])
    },
  }
}

type Sql = ReturnType<typeof connect>

function connect(at: PostgresOptions['at'], max: number, onclose?: () => void) {
  const options = {
    max,
    connect_timeout: CONNECT_TIMEOUT,
    // Without it postgres.js 3.4 never hands out a connection that is opened by reserving it, as Kysely does.
    fetch_types: true,
    onnotice: () => undefined,
    connection: { application_name: 'understudy-coordinator' },
    ...(onclose ? { onclose, max_lifetime: null, idle_timeout: 0 } : {}),
    types: {
      bigint: { to: 20, from: [20], serialize: String, parse: toNumber },
      // What sum() makes of a bigint.
      numeric: { to: 1700, from: [1700], serialize: String, parse: Number },
    },
  }
  if (typeof at === 'string') return postgres(at, options)
  const { password, ...rest } = at
  return postgres({ ...options, ...rest, ...(password === undefined ? {} : { password }) })
}

function toNumber(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value)) return value
  throw new RangeError(`${text} is more than a number holds exactly`)
}

/** What may be shown of an address: all but the password. */
export function nameOf(at: PostgresOptions['at']): string {
  if (typeof at !== 'string') return `postgres://${at.user}@${at.host}:${at.port}/${at.database}`
  const { username, host, pathname } = new URL(at)
  return `postgres://${username ? `${username}@` : ''}${host}${pathname}`
}

async function assertUsable(sql: Sql, name: string): Promise<void> {
  try {
    const [row] = await sql<{ version: string; recovering: boolean }[]>`
      select current_setting('server_version_num') as version, pg_is_in_recovery() as recovering`
    if (Number(row?.version) < OLDEST)
      throw new AppError('config_invalid', `${name} is PostgreSQL ${row?.version}, which is too old`, {
        hint: 'PostgreSQL 15 or newer is needed.',
      })
    if (row?.recovering)
      throw new AppError('config_invalid', `${name} is a standby, which cannot be written`, {
        hint: 'Name the primary server of that cluster.',
      })
  } catch (error) {
    throw toAppError(error, name)
  }
}

/** By SQLSTATE (five characters) or by the driver's and the system's own codes. */
const refusals: Readonly<Record<string, string>> = {
  '28P01': 'The user or the password is wrong: see DB_USER and DB_PASSWORD, or DATABASE_URL.',
  '28000': 'The server lets this user not in from here: see its pg_hba.conf.',
  '3D000': 'Create the database first, for example: createdb understudy.',
  '42501': 'The user needs the right to create tables in this database.',
}
const silences = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  '53300',
  '57P03',
])

/** What went wrong between us and PostgreSQL, in our words. Messages of the server name users and hosts, no passwords. */
function toAppError(error: unknown, name: string): unknown {
  const code = systemCodeOf(error)
  if (code === undefined || error instanceof AppError) return error
  const reason = messageOf(error) || code
  const hint = refusals[code]
  if (hint) return new AppError('config_invalid', `${name} refuses us (${reason})`, { hint, cause: error })
  if (!silences.has(code)) return error
  return new AppError('unavailable', `${name} does not answer (${reason})`, {
    hint: 'Is PostgreSQL running, and do DATABASE_URL or DB_HOST and DB_PORT name it?',
    retryable: true,
    cause: error,
  })
}

/** A health check that outlives its asker is no answer. */
async function isWritable(sql: Sql): Promise<boolean> {
  const limit = new Promise<false>((resolve) => setTimeout(() => resolve(false), 2000).unref())
  const asked = sql`select pg_is_in_recovery() as recovering`.then(
    ([row]) => row?.recovering === false,
    () => false,
  )
  return Promise.race([asked, limit])
}

/**
 * A lock of the session, on a connection that does nothing else. Whoever loses the connection has lost the lock and
 * cannot know who has it now.
 */
async function own(
  at: PostgresOptions['at'],
  name: string,
  onLost: (why: string) => void,
): Promise<() => Promise<void>> {
  let held = false
  const sql = connect(at, 1, () => {
    if (!held) return
    held = false
    onLost(`the connection to ${name} that keeps other coordinators away has ended`)
  })
  try {
    const [row] = await sql<{ held: boolean }[]>`
      select pg_try_advisory_lock(${String(OWNER_LOCK)}::bigint) as held`
    if (row?.held !== true)
      throw new AppError('busy', `the database ${name} is in use by another coordinator`, {
        hint: 'One coordinator serves a database. Stop the other one, or name another database.',
      })
  } catch (error) {
    await sql.end({ timeout: 0 })
    throw toAppError(error, name)
  }
  held = true
  return async () => {
    held = false
    await sql.end({ timeout: 1 })
  }
}
