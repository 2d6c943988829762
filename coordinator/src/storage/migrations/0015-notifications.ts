import { type Kysely, sql } from 'kysely'
import { countingKey } from '../dialect.ts'

export const notifications = { up }

/** What receivers are told, and drills. */
async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('notification_outbox')
    .addColumn('seq', 'integer', countingKey(db))
    .addColumn('id', 'text', (c) => c.notNull())
    .addColumn('receiver', 'text', (c) => c.notNull())
    .addColumn('thread', 'text', (c) => c.notNull())
    .addColumn('stage', 'text', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('agent_id', 'text')
    .addColumn('text', 'text', (c) => c.notNull())
    .addColumn('payload', 'text', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('attempts', 'integer', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('next_at', 'bigint', (c) => c.notNull())
    .addColumn('claim', 'text')
    .addColumn('claimed_until', 'bigint')
    .addColumn('last_at', 'bigint')
    .addColumn('last_status', 'integer')
    .addColumn('last_error', 'text')
    .addColumn('ref', 'text')
    .addColumn('sent_at', 'bigint')
    .addUniqueConstraint('notification_outbox_once', ['receiver', 'thread', 'stage'])
    .execute()
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  `create index notification_outbox_waiting on notification_outbox (receiver, next_at) where status = 'waiting'`,
  'create index notification_outbox_by_time on notification_outbox (created_at)',
  // Nobody is told of what was before he was named.
  'create table notification_receivers (name text primary key, since bigint not null)',
  `create table drills (
    id text primary key,
    agent_id text not null,
    replica_id text not null,
    requested_by text not null,
    switch_back integer not null,
    status text not null,
    reason text not null,
    from_instance_id text not null,
    to_instance_id text not null,
    bytes_behind bigint,
    incident_id text not null,
    back_incident_id text,
    back_bytes_behind bigint,
    started_at bigint not null,
    ended_at bigint
  )`,
  'create index drills_by_agent on drills (agent_id, started_at)',
  // One at a time.
  'create unique index drills_open on drills (agent_id) where ended_at is null',
]
