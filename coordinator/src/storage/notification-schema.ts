import type { Generated } from 'kysely'

/** What receivers are told, and drills. */
export interface NotificationSchema {
  notification_outbox: OutboxTable
  notification_receivers: NotifiedReceiverRow
  drills: DrillRow
}

/** One message for one receiver: at most one for each stage of a thread. */
export interface OutboxRow {
  /** Counted up: the order within a thread. */
  seq: number
  /** `webhook-id`: of the message, whoever receives it. */
  id: string
  receiver: string
  /** The incident, or the alert. */
  thread: string
  stage: string
  kind: string
  agent_id: string | null
  text: string
  /** JSON. */
  payload: string
  /** waiting, sent or given-up. */
  status: string
  attempts: number
  created_at: number
  next_at: number
  /** Who is sending it, and until when nobody else tries. */
  claim: string | null
  claimed_until: number | null
  last_at: number | null
  last_status: number | null
  last_error: string | null
  /** What it is called where it was sent. */
  ref: string | null
  sent_at: number | null
}
type OutboxTable = Omit<OutboxRow, 'seq'> & { seq: Generated<number> }

export interface NotifiedReceiverRow {
  name: string
  /** It is told of nothing before. */
  since: number
}

/** A rehearsal of a failover. What was measured is in its incidents. */
export interface DrillRow {
  id: string
  agent_id: string
  replica_id: string
  requested_by: string
  switch_back: number
  /** moving, moving-back, done or failed. */
  status: string
  reason: string
  from_instance_id: string
  to_instance_id: string
  /** What the replica lacked when it began; null where nobody knew. */
  bytes_behind: number | null
  incident_id: string
  back_incident_id: string | null
  back_bytes_behind: number | null
  started_at: number
  ended_at: number | null
}
