/** The tables of the Lab. */
export interface LabSchema {
  model_names: ModelNameRow
  lab_targets: LabTargetRow
  experiment_logs: ExperimentLogRow
  experiments: ExperimentRow
  experiment_blocks: ExperimentBlockRow
  experiment_units: ExperimentUnitRow
}

/** A short name, such as `model-002`, for the id of a version. */
export interface ModelNameRow {
  name: string
  model_id: string
  named_at: number
  named_by: string
}

/** What the Lab knows of a target beside its configuration. */
export interface LabTargetRow {
  instance_id: string
  aws_region: string
  created_at: number
}

/** One decision of a target in the Lab. */
export interface ExperimentLogRow {
  /** Of the decision. */
  id: string
  instance_id: string
  /** The version that answered; null when none did. */
  model_id: string | null
  /** The version that was to answer; null when none was assigned. */
  assigned_model_id: string | null
  fallback_reason: string | null
  experiment_id: string | null
  prediction_score: number | null
  /** HOLD, SWITCH, DRAIN, EVACUATE or FAILED. */
  decision: string
  acted: number
  execution_time: number
  execution_duration_ms: number
  selected_instance_type: string | null
  /** Micro-dollars per hour. */
  spot_price: number | null
  /** Micro-dollars. */
  projected_savings: number | null
  /** JSON. */
  metadata: string
}

export interface ExperimentRow {
  id: string
  /** JSON: the plan as it was registered. */
  plan: string
  plan_sha256: string
  /** JSON: ids of targets. */
  units: string
  status: string
  created_at: number
  created_by: string
  starts_at: number | null
  started_at: number | null
  ended_at: number | null
  ended_by: string | null
  /** JSON; written once, when it ends. */
  verdict: string | null
  /** The last block that was settled: it only grows. */
  settled_block: number | null
  late_labels: number
  /** Grows with every change. */
  revision: number
}

export interface ExperimentBlockRow {
  experiment_id: string
  /** Number of the arm. */
  treatment: number
  block_index: number
  pool_group: string
  /** JSON. */
  summary: string
  settled_at: number
}

export interface ExperimentUnitRow {
  experiment_id: string
  unit_id: string
  since: number
  until: number | null
  /** Number of the arm. */
  arm: number
  /** JSON: the configuration that it had. */
  before: string
}
