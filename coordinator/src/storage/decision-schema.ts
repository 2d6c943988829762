/** One row per decision. */
export interface DecisionSchema {
  decision_execution_log: DecisionRow
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
