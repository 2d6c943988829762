/** The tables of models. What is said of a model is kept for ever; its files are not. */
export interface ModelsSchema {
  models: ModelRow
  model_activations: ModelActivationRow
  model_upload_sessions: ModelUploadSessionRow
  model_refresh_history: ModelRefreshRow
  model_gap_fills: ModelGapFillRow
}

export interface ModelRow {
  /** Made of the bytes of its files and its manifest, so that the same upload is the same row. */
  id: string
  name: string
  version: string
  /** 0 for what was refused before it ever served: the name and version are free for another try. */
  holds_name: number
  state: string
  state_reason: string | null
  model_sha256: string
  scaler_sha256: string | null
  size_bytes: number
  /** JSON, as are `facts` and `qualification`. */
  manifest: string
  facts: string | null
  qualification: string | null
  /** A day. */
  trained_until: string
  artifact_kept: number
  uploaded_by: string
  uploaded_at: number
  activated_at: number | null
}

/** Append-only. `hash` is of this line and the hash of the one before it. */
export interface ModelActivationRow {
  seq: number
  at: number
  actor: string
  alias: string
  from_id: string | null
  to_id: string | null
  from_sha: string | null
  to_sha: string | null
  reason: string
  prev_hash: string
  hash: string
}

export interface ModelUploadSessionRow {
  id: string
  /** Always `models`. */
  session_type: string
  status: string
  is_live: number
  is_fallback: number
  file_count: number
  /** JSON. */
  file_names: string
  bytes_received: number
  bytes_total: number | null
  model_id: string | null
  sha256: string | null
  code: string | null
  error: string | null
  created_by: string
  idempotency_key: string | null
  created_at: number
  activated_at: number | null
}

export interface ModelRefreshRow {
  id: string
  /** manual or scheduled. */
  trigger: string
  actor: string
  model_id: string | null
  status: string
  detail: string
  started_at: number
  ended_at: number | null
}

/** One fill of the prices that a model lacks; the work is done by fetches of the market. */
export interface ModelGapFillRow {
  id: string
  model_id: string
  trigger: string
  actor: string
  status: string
  /** JSON: for which types and regions. */
  scope: string
  /** JSON: what is fetched, and by which fetch. */
  fetches: string
  /** Summed over pools, when it began. */
  missing_ms: number
  /** What was still missing when it ended. */
  left_ms: number | null
  unfillable_ms: number
  /** What is older than can be fetched. */
  unfillable_from: number | null
  unfillable_to: number | null
  /** Parts of its fetches. */
  done: number
  total: number
  records: number
  /** When it has ended. */
  readiness: string | null
  error: string | null
  created_at: number
  ended_at: number | null
}
