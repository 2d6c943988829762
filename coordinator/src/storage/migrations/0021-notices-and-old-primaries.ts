import { type Kysely, sql } from 'kysely'

export const noticesAndOldPrimaries = { up }

async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  // When AWS takes the instance back, by its notice. Null: there is none, or it was withdrawn.
  'alter table instances add column notice_at bigint',
  // 0: the old primary is to end after the move. Null: who asked for it, and why, decides.
  'alter table spot_interruption_events add column keep_old integer',
]
