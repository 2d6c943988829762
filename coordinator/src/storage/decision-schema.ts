/** Decisions: one row each, and how they are made for a target. */
export interface DecisionSchema {
  decision_execution_log: DecisionRow
  instance_config: InstanceConfigRow
}

export interface DecisionRow {
  id: string
  at: number
  instance_id: string | null
  pool_id: string
  mode: string
  decision: string
  code: string
  pipeline_version: string
  duration_ms: number
  /** JSON: the whole input of the pipeline. */
  input: string
  /** Of the outcome as JSON. */
  outcome_sha256: string
}

export interface InstanceConfigRow {
  /** The agent's id, or an instance's own where no agent is known for it. */
  instance_id: string
  enabled: number
  pipeline_mode: string
  actuator: string | null
  actuator_level: string
  assigned_model_id: string | null
  enable_bin_packing: number
  enable_right_sizing: number
  enable_family_stress: number
  account_environment: string
  /** Grows with every change: two changes at once are one after the other. */
  revision: number
  created_at: number
  updated_at: number
  updated_by: string
}
