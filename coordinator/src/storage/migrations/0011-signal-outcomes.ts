import { type Kysely, sql } from 'kysely'

export const signalOutcomes = { up }

/** Rebalance recommendations, each once, and whether a notice followed. Those of incidents so far are taken over. */
async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('rebalance_signals')
    .addColumn('instance_id', 'text', (c) => c.notNull())
    .addColumn('action_at', 'bigint', (c) => c.notNull())
    .addColumn('agent_id', 'text', (c) => c.notNull())
    .addColumn('pool_id', 'text', (c) => c.notNull())
    .addColumn('incident_id', 'text', (c) => c.notNull())
    .addColumn('detected_at', 'bigint', (c) => c.notNull())
    .addColumn('noticed_at', 'bigint')
    .addPrimaryKeyConstraint('rebalance_signals_once', ['instance_id', 'action_at'])
    .execute()
  await db.schema
    .createIndex('rebalance_signals_by_time')
    .on('rebalance_signals')
    .column('detected_at')
    .execute()
  await sql`
    insert into rebalance_signals (instance_id, action_at, agent_id, pool_id, incident_id, detected_at, noticed_at)
    select signal.instance_id, signal.detected_at, min(signal.agent_id), min(instances.pool_id), min(signal.id),
      signal.detected_at, min(notice.detected_at)
    from spot_interruption_events as signal
    join instances on instances.id = signal.instance_id
    left join spot_interruption_events as notice
      on notice.instance_id = signal.instance_id and notice.signal_type = 'termination-notice'
    where signal.signal_type = 'rebalance-recommendation'
    group by signal.instance_id, signal.detected_at`.execute(db)
}
