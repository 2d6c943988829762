import type { Generated } from 'kysely'
import type { DecisionSchema } from './decision-schema.ts'
import type { InterruptionSchema } from './interruption-schema.ts'
import type { LabSchema } from './lab-schema.ts'
import type { MarketSchema } from './market-schema.ts'
import type { ModelsSchema } from './models-schema.ts'
import type { NotificationSchema } from './notification-schema.ts'
import type { PredictionsSchema } from './predictions-schema.ts'

/**
 * The tables, as both databases hold them: times are UTC milliseconds, money is micro-dollars per hour, yes and no are
 * 1 and 0, lists are JSON text.
 */
export interface Schema
  extends MarketSchema,
    ModelsSchema,
    DecisionSchema,
    PredictionsSchema,
    InterruptionSchema,
    LabSchema,
    NotificationSchema {
  clients: ClientRow
  accounts: AccountRow
  agents: AgentRow
  instances: InstanceRow
  replica_instances: ReplicaRow
  spot_interruption_events: IncidentRow
  incident_steps: IncidentStepRow
  instance_switches: SwitchRow
  api_tokens: TokenRow
  audit_log: AuditRow
  idempotency_keys: IdempotencyRow
  certificate_authorities: CertificateAuthorityRow
  epoch_certificates: EpochCertificateRow
  coordinator_keys: CoordinatorKeyRow
  coordinator_starts: CoordinatorStartRow
}

export interface ClientRow {
  id: string
  name: string
  created_at: number
}

/** An AWS account, and what it is for. */
export interface AccountRow {
  /** Twelve digits. */
  id: string
  name: string
  /** PRODUCTION or LAB_INTERNAL. */
  environment_type: string
  created_at: number
  updated_at: number
  updated_by: string
}

export interface AgentRow {
  id: string
  client_id: string
  name: string
  /** The primary; null before there is one. */
  instance_id: string | null
  /** Of the newest certificate, as are `instance_id`, `term` and `successor_id`. */
  epoch: number
  /** The epoch in which the primary took office. */
  term: number
  successor_id: string | null
  /** The last epoch in which this coordinator has voted: it only grows. */
  voted_epoch: number
  voted_for: string | null
  /** Of what was voted for: the same vote may be written twice, another one in the same epoch never. */
  voted_digest: string | null
  /** This database has lost what members know: no vote before each of them has told it. */
  outdated: number
  auto_switch_enabled: number
  auto_replica_enabled: number
  manual_replica_enabled: number
  terminate_after_switch: number
  rebalance_threshold: number
  /** ignore, replica, handover. */
  on_rebalance: string
  /** Standbys that it is to have at all times. */
  min_replicas: number
  on_demand_fallback: number
  replica_count: number
  state_directories: number
  last_heartbeat_at: number | null
  last_failover_at: number | null
  created_at: number
}

export interface InstanceRow {
  id: string
  agent_id: string
  instance_type: string
  availability_zone: string
  pool_id: string
  /** By its identity document; null where that did not say it. */
  account_id: string | null
  life_cycle: string
  private_ip: string | null
  is_active: number
  /** Replaced for good: it is given nothing to do any more. */
  retired: number
  /** It said last that it holds a whole copy of the state. */
  has_copy: number
  /** SHA-256 of the credential that its link uses. */
  credential_hash: string | null
  credential_expires_at: number | null
  /** Sent to the agent and not used yet; takes the place of the first when it is. */
  next_credential_hash: string | null
  next_credential_expires_at: number | null
  launched_at: number | null
  enrolled_at: number
  terminated_at: number | null
  /** When AWS takes it back, by a termination notice that was not withdrawn. */
  notice_at: number | null
}

export interface ReplicaRow {
  id: string
  agent_id: string
  instance_id: string | null
  type: string
  status: string
  pool_id: string
  /** Spot price when it was chosen; null where prices are not known. */
  spot_price: number | null
  created_by: string
  is_active: number
  sync_percent: number
  bytes_done: number
  bytes_total: number
  lag_ms: number | null
  failure: string | null
  incident_id: string | null
  /** Why it was made, and why in this pool; then why it was let go. */
  reason: string | null
  /** spot, on-demand. */
  life_cycle: string
  created_at: number
  ready_at: number | null
  promoted_at: number | null
  terminated_at: number | null
}

/** An incident. The name is the customer's. */
export interface IncidentRow {
  id: string
  agent_id: string
  instance_id: string
  signal_type: string
  trigger: string
  detected_at: number
  deadline_at: number | null
  /** JSON: [{via, after_ms}], the first one first. */
  seen_via: string
  replica_id: string | null
  new_instance_id: string | null
  response_action: string
  outcome: string
  outcome_reason: string
  success: number | null
  failover_completed: number
  failover_time_ms: number | null
  no_primary_ms: number | null
  no_primary_from_t_ms: number | null
  old_epoch: number
  new_epoch: number | null
  interruption_probability: number | null
  /** JSON, or null while nothing is known. */
  loss: string | null
  closed_at: number | null
  /** 0: the old primary is to end after the move. Null: that follows from the trigger and from who has asked. */
  keep_old: number | null
}

export interface IncidentStepRow {
  incident_id: string
  seq: number
  step: string
  t_ms: number
  duration_ms: number | null
  ok: number
  reported_by: string
  clock: string
  at: number
  uncertainty_ms: number
  detail: string
}

export interface SwitchRow {
  id: string
  agent_id: string
  epoch: number
  incident_id: string | null
  switch_reason: string
  old_instance_id: string
  new_instance_id: string
  old_pool_id: string
  new_pool_id: string
  old_instance_price: number | null
  new_instance_price: number | null
  success: number | null
  switched_at: number
}

export interface TokenRow {
  id: string
  /** operator, join or session. */
  kind: string
  name: string
  role: string | null
  /** What a join token is good for. */
  agent_id: string | null
  instance_id: string | null
  replica_id: string | null
  /** The operator's token that a session was made from. */
  made_from: string | null
  salt: string
  hash: string
  created_at: number
  expires_at: number | null
  used_at: number | null
  revoked_at: number | null
}

export interface AuditRow {
  id: Generated<number>
  at: number
  actor: string
  action: string
  object: string
  before: string | null
  after: string | null
}

export interface IdempotencyRow {
  key: string
  actor: string
  request_hash: string
  status: number
  body: string
  created_at: number
}

/** The coordinator's own certificate authority, the same for every coordinator on this database. */
export interface CertificateAuthorityRow {
  /** 1 is the first; there is no other yet. */
  id: number
  /** PEM. */
  certificate: string
  /** PKCS #8 in PEM. Whoever has it can be any instance to any other: never logged, never returned. */
  private_key: string
  created_at: number
}

/** A change of epoch with its votes, each once. */
export interface EpochCertificateRow {
  agent_id: string
  epoch: number
  digest: string
  previous_digest: string
  /** first, turnover, renewal, succession, forced; unknown when the one before it is not here. */
  kind: string
  primary_id: string
  successor_id: string | null
  forced: number
  /** JSON. */
  certificate: string
  recorded_at: number
}

/** What this coordinator votes with. */
export interface CoordinatorKeyRow {
  /** 1 is the first; there is no other yet. */
  id: number
  /** Ed25519, PKCS #8 in PEM. Whoever has it can vote in the coordinator's name: never logged, never returned. */
  private_key: string
  created_at: number
}

/** Grows at each start of a coordinator on this database: by that it is seen to be older than its agents remember. */
export interface CoordinatorStartRow {
  /** There is one row. */
  id: number
  count: number
}
