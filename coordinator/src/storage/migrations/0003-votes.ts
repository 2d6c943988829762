import { type Kysely, sql } from 'kysely'

export const votes = { up }

/**
 * From one decider to three voters. Agents of before have an epoch and no certificate: their first one gets a later
 * epoch, which is why that epoch counts as voted in.
 */
async function up(db: Kysely<unknown>): Promise<void> {
  const { schema } = db
  await schema
    .alterTable('agents')
    .addColumn('term', 'integer', (c) => c.notNull().defaultTo(0))
    .execute()
  await schema.alterTable('agents').addColumn('successor_id', 'text').execute()
  await schema
    .alterTable('agents')
    .addColumn('voted_epoch', 'integer', (c) => c.notNull().defaultTo(0))
    .execute()
  await schema.alterTable('agents').addColumn('voted_for', 'text').execute()
  await schema.alterTable('agents').addColumn('voted_digest', 'text').execute()
  await schema
    .alterTable('agents')
    .addColumn('outdated', 'integer', (c) => c.notNull().defaultTo(0))
    .execute()
  await sql`update agents set term = epoch, voted_epoch = epoch, voted_for = instance_id`.execute(db)

  await schema
    .createTable('epoch_certificates')
    .addColumn('agent_id', 'text', (c) => c.notNull().references('agents.id'))
    .addColumn('epoch', 'integer', (c) => c.notNull())
    .addColumn('digest', 'text', (c) => c.notNull())
    .addColumn('previous_digest', 'text', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('primary_id', 'text', (c) => c.notNull())
    .addColumn('successor_id', 'text')
    .addColumn('forced', 'integer', (c) => c.notNull())
    .addColumn('certificate', 'text', (c) => c.notNull())
    .addColumn('recorded_at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('epoch_certificates_key', ['agent_id', 'epoch'])
    .execute()

  await schema
    .createTable('coordinator_keys')
    .addColumn('id', 'integer', (c) => c.primaryKey())
    .addColumn('private_key', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .execute()

  await schema
    .createTable('coordinator_starts')
    .addColumn('id', 'integer', (c) => c.primaryKey())
    .addColumn('count', 'bigint', (c) => c.notNull())
    .execute()
}
