import { type Kysely, sql } from 'kysely'

export const modelTasks = { up }

/** Fills of the prices that a model lacks. */
async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  `create table model_gap_fills (
    id text primary key,
    model_id text not null,
    trigger text not null,
    actor text not null,
    status text not null,
    scope text not null,
    fetches text not null,
    missing_ms bigint not null,
    left_ms bigint,
    unfillable_ms bigint not null,
    unfillable_from bigint,
    unfillable_to bigint,
    done integer not null,
    total integer not null,
    records bigint not null,
    readiness text,
    error text,
    created_at bigint not null,
    ended_at bigint
  )`,
  'create index model_gap_fills_by_time on model_gap_fills (created_at)',
]
