import { type Kysely, sql } from 'kysely'

export const callers = { up }

async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  // The token that a session was made from, and with which it ends. Null: of before this step.
  'alter table api_tokens add column made_from text',
  // Answers that have been kept for a day are found without reading all the others.
  'create index idempotency_keys_by_time on idempotency_keys (created_at)',
]
