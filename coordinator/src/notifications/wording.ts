import { formatMillis } from '@understudy/shared/core/time'
import type { IncidentStep, IncidentView } from '@understudy/shared/protocol/incidents'
import type { NotificationStage, NotifiedAlert } from '@understudy/shared/protocol/notifications'
import { headlineOf } from '../fleet/fleet.ts'

/** What the placeholders of templates stand for. */

type Values = Readonly<Record<string, string>>

const UNKNOWN = 'unknown'

const signals: Readonly<Record<IncidentView['trigger'], string>> = {
  notice: 'interruption notice',
  silence: 'loss without a notice',
  rebalance: 'rebalance recommendation',
  planned: 'planned move',
  drill: 'drill',
}

export function incidentValues(incident: IncidentView, link: string, step?: IncidentStep) {
  const { deadline_at: deadline, detected_at: detected } = incident
  const took = (value: number | null) => (value === null ? UNKNOWN : formatMillis(value))
  const left = deadline === null ? null : Math.max(0, Date.parse(deadline) - Date.parse(detected))
  return {
    incident: incident.id,
    agent: incident.agent_name,
    agent_id: incident.agent_id,
    kind: incident.trigger,
    signal: signals[incident.trigger],
    instance: incident.instance_id,
    pool: incident.pool_id ?? UNKNOWN,
    new_instance: incident.new_instance_id ?? UNKNOWN,
    new_pool: incident.new_pool_id ?? UNKNOWN,
    detected_at: detected,
    deadline_at: deadline ?? UNKNOWN,
    notice: left === null ? '' : `, AWS acts in ${formatMillis(left)}`,
    headline: headlineOf(incident),
    outcome: incident.outcome,
    reason: incident.outcome_reason || UNKNOWN,
    failover_time: took(incident.failover_time_ms),
    no_primary: took(incident.no_primary_ms),
    loss: incident.loss?.sentence ?? UNKNOWN,
    rescue: rescueOf(incident),
    epoch: String(incident.new_epoch ?? incident.old_epoch),
    step: step?.step ?? UNKNOWN,
    detail: step?.detail || UNKNOWN,
    link,
  } satisfies Values
}

/** Where no replica was ready: what was counted on instead, and what that costs an hour. Empty where one was. */
function rescueOf({ steps }: IncidentView): string {
  const last = (name: string) => steps.findLast(({ step, ok }) => step === name && ok)?.detail
  if (last('no-replica-ready') === undefined && last('no-copy-at-hand') === undefined) return ''
  const [launched, waited] = [last('replica-launched'), last('waits-for-replica')]
  const parts = [
    ...(launched === undefined ? [] : [`an instance was started: ${launched}`]),
    ...(launched === undefined && waited !== undefined ? [`one was waited for: ${waited}`] : []),
    ...(last('snapshot-restored') === undefined ? [] : ['it began with the newest snapshot']),
  ]
  return ` No replica was ready${parts.map((part) => `; ${part}`).join('')}.`
}

export function alertValues(alert: NotifiedAlert, link: string) {
  const { kind, model_id: model, subject, severity, said } = alert
  return { alert: alert.id, kind, model, subject, severity, said, link } satisfies Values
}

type Of<F extends (...given: never[]) => unknown> = keyof ReturnType<F> & string
const ofIncident: Readonly<Record<Of<typeof incidentValues>, true>> = {
  ...{ incident: true, agent: true, agent_id: true, kind: true, signal: true, instance: true, pool: true },
  ...{ new_instance: true, new_pool: true, detected_at: true, deadline_at: true, notice: true },
  ...{ headline: true, outcome: true, reason: true, failover_time: true, no_primary: true, loss: true },
  rescue: true,
  ...{ epoch: true, step: true, detail: true, link: true },
}
const ofAlert: Readonly<Record<Of<typeof alertValues>, true>> = {
  ...{ alert: true, kind: true, model: true, subject: true, severity: true, said: true, link: true },
}

/** What a template of the stage may name. */
export const placeholdersOf = (stage: NotificationStage): readonly string[] =>
  Object.keys(stage === 'alert' ? ofAlert : ofIncident)

/** What is said where a receiver has no template of its own. */
export const usualTemplates: Readonly<Record<NotificationStage, string>> = {
  receipt: '{{agent}}: {{signal}} on {{instance}} ({{pool}}){{notice}}. {{link}}',
  trouble: '{{agent}}: {{signal}} on {{instance}}, and {{step}}: {{detail}}. {{link}}',
  outcome: '{{headline}}.{{rescue}} Nobody served for: {{no_primary}}. Lost: {{loss}}. {{link}}',
  failure: '{{headline}}.{{rescue}} Nobody served for: {{no_primary}}. Lost: {{loss}}. {{link}}',
  alert: '{{severity}}: {{said}} ({{kind}}, model {{model}}). {{link}}',
}
