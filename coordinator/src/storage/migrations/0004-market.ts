import { type Kysely, sql } from 'kysely'
import { countingKey, dialectOf } from '../dialect.ts'

export const market = { up }

/**
 * Prices. Tables that grow with time are clustered by pool and time in SQLite, and partitioned by month in PostgreSQL
 * (storage/partitions.ts makes the partitions when rows of a month come).
 */
async function up(db: Kysely<unknown>): Promise<void> {
  await pools(db)
  await submissions(db)
  for (const statement of [...prices(db), ...gaps, ...catalog]) await sql.raw(statement).execute(db)
}

async function pools(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('pools')
    .addColumn('id', 'integer', countingKey(db))
    .addColumn('pool_id', 'text', (c) => c.notNull().unique())
    .addColumn('instance_type', 'text', (c) => c.notNull())
    .addColumn('availability_zone', 'text', (c) => c.notNull())
    .addColumn('az_id', 'text')
    .addColumn('region', 'text', (c) => c.notNull())
    .addColumn('product', 'text', (c) => c.notNull().defaultTo('Linux/UNIX'))
    .execute()
  // Peers of a pool: the same type in the other zones of its region.
  await db.schema.createIndex('pools_by_region').on('pools').columns(['region', 'instance_type']).execute()
}

/** Unique by what was said, who said it and when; time comes first so that new rows lie together. */
async function submissions(db: Kysely<unknown>): Promise<void> {
  const postgres = dialectOf(db) === 'postgres'
  const id = postgres ? 'bigint generated always as identity' : 'integer primary key autoincrement'
  await sql
    .raw(
      `create table pricing_submissions_raw (
        id ${id},
        submission_id text not null,
        agent_id text not null,
        instance_id text not null,
        role text not null,
        pool_id text not null,
        sampled_at bigint not null,
        price bigint,
        given text not null,
        verdict text not null,
        reason text,
        received_at bigint not null,
        unique (sampled_at, pool_id, instance_id, given)
      ) ${postgres ? 'partition by range (sampled_at)' : ''}`,
    )
    .execute(db)
}

function prices(db: Kysely<unknown>): string[] {
  const postgres = dialectOf(db) === 'postgres'
  const byTime = postgres ? 'partition by range (at)' : 'without rowid'
  const clustered = postgres ? '' : 'without rowid'
  // Ids are compared byte by byte, as SQLite and JavaScript do, whatever the collation of the database is.
  const id = postgres ? 'text collate "C"' : 'text'
  return [
    `create table pricing_snapshots_clean (
      pool integer not null,
      at bigint not null,
      price bigint not null,
      confidence smallint not null,
      sampled_at bigint not null,
      instance_id ${id} not null,
      agent_id ${id} not null,
      primary key (pool, at)
    ) ${byTime}`,
    `create table price_changes (
      pool integer not null,
      at bigint not null,
      price bigint not null,
      source text not null,
      primary key (pool, at)
    ) ${byTime}`,
    `create table price_coverage (
      pool integer not null,
      from_at bigint not null,
      to_at bigint not null,
      source text not null,
      fetched_at bigint not null,
      primary key (pool, from_at)
    ) ${clustered}`,
    `create table pricing_snapshots_interpolated (
      pool integer not null,
      at bigint not null,
      price bigint not null,
      confidence smallint not null,
      gap_class text not null,
      method text not null,
      inputs text not null,
      before_at bigint not null,
      before_price bigint not null,
      after_at bigint not null,
      after_price bigint not null,
      batch_id text not null,
      created_at bigint not null,
      primary key (pool, at)
    ) ${byTime}`,
    `create view spot_prices as
      select p.pool_id, p.instance_type, p.availability_zone, p.region, c.at, c.price,
        case c.confidence when 100 then 'primary' else 'replica' end as source, c.confidence
      from pricing_snapshots_clean c join pools p on p.id = c.pool`,
    `create table data_gaps (
      pool integer not null,
      from_at bigint not null,
      to_at bigint not null,
      buckets integer not null,
      gap_class text not null,
      status text not null,
      reason text,
      batch_id text,
      found_at bigint not null,
      primary key (pool, from_at)
    ) ${clustered}`,
  ]
}

const gaps = [
  'create index price_coverage_by_end on price_coverage (pool, to_at)',
  'create index data_gaps_by_end on data_gaps (pool, to_at)',
  'create index data_gaps_by_time on data_gaps (from_at)',
  'create index data_gaps_by_batch on data_gaps (batch_id)',
  // What has to be looked at again, which is little at any time.
  "create index data_gaps_stale on data_gaps (pool) where status = 'stale'",
]

const catalog = [
  `create table price_fetches (
    id text primary key,
    kind text not null,
    request text not null,
    status text not null,
    done bigint not null,
    total bigint not null,
    rows_written bigint not null,
    error text,
    cursor text,
    created_at bigint not null,
    started_at bigint,
    ended_at bigint
  )`,
  'create index price_fetches_by_time on price_fetches (created_at)',
  `create table on_demand_prices (
    instance_type text not null,
    region text not null,
    os text not null,
    price bigint not null,
    source text not null,
    as_of bigint,
    fetched_at bigint not null,
    primary key (instance_type, region, os)
  )`,
  `create table spot_advisor_data (
    instance_type text not null,
    region text not null,
    os text not null,
    band smallint not null,
    savings_percent smallint not null,
    as_of bigint,
    fetched_at bigint not null,
    primary key (instance_type, region, os)
  )`,
  `create table instance_types (
    instance_type text primary key,
    vcpu integer not null,
    memory_mib bigint not null,
    architecture text not null,
    gpu_count integer not null,
    gpu_name text,
    network_gbps double precision,
    burstable integer not null,
    bare_metal integer not null,
    source text not null,
    as_of bigint
  )`,
  `create table availability_zones (
    az_name text primary key,
    az_id text not null,
    region text not null,
    source text not null,
    fetched_at bigint not null
  )`,
  `create table catalog_sources (
    name text primary key,
    url text not null,
    etag text,
    as_of bigint,
    fetched_at bigint,
    checked_at bigint not null,
    error text
  )`,
]
