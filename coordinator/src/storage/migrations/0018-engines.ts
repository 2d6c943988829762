import { type Kysely, sql } from 'kysely'

export const engines = { up }

/** Which engine decides what, and how it was set. */
async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  `create table decision_engines (
    id text primary key,
    decision text not null,
    active integer not null,
    config text not null,
    revision bigint not null,
    selected_at bigint not null,
    selected_by text not null
  )`,
  // Of the engines for one decision one counts.
  'create unique index decision_engines_active on decision_engines (decision) where active = 1',
]
