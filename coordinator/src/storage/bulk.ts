import { CompiledQuery, type Kysely, type RawBuilder, sql } from 'kysely'
import { dialectOf } from './dialect.ts'
import type { Schema } from './schema.ts'

/** What the columns of rows that go in at once hold. */
export type BulkColumns = Readonly<Record<string, 'bigint' | 'double precision' | 'text'>>
type Value = number | string | null

/**
 * Rows as something to select from, in one parameter (SQLite) or one a column (PostgreSQL) however many they are, so that
 * the statement is the same for every batch: `insert into x (a, b) select a, b from ${rowsOf(…)}`. In SQLite `cross join` with
 * a condition in `where` keeps them the outer loop, so that each looks up what it joins.
 */
export function rowsOf<C extends BulkColumns>(
  db: Kysely<Schema>,
  columns: C,
  rows: readonly Readonly<Record<keyof C, Value>>[],
): RawBuilder<unknown> {
  const names = Object.keys(columns) as (keyof C & string)[]
  if (dialectOf(db) === 'postgres') {
    const lists = names.map((name) => sql`${arrayOf(rows, name)}::${sql.raw(columns[name] as string)}[]`)
    return sql`unnest(${sql.join(lists)}) as given(${sql.raw(names.join(', '))})`
  }
  const json = JSON.stringify(rows.map((row) => names.map((name) => row[name])))
  const fields = names.map((name, i) => sql.raw(`value ->> ${i} as ${name}`))
  return sql`(select ${sql.join(fields)} from json_each(${json})) as given`
}

/**
 * Inserts any number of rows; `conflict` is what follows the values, and speaks of the table as `old`. Returns how many
 * rows were added or changed. SQLite gets them as parameters, which takes it half the time of reading them out of a JSON text.
 */
export async function insertRows<C extends BulkColumns>(
  db: Kysely<Schema>,
  into: { readonly table: string; readonly columns: C; readonly conflict?: string },
  rows: readonly Readonly<Record<keyof C, Value>>[],
): Promise<number> {
  if (rows.length === 0) return 0
  const names = Object.keys(into.columns) as (keyof C & string)[]
  const head = `insert into ${into.table} as old (${names.join(', ')})`
  const tail = into.conflict ?? ''
  if (dialectOf(db) === 'postgres') {
    const { numAffectedRows } = await sql`
      ${sql.raw(head)} select ${sql.raw(names.join(', '))} from ${rowsOf(db, into.columns, rows)} ${sql.raw(tail)}`.execute(
      db,
    )
    return Number(numAffectedRows ?? 0)
  }
  const row = `(${names.map(() => '?').join(', ')})`
  let affected = 0
  for (let start = 0; start < rows.length; ) {
    const many = LENGTHS.find((length) => length <= rows.length - start) ?? 1
    const text = `${head} values ${new Array(many).fill(row).join(', ')} ${tail}`
    const values = rows.slice(start, start + many).flatMap((one) => names.map((name) => one[name]))
    const { numAffectedRows } = await db.executeQuery(CompiledQuery.raw(text, values))
    affected += Number(numAffectedRows ?? 0)
    start += many
  }
  return affected
}

/** Rows of one statement: few different ones, so that they stay prepared. */
const LENGTHS = [128, 16, 1]

/** PostgreSQL's own text form of an array, which is read faster than any that a driver would ask the server about. */
function arrayOf(rows: readonly Readonly<Record<string, Value>>[], name: string): string {
  const parts = new Array<string>(rows.length)
  for (let i = 0; i < rows.length; i++) parts[i] = elementOf(rows[i]?.[name] ?? null)
  return `{${parts.join(',')}}`
}

function elementOf(value: Value): string {
  if (value === null) return 'NULL'
  if (typeof value === 'number') return String(value)
  return `"${value.replace(/["\\]/g, '\\$&')}"`
}
