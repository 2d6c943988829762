import type { Kysely } from 'kysely'

export const decisions = { up }

/** Decisions with all that they were made from, so that each can be made again. */
async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('decision_execution_log')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addColumn('instance_id', 'text')
    .addColumn('pool_id', 'text', (c) => c.notNull())
    .addColumn('mode', 'text', (c) => c.notNull())
    .addColumn('decision', 'text', (c) => c.notNull())
    .addColumn('code', 'text', (c) => c.notNull())
    .addColumn('pipeline_version', 'text', (c) => c.notNull())
    .addColumn('duration_ms', 'double precision', (c) => c.notNull())
    .addColumn('input', 'text', (c) => c.notNull())
    .addColumn('outcome_sha256', 'text', (c) => c.notNull())
    .execute()
  await db.schema.createIndex('decisions_by_time').on('decision_execution_log').column('at').execute()
}
