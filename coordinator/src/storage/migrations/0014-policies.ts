import { type Kysely, sql } from 'kysely'

export const policies = { up }

async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  // What agents did so far stays what they do.
  `alter table agents add column on_rebalance text not null default 'replica'`,
  'alter table agents add column min_replicas integer not null default 0',
  'alter table agents add column on_demand_fallback integer not null default 0',
  // Why it was made, and why in this pool; then why it was let go.
  'alter table replica_instances add column reason text',
  `alter table replica_instances add column life_cycle text not null default 'spot'`,
]
