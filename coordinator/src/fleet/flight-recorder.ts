import { formatMillis } from '@understudy/shared/core/time'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import { strToU8, zipSync } from 'fflate'

/** What happened, in one line. */
export function headlineOf(incident: IncidentView): string {
  const { agent_name: agent, outcome, new_pool_id: pool, new_instance_id: instance } = incident
  const took = incident.failover_time_ms === null ? '' : ` in ${formatMillis(incident.failover_time_ms)}`
  const place = pool ?? instance ?? 'a new instance'
  switch (outcome) {
    case 'promoted':
      return `${agent} moved to ${place}${took}`
    case 'relaunched':
      return `${agent} started anew on ${place}${took}, with an empty state`
    case 'failed':
      return `${agent} did not move: ${incident.outcome_reason}`
    case 'no-action':
      return `${agent}: ${incident.outcome_reason}`
    case 'running':
      return `${agent} is moving`
  }
}

/** An incident as plain text, for a terminal and for pasting into a channel. */
export function toText(incident: IncidentView): string {
  const lines = [
    headlineOf(incident),
    `${incident.signal_type} on ${incident.instance_id} (${incident.pool_id ?? 'unknown pool'}), detected ${incident.detected_at}`,
    `seen via ${incident.seen_via.map(({ via, after_ms }) => `${via} +${after_ms} ms`).join(', ')}`,
    `epoch ${incident.old_epoch} -> ${incident.new_epoch ?? incident.old_epoch}`,
    incident.no_primary_ms === null ? undefined : `no primary for ${formatMillis(incident.no_primary_ms)}`,
    incident.loss === null ? undefined : `loss: ${incident.loss.sentence}`,
    '',
    ...incident.steps.map((step) =>
      [
        `T${step.t_ms < 0 ? '' : '+'}${formatMillis(step.t_ms)}`.padEnd(12),
        step.step.padEnd(24),
        (step.duration_ms === null ? '' : formatMillis(step.duration_ms)).padEnd(9),
        step.ok ? '      ' : 'FAILED',
        ` ${step.reported_by} (± ${formatMillis(step.uncertainty_ms)})`,
        step.detail && `  ${step.detail}`,
      ].join(''),
    ),
  ]
  return `${lines.filter((line) => line !== undefined).join('\n')}\n`
}

/** The incident as JSON and as text, in one file to attach to a report. */
export const toZip = (incident: IncidentView): Uint8Array =>
  zipSync({
    'incident.json': strToU8(`${JSON.stringify(incident, null, 2)}\n`),
    'incident.txt': strToU8(toText(incident)),
  })
