import { systemCodeOf } from '@understudy/shared/core/app-error'
import { type Kysely, sql } from 'kysely'
import { dialectOf } from './dialect.ts'
import type { Schema } from './schema.ts'

export type PartitionedTable =
  | 'pricing_submissions_raw'
  | 'pricing_snapshots_clean'
  | 'pricing_snapshots_interpolated'
  | 'price_changes'

/** `duplicate_table`, or the same found by an index of the catalog. */
const MADE_MEANWHILE: readonly string[] = ['42P07', '23505']

/** Partitions that are known to be there, by database handle: making one is rare, asking for one is not. */
const known = new WeakMap<object, Set<string>>()

const knownOf = (db: Kysely<Schema>): Set<string> => {
  const executor = db.getExecutor().adapter
  const set = known.get(executor) ?? new Set()
  known.set(executor, set)
  return set
}

/**
 * Makes the partitions that rows of these times go into, one a month. SQLite has none. Must not be called within a
 * transaction that may be rolled back.
 */
export async function ensurePartitions(
  db: Kysely<Schema>,
  table: PartitionedTable,
  times: Iterable<number>,
): Promise<void> {
  if (dialectOf(db) === 'sqlite') return
  const there = knownOf(db)
  for (const month of new Set([...times].map(monthOf))) {
    const name = `${table}_${month}`
    if (there.has(name)) continue
    const [from, to] = boundsOf(month)
    await sql
      .raw(`create table if not exists ${name} partition of ${table} for values from (${from}) to (${to})`)
      .execute(db)
      .catch((error: unknown) => {
        // Another process, such as an import, has made it just now: whether it is there is asked before the lock is got.
        if (!MADE_MEANWHILE.includes(systemCodeOf(error) ?? '')) throw error
      })
    there.add(name)
  }
}

/** Drops the partitions that end at `before` (UTC ms) or earlier, but for the month of `except`. Returns their names. */
export async function dropPartitions(
  db: Kysely<Schema>,
  table: PartitionedTable,
  before: number,
  except?: number,
): Promise<string[]> {
  const old = await endedPartitions(db, table, before, except)
  for (const name of old) await dropPartition(db, name)
  return old
}

export async function dropPartition(db: Kysely<Schema>, name: string): Promise<void> {
  knownOf(db).delete(name)
  await sql.raw(`drop table ${name}`).execute(db)
}

/** Those that `dropPartitions` would drop. */
export async function endedPartitions(
  db: Kysely<Schema>,
  table: PartitionedTable,
  before: number,
  except?: number,
): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select child.relname as name from pg_inherits
    join pg_class child on child.oid = inhrelid
    where inhparent = ${table}::regclass order by child.relname`.execute(db)
  const kept = except === undefined ? undefined : `${table}_${monthOf(except)}`
  return rows.map(({ name }) => name).filter((name) => name !== kept && endOf(name, table) <= before)
}

/** `202511`. */
function monthOf(at: number): string {
  const date = new Date(at)
  return `${date.getUTCFullYear()}${String(date.getUTCMonth() + 1).padStart(2, '0')}`
}

function boundsOf(month: string): [from: number, to: number] {
  const year = Number(month.slice(0, 4))
  const index = Number(month.slice(4)) - 1
  return [Date.UTC(year, index), Date.UTC(year, index + 1)]
}

/** A table that is not named as ours are never ends. */
function endOf(name: string, table: string): number {
  const month = name.slice(table.length + 1)
  return /^\d{6}$/.test(month) ? boundsOf(month)[1] : Number.POSITIVE_INFINITY
}
