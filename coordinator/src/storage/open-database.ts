import type { Kysely } from 'kysely'
import type { Dialect } from './dialect.ts'
import type { Schema } from './schema.ts'

export interface OpenDatabase {
  readonly dialect: Dialect
  /** For people: the file, or user, host and database. Never the password. */
  readonly name: string
  /** One connection: what decides is done in order, and a transaction is alone on both databases. */
  readonly db: Kysely<Schema>
  /** The same data for long work, which on PostgreSQL has connections of its own. Keep its transactions short. */
  readonly bulk: Kysely<Schema>
  /** Whether a write would go through now. */
  isWritable(): Promise<boolean>
  /**
   * Keeps every other coordinator away from the database for as long as this process lives; other commands may still
   * use it. Returns what gives it free. `onLost` is called once when that can no longer be promised.
   * @throws AppError `busy`
   */
  own(onLost: (why: string) => void): Promise<() => Promise<void>>
  close(): Promise<void>
}
