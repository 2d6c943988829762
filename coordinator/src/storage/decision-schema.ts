/** Decisions: one row each, and how they are made for a target. */
export interface DecisionSchema {
  decision_execution_log: DecisionRow
  instance_config: InstanceConfigRow
  decision_parts: DecisionPartRow
  decision_targets: DecisionTargetRow
  decision_actions: DecisionActionRow
  realised_savings: RealisedSavingsRow
  decision_engines: DecisionEngineRow
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
  /** JSON: the input of the pipeline without what lies in `decision_parts`. */
  input: string
  /** JSON: which fields of the input lie under which SHA-256; null where all of it is in `input`. */
  parts: string | null
  /** Null for one that was asked for by itself. */
  cycle_id: string | null
  /** The agent. */
  target_id: string | null
  reason: string | null
  aws_signal: string | null
  risk_source: string | null
  model_version: string | null
  p_instability: number | null
  p_interruption: number | null
  target_pool_id: string | null
  /** Micro-dollars per hour, of effective cost. */
  gain: number | null
  action: string | null
  alert: string | null
  actuator: string | null
  level: string | null
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

export interface DecisionPartRow {
  sha256: string
  /** JSON, zstd, base64: parts of before `bytes`. Empty where that is set. */
  body: string
  /** JSON, zstd; with the text of `base` as dictionary where that is set. */
  bytes: Uint8Array | null
  /** SHA-256 of another part, which has no base itself. */
  base: string | null
  last_used_at: number
}

export interface DecisionTargetRow {
  target_id: string
  /** What is remembered is of the time in which this one was primary. */
  instance_id: string
  /** Micro-dollars: what staying has cost so far over the best that could be had. */
  forgone: number
  at: number
  /** JSON: keys of signals. */
  handled_signals: string
}

export interface DecisionActionRow {
  decision_id: string
  target_id: string
  engine: string
  actuator: string
  level: string
  status: string
  /** What came of it, in a sentence. */
  reason: string
  /** JSON: what was to be done. */
  body: string
  started_at: number
  /** Null while it is under way. */
  ended_at: number | null
}

/** What came of one switch that was decided and happened. Money is micro-dollars. */
export interface RealisedSavingsRow {
  decision_id: string
  agent_id: string
  /** The version whose scores it was decided by. */
  model_id: string | null
  old_instance_id: string
  new_instance_id: string
  old_pool_id: string
  new_pool_id: string
  switched_at: number
  /** Up to when it is counted so far. */
  until_at: number
  /** How long the decision expected the placement to last. */
  hold_ms: number
  /** What the decision expected to save in that time. */
  projected: number | null
  /** What the old pool would have cost less what the new one cost, by the prices that held. */
  saved: number
  /** What ran twice for it. */
  double_running: number
  /** Null: nobody has said what a switch costs. */
  switch_cost: number | null
  counted_ms: number
  /** Time in which a price was not known; nothing of it is in `saved`. */
  unknown_ms: number
  /** held, moved or terminated; null while it goes on. */
  ended: string | null
  /** Null while prices may still come. */
  settled_at: number | null
}

/** An engine that somebody has selected. */
export interface DecisionEngineRow {
  id: string
  /** What it decides: the last part of its path. */
  decision: string
  /** 1 for the one that counts among those of its decision. */
  active: number
  /** JSON: what was set otherwise than usual. */
  config: string
  /** Grows with every selection for its decision: two at once are one after the other. */
  revision: number
  selected_at: number
  selected_by: string
}
