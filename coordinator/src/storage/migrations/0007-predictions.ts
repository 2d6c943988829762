import { type Kysely, sql } from 'kysely'
import { dialectOf } from '../dialect.ts'

export const predictions = { up }

/** Rows of predictions lie together by pool and time: there are hundreds for each pool and day. */
async function up(db: Kysely<unknown>): Promise<void> {
  const clustered = dialectOf(db) === 'postgres' ? '' : 'without rowid'
  for (const statement of statements(clustered)) await sql.raw(statement).execute(db)
}

const statements = (clustered: string) => [
  `create table prediction_runs (
    id bigint primary key,
    at bigint not null,
    alias text not null,
    model_id text not null,
    model_sha256 text not null,
    answered_by text not null,
    horizon_ms bigint not null,
    threshold double precision not null,
    pools integer not null,
    left_out text not null,
    took_ms double precision not null
  )`,
  'create index prediction_runs_by_time on prediction_runs (at)',
  'create index prediction_runs_by_model on prediction_runs (model_id, at)',
  `create table predictions_log (
    run bigint not null,
    pool bigint not null,
    at bigint not null,
    p double precision not null,
    features_hash text not null,
    filled double precision not null,
    label integer,
    label_reason text,
    primary key (pool, at, run)
  ) ${clustered}`,
  'create index predictions_log_by_run on predictions_log (run)',
  // Small: only what waits for its label.
  `create index predictions_log_pending on predictions_log (at, pool)
    where label is null and label_reason is null`,
  `create table prediction_blocks (
    model_id text not null,
    block_at bigint not null,
    pool_group text not null,
    rows integer not null,
    positives integer not null,
    brier double precision not null,
    primary key (model_id, block_at, pool_group)
  )`,
  `create table drift_windows (
    model_id text not null,
    from_at bigint not null,
    to_at bigint,
    rows integer not null,
    effective integer not null,
    counts text not null,
    result text,
    primary key (model_id, from_at)
  )`,
  `create table model_alerts (
    id text primary key,
    model_id text not null,
    kind text not null,
    subject text not null,
    severity text not null,
    said text not null,
    facts text not null,
    opened_at bigint not null,
    seen_at bigint not null,
    closed_at bigint
  )`,
  // One open alert for each thing that is watched.
  'create unique index model_alerts_open on model_alerts (model_id, kind, subject) where closed_at is null',
  'create index model_alerts_by_time on model_alerts (opened_at)',
]
