/** What AWS recommended, and what came of it. */
export interface InterruptionSchema {
  rebalance_signals: RebalanceSignalRow
}

/** One recommendation, once: by its instance and the time that AWS gave it. */
export interface RebalanceSignalRow {
  instance_id: string
  /** When AWS emitted it; when it was first seen where nobody said. */
  action_at: number
  agent_id: string
  pool_id: string
  /** The first that it was answered by. */
  incident_id: string
  detected_at: number
  /** The first termination notice of the instance; null when none has come. */
  noticed_at: number | null
}
