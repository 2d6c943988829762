import { type Kysely, sql } from 'kysely'

export const actedPredictions = { up }

/** What was done about a prediction, and the experiment that it was made for. Of what is there nobody has kept it. */
async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table predictions_log add column acted integer not null default 0`.execute(db)
  await sql`alter table predictions_log add column experiment text`.execute(db)
}
