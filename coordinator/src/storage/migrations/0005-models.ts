import { type Kysely, sql } from 'kysely'

export const models = { up }

async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  `create table models (
    id text primary key,
    name text not null,
    version text not null,
    holds_name integer not null,
    state text not null,
    state_reason text,
    model_sha256 text not null,
    scaler_sha256 text,
    size_bytes bigint not null,
    manifest text not null,
    facts text,
    qualification text,
    trained_until text not null,
    artifact_kept integer not null,
    uploaded_by text not null,
    uploaded_at bigint not null,
    activated_at bigint
  )`,
  // A version never changes: the same name and version with other bytes is refused.
  'create unique index models_by_version on models (name, version) where holds_name = 1',
  'create index models_by_time on models (uploaded_at)',
  `create table model_activations (
    seq integer primary key,
    at bigint not null,
    actor text not null,
    alias text not null,
    from_id text,
    to_id text,
    from_sha text,
    to_sha text,
    reason text not null,
    prev_hash text not null,
    hash text not null unique
  )`,
  'create index model_activations_by_alias on model_activations (alias, seq)',
  `create table model_upload_sessions (
    id text primary key,
    session_type text not null,
    status text not null,
    is_live integer not null,
    is_fallback integer not null,
    file_count integer not null,
    file_names text not null,
    bytes_received bigint not null,
    bytes_total bigint,
    model_id text,
    sha256 text,
    code text,
    error text,
    created_by text not null,
    idempotency_key text,
    created_at bigint not null,
    activated_at bigint
  )`,
  'create index model_upload_sessions_by_time on model_upload_sessions (created_at)',
  'create index model_upload_sessions_by_key on model_upload_sessions (idempotency_key) where idempotency_key is not null',
  `create table model_refresh_history (
    id text primary key,
    trigger text not null,
    actor text not null,
    model_id text,
    status text not null,
    detail text not null,
    started_at bigint not null,
    ended_at bigint
  )`,
  'create index model_refresh_history_by_time on model_refresh_history (started_at)',
  // Under the names of the ML server, to be read only.
  ...['ml_models', 'model_registry'].map(
    (view) => `create view ${view} as
      select id as model_id, name, version, trained_until, state,
        case state when 'ACTIVE' then 'active' else 'inactive' end as status,
        model_sha256 as sha256, size_bytes, uploaded_at, activated_at
      from models`,
  ),
]
