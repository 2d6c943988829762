import {
  type NotificationDelivery,
  type NotificationReceiver,
  notificationDeliverySchema,
} from '@understudy/shared/protocol/notifications'
import type { OutboxRow } from '../storage/database.ts'
import type { ReceiverState } from './outbox.ts'
import { type Receiver, threads } from './receivers.ts'

const timeOrNull = (at: number | null | undefined): string | null =>
  at === null || at === undefined ? null : new Date(at).toISOString()

/** Never the address beyond its host: the rest of it may be a secret. */
export const receiverView = (receiver: Receiver, state: ReceiverState | undefined): NotificationReceiver => ({
  name: receiver.name,
  kind: receiver.target.kind,
  format: receiver.target.kind === 'slack' ? 'slack' : receiver.target.format,
  origin: new URL(receiver.url).origin,
  secrets: receiver.target.kind === 'slack' ? 0 : receiver.target.secrets.length,
  threads: threads(receiver),
  stages: [...receiver.stages],
  kinds: [...receiver.kinds],
  agents: [...receiver.agents],
  waiting: state?.waiting ?? 0,
  oldest_waiting_at: timeOrNull(state?.oldestWaitingAt),
  last_sent_at: timeOrNull(state?.lastSentAt),
  last_failed_at: timeOrNull(state?.lastFailedAt),
  last_error: state?.lastError ?? null,
})

export const deliveryView = (row: OutboxRow): NotificationDelivery =>
  notificationDeliverySchema.parse({
    id: row.id,
    receiver: row.receiver,
    thread: row.thread,
    stage: row.stage,
    kind: row.kind,
    agent_id: row.agent_id,
    text: row.text,
    status: row.status,
    attempts: row.attempts,
    created_at: timeOrNull(row.created_at),
    next_attempt_at: row.status === 'waiting' ? timeOrNull(row.next_at) : null,
    last_attempt_at: timeOrNull(row.last_at),
    last_status: row.last_status,
    last_error: row.last_error,
    sent_at: timeOrNull(row.sent_at),
  })
