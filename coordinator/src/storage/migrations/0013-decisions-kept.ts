import { type Kysely, sql } from 'kysely'
import { dialectOf } from '../dialect.ts'

export const decisionsKept = { up }

async function up(db: Kysely<unknown>): Promise<void> {
  const bytes = dialectOf(db) === 'postgres' ? 'bytea' : 'blob'
  for (const statement of statements(bytes)) await sql.raw(statement).execute(db)
}

const statements = (bytes: string) => [
  // A part is stored by what it differs in from another one: zstd, with `base` as dictionary. `body` is of before this step.
  `alter table decision_parts add column bytes ${bytes}`,
  'alter table decision_parts add column base text',
  // Decisions of the Lab are not kept for ever.
  'create index experiment_logs_by_time on experiment_logs (execution_time)',
  // What an account is for, as an admin has said it; and in which one an instance runs, as its identity document says.
  `create table accounts (
    id text primary key,
    name text not null,
    environment_type text not null,
    created_at bigint not null,
    updated_at bigint not null,
    updated_by text not null
  )`,
  'alter table instances add column account_id text',
  // What came of each switch that the pipeline decided and that happened.
  `create table realised_savings (
    decision_id text primary key,
    agent_id text not null,
    model_id text,
    old_instance_id text not null,
    new_instance_id text not null,
    old_pool_id text not null,
    new_pool_id text not null,
    switched_at bigint not null,
    until_at bigint not null,
    hold_ms bigint not null,
    projected bigint,
    saved bigint not null,
    double_running bigint not null,
    switch_cost bigint,
    counted_ms bigint not null,
    unknown_ms bigint not null,
    ended text,
    settled_at bigint
  )`,
  'create index realised_savings_by_model on realised_savings (model_id, switched_at)',
  // What was really done is little beside all that was only said.
  'create index decision_actions_by_level on decision_actions (level, ended_at)',
  'create index realised_savings_open on realised_savings (settled_at)',
]
