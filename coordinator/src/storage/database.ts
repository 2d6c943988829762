import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import Database from 'better-sqlite3'
import { Kysely } from 'kysely'
import { cacheStatements } from './cached-statements.ts'
import { nativeBinding } from './native-binding.ts'
import type { OpenDatabase } from './open-database.ts'
import { openPostgres, type PostgresOptions } from './postgres.ts'
import type { Schema } from './schema.ts'
import { WritingSqliteDialect } from './sqlite-dialect.ts'

export type { Kysely, Transaction } from 'kysely'
export type * from './decision-schema.ts'
export type * from './interruption-schema.ts'
export type * from './lab-schema.ts'
export { comesAfter, type Position } from './latest-first.ts'
export type * from './market-schema.ts'
export type * from './models-schema.ts'
export type * from './notification-schema.ts'
export type { OpenDatabase } from './open-database.ts'
export type * from './predictions-schema.ts'
export type * from './schema.ts'

/** Where the data is. */
export type DatabasePlace =
  | ({ readonly store: 'sqlite' } & SqliteOptions)
  | ({ readonly store: 'postgres' } & PostgresOptions)

/**
 * @throws AppError `config_invalid` when it cannot be used, `unavailable` when PostgreSQL does not answer, `busy`
 */
export async function openDatabase(place: DatabasePlace): Promise<OpenDatabase> {
  return place.store === 'sqlite' ? openSqlite(place) : openPostgres(place)
}

export interface SqliteOptions {
  /** A file, or `:memory:`. */
  readonly path: string
}

/**
 * Opens the SQLite database: WAL, so that reading never waits for writing, and `synchronous=FULL`, because a change
 * of primary that was committed must still be there after a power cut.
 * @throws AppError `config_invalid` when the file cannot be used, `busy` when another coordinator has it
 */
export function openSqlite({ path }: SqliteOptions): OpenDatabase {
  const sqlite = open(path)
  const db = new Kysely<Schema>({ dialect: new WritingSqliteDialect(cacheStatements(sqlite)) })
  // Kept here: the garbage collector closes a lock that nobody refers to, and then it is no lock any more.
  let giveFree: (() => Promise<void>) | undefined
  return {
    dialect: 'sqlite',
    name: path,
    db,
    bulk: db,
    isWritable: () => Promise.resolve(isWritable(sqlite)),
    own: async () => {
      giveFree = ownFile(path)
      return giveFree
    },
    async close() {
      await giveFree?.()
      sqlite.close()
    },
  }
}

function isWritable(sqlite: Database.Database): boolean {
  try {
    sqlite.exec('BEGIN IMMEDIATE; ROLLBACK')
    return true
  } catch {
    return sqlite.inTransaction
  }
}

function open(path: string): Database.Database {
  try {
    if (path !== ':memory:') makePrivate(path)
    const sqlite = new Database(path, nativeBinding())
    sqlite.pragma('busy_timeout = 5000')
    sqlite.pragma('journal_mode = WAL')
    sqlite.pragma('synchronous = FULL')
    sqlite.pragma('foreign_keys = ON')
    sqlite.exec('BEGIN IMMEDIATE; COMMIT')
    return sqlite
  } catch (cause) {
    const code = systemCodeOf(cause)
    if (code === 'SQLITE_NOTADB')
      throw new AppError('config_invalid', `${path} is not a SQLite database`, {
        hint: 'Name the right file with --database.',
        cause,
      })
    if (code?.startsWith('SQLITE_CORRUPT'))
      throw new AppError('config_invalid', `the database ${path} is damaged (${messageOf(cause)})`, {
        hint: 'Keep the file, and put the last backup in its place or try: sqlite3 <file> .recover',
        cause,
      })
    throw new AppError('config_invalid', `the database ${path} cannot be opened (${messageOf(cause)})`, {
      hint: 'The coordinator must be able to write the file and its directory.',
      cause,
    })
  }
}

/**
 * The database holds the key of the certificate authority, so that nobody but its owner may read it, whoever made it.
 * SQLite gives the files beside it the mode of the database.
 */
function makePrivate(path: string): void {
  makeDirectories(dirname(path))
  closeSync(openSync(path, 'a', 0o600))
  for (const file of [path, `${path}-wal`, `${path}-shm`])
    try {
      chmodSync(file, 0o600)
    } catch (error) {
      // Another user's command on the same database leaves it as it is; the files beside it come and go.
      if (!['EPERM', 'ENOENT'].includes(systemCodeOf(error) ?? '')) throw error
    }
}

/** Node's own recursive mkdir never returns where a name can neither be found nor made, as in /proc. */
function makeDirectories(path: string): void {
  if (existsSync(path)) return
  if (dirname(path) !== path) makeDirectories(dirname(path))
  mkdirSync(path)
}

/** A lock on a file beside the database, which the system gives free when the process ends. */
function ownFile(path: string): () => Promise<void> {
  if (path === ':memory:') return () => Promise.resolve()
  const owner = new Database(`${path}-owner`, { timeout: 0, ...nativeBinding() })
  try {
    owner.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    owner.close()
    throw new AppError('busy', `the database ${path} is in use by another coordinator`, {
      hint: 'SQLite serves one coordinator. Stop the other one, or name another file with --database.',
      cause,
    })
  }
  return () => Promise.resolve(void owner.close())
}
