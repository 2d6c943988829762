import type { Generated } from 'kysely'

/** The tables of predictions: what models have said, what came of it, and what is watched in both. */
export interface PredictionsSchema {
  prediction_runs: PredictionRunRow
  predictions_log: Omit<PredictionRow, 'acted'> & { acted: Generated<number> }
  prediction_blocks: PredictionBlockRow
  drift_windows: DriftWindowRow
  model_alerts: ModelAlertRow
}

/** One batch over all pools. */
export interface PredictionRunRow {
  id: number
  at: number
  /** `active`, or `shadow:…`. */
  alias: string
  model_id: string
  model_sha256: string
  /** active, previous or alias. */
  answered_by: string
  horizon_ms: number
  threshold: number
  /** How many rows it has. */
  pools: number
  /** JSON: how many pools have none, by reason. */
  left_out: string
  took_ms: number
}

/** `pool` is `pools.id`. Neither label nor reason: its horizon has not passed, or prices are still waited for. */
export interface PredictionRow {
  run: number
  pool: number
  at: number
  p: number
  features_hash: string
  /** Share of the look-back without real prices. */
  filled: number
  label: number | null
  label_reason: string | null
  /** 1: by a decision a workload has left the pool after this was said. */
  acted: number
  /** The experiment in the shadow of which it was made. */
  experiment: string | null
}

/** The mean loss of the rows of one family of a region in 12 hours, once all of them are labelled. */
export interface PredictionBlockRow {
  model_id: string
  block_at: number
  pool_group: string
  rows: number
  positives: number
  brier: number
}

export interface DriftWindowRow {
  model_id: string
  from_at: number
  /** Null while rows are added. */
  to_at: number | null
  rows: number
  /** Blocks of one pool and 12 h. */
  effective: number
  /** JSON. */
  counts: string
  /** JSON; null before it has ended. */
  result: string | null
}

export interface ModelAlertRow {
  id: string
  model_id: string
  kind: string
  subject: string
  severity: string
  said: string
  /** JSON. */
  facts: string
  opened_at: number
  seen_at: number
  closed_at: number | null
}
