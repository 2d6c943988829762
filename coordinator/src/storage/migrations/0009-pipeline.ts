import { type Kysely, sql } from 'kysely'

export const pipeline = { up }

async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  `create table instance_config (
    instance_id text primary key,
    enabled integer not null,
    pipeline_mode text not null,
    actuator text,
    actuator_level text not null,
    assigned_model_id text,
    enable_bin_packing integer not null,
    enable_right_sizing integer not null,
    enable_family_stress integer not null,
    account_environment text not null,
    revision integer not null,
    created_at bigint not null,
    updated_at bigint not null,
    updated_by text not null
  )`,
  // A model that is in use here is not to be deleted.
  'create index instance_config_by_model on instance_config (assigned_model_id)',
  // What is the same for many decisions lies here once: JSON, zstd, base64.
  `create table decision_parts (
    sha256 text primary key,
    body text not null,
    last_used_at bigint not null
  )`,
  'create index decision_parts_by_use on decision_parts (last_used_at)',
  ...[
    'parts text',
    'cycle_id text',
    'target_id text',
    'reason text',
    'aws_signal text',
    'risk_source text',
    'model_version text',
    'p_instability double precision',
    'p_interruption double precision',
    'target_pool_id text',
    'gain bigint',
    'action text',
    'alert text',
    'actuator text',
    'level text',
  ].map((column) => `alter table decision_execution_log add column ${column}`),
  'create index decisions_by_target on decision_execution_log (target_id, at)',
  'create index decisions_by_instance on decision_execution_log (instance_id, at)',
  // What is remembered of a target from one cycle to the next.
  `create table decision_targets (
    target_id text primary key,
    instance_id text not null,
    forgone bigint not null,
    at bigint not null,
    handled_signals text not null
  )`,
  // What was done about a decision; one that is open holds its target.
  `create table decision_actions (
    decision_id text primary key,
    target_id text not null,
    engine text not null,
    actuator text not null,
    level text not null,
    status text not null,
    reason text not null,
    body text not null,
    started_at bigint not null,
    ended_at bigint
  )`,
  'create unique index decision_actions_open on decision_actions (target_id) where ended_at is null',
]
