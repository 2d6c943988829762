import { type Kysely, sql } from 'kysely'

export const lab = { up }

async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  `create table model_names (
    name text primary key,
    model_id text not null,
    named_at bigint not null,
    named_by text not null
  )`,
  `create table lab_targets (
    instance_id text primary key,
    aws_region text not null,
    created_at bigint not null
  )`,
  `create table experiment_logs (
    id text primary key,
    instance_id text not null,
    model_id text,
    assigned_model_id text,
    fallback_reason text,
    experiment_id text,
    prediction_score double precision,
    decision text not null,
    acted integer not null,
    execution_time bigint not null,
    execution_duration_ms double precision not null,
    selected_instance_type text,
    spot_price bigint,
    projected_savings bigint,
    metadata text not null
  )`,
  'create index experiment_logs_by_instance on experiment_logs (instance_id, execution_time)',
  'create index experiment_logs_by_model on experiment_logs (model_id, execution_time)',
  'create index experiment_logs_by_assigned on experiment_logs (assigned_model_id, execution_time)',
  `create table experiments (
    id text primary key,
    plan text not null,
    plan_sha256 text not null,
    units text not null,
    status text not null,
    created_at bigint not null,
    created_by text not null,
    starts_at bigint,
    started_at bigint,
    ended_at bigint,
    ended_by text,
    verdict text,
    settled_block bigint,
    late_labels integer not null,
    revision integer not null
  )`,
  'create index experiments_by_time on experiments (created_at)',
  // Written once: a block that is settled is never opened again.
  `create table experiment_blocks (
    experiment_id text not null,
    treatment integer not null,
    block_index bigint not null,
    pool_group text not null,
    summary text not null,
    settled_at bigint not null,
    primary key (experiment_id, treatment, block_index, pool_group)
  )`,
  // Which unit was in which arm from when to when; what it had before is given back at the end.
  `create table experiment_units (
    experiment_id text not null,
    unit_id text not null,
    since bigint not null,
    until bigint,
    arm integer not null,
    before text not null,
    primary key (experiment_id, unit_id, since)
  )`,
]
