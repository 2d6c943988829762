import { type Kysely, sql } from 'kysely'
import { dialectOf } from '../dialect.ts'

export const coveringPrices = { up }

/**
 * A long series is read out of the index alone: its rows come in over months, so each lies on a page of its own. In SQLite
 * the primary key is the table.
 */
async function up(db: Kysely<unknown>): Promise<void> {
  if (dialectOf(db) === 'sqlite') return
  await sql`
    alter table pricing_snapshots_clean drop constraint pricing_snapshots_clean_pkey,
      add primary key (pool, at) include (price, confidence)`.execute(db)
}
