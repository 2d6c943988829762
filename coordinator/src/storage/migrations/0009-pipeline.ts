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
]
