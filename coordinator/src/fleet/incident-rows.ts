import { AppError } from '@understudy/shared/core/app-error'
import type { AgentId, IncidentId } from '@understudy/shared/core/ids'
import { type Instant, instant, type Mono } from '@understudy/shared/core/time'
import type { IncidentView, Loss, ResponseAction, SignalType } from '@understudy/shared/protocol/incidents'
import type { IncidentRow, IncidentStepRow } from '../storage/database.ts'

/** What the recorder is told, and what it writes down. */

export interface NewIncident {
  readonly id: IncidentId
  readonly agentId: AgentId
  readonly instanceId: string
  readonly signalType: SignalType
  readonly trigger: IncidentView['trigger']
  readonly via: string
  /** When it was first noticed anywhere, on this coordinator's clocks. */
  readonly detected: { readonly wall: Instant; readonly mono: Mono }
  readonly deadline: Instant | null
  readonly epoch: number
  /** It is heard of afterwards: what is told of it later may lie before `detected`, which is corrected then. */
  readonly elsewhere?: boolean
  readonly interruptionProbability?: number
  /** False where somebody wants the old primary to end after the move. */
  readonly keepOld?: boolean
}

export interface NewStep {
  readonly step: string
  /** When it began, on this coordinator's monotonic clock. */
  readonly began: Mono
  readonly tookMillis: number | null
  readonly ok: boolean
  readonly reportedBy: string
  readonly clock: string
  /** The reporting machine's wall clock. */
  readonly at: Instant
  readonly uncertaintyMillis: number
  readonly detail: string
}

export interface Closing {
  readonly outcome: IncidentView['outcome']
  readonly why: string
  readonly action: ResponseAction
  readonly replicaId: string | null
  readonly newInstanceId: string | null
  readonly newEpoch: number | null
  readonly failoverMillis: number | null
  readonly noPrimaryMillis: number | null
  readonly noPrimaryFrom: Mono | null
  readonly loss: Loss | null
}

/** @throws AppError `input_invalid` */
export function parseCursor(cursor: string): { at: number; id: string } {
  const match = /^(\d{1,15}):([0-9a-f-]{36})$/.exec(cursor)
  if (match?.[1] && match[2]) return { at: Number(match[1]), id: match[2] }
  throw new AppError('input_invalid', `"${cursor.slice(0, 40)}" is not a cursor that this API has given out`)
}

/** What the record says of its end as long as there is none. */
export const notEnded = {
  outcome: 'running',
  outcome_reason: '',
  response_action: 'waiting',
  replica_id: null,
  new_instance_id: null,
  new_epoch: null,
  success: null,
  failover_completed: 0,
  failover_time_ms: null,
  no_primary_ms: null,
  no_primary_from_t_ms: null,
  loss: null,
  closed_at: null,
} as const satisfies Partial<IncidentRow>

export const toRow = (incident: NewIncident): IncidentRow => ({
  id: incident.id,
  agent_id: incident.agentId,
  instance_id: incident.instanceId,
  signal_type: incident.signalType,
  trigger: incident.trigger,
  detected_at: instant(Math.round(incident.detected.wall)),
  deadline_at: incident.deadline === null ? null : instant(Math.round(incident.deadline)),
  seen_via: JSON.stringify([{ via: incident.via, after_ms: 0 }]),
  old_epoch: incident.epoch,
  interruption_probability: incident.interruptionProbability ?? null,
  keep_old: incident.keepOld === false ? 0 : null,
  ...notEnded,
})

/** No figure here is more exact than that. */
export const tenths = (value: number): number => Math.round(value * 10) / 10

/** `zero` is T+0 of its incident. */
export const toStepRow = (id: string, seq: number, step: NewStep, zero: Mono): IncidentStepRow => ({
  incident_id: id,
  seq,
  step: step.step,
  t_ms: tenths(step.began - zero),
  duration_ms: step.tookMillis === null ? null : tenths(step.tookMillis),
  ok: Number(step.ok),
  reported_by: step.reportedBy,
  clock: step.clock,
  at: step.at,
  uncertainty_ms: tenths(step.uncertaintyMillis),
  detail: step.detail,
})

export function toEnd(closing: Closing, zero: Mono | undefined, now: number): Partial<IncidentRow> {
  const { outcome, noPrimaryFrom } = closing
  return {
    outcome,
    outcome_reason: closing.why,
    response_action: closing.action,
    replica_id: closing.replicaId,
    new_instance_id: closing.newInstanceId,
    new_epoch: closing.newEpoch,
    success: outcome === 'no-action' ? null : Number(outcome === 'promoted'),
    failover_completed: Number(outcome === 'promoted' || outcome === 'relaunched'),
    failover_time_ms: closing.failoverMillis,
    no_primary_ms: closing.noPrimaryMillis,
    no_primary_from_t_ms: noPrimaryFrom === null || zero === undefined ? null : tenths(noPrimaryFrom - zero),
    loss: closing.loss === null ? null : JSON.stringify(closing.loss),
    closed_at: now,
  }
}
