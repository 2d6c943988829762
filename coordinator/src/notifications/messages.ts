import type { Instant } from '@understudy/shared/core/time'
import type { IncidentStep, IncidentView } from '@understudy/shared/protocol/incidents'
import {
  type NotificationPayload,
  type NotifiedAlert,
  notificationPayloadSchema,
} from '@understudy/shared/protocol/notifications'
import { escapeFor, type Message } from './bodies.ts'
import type { NewMessage } from './outbox.ts'
import { type Receiver, wants } from './receivers.ts'
import { stagesOf } from './stages.ts'
import { renderTemplate } from './template.ts'
import { alertValues, incidentValues } from './wording.ts'

/** Everything that is to be said of an incident as it stands now, to each who wants it, in order. */
export function incidentMessages(
  receivers: readonly Receiver[],
  incident: IncidentView,
  publicUrl: string,
  now: Instant,
): readonly NewMessage[] {
  const link = `${publicUrl}/#/incidents/${incident.id}`
  const { trigger: kind, agent_id } = incident
  return stagesOf(incident).flatMap(({ stage, step }) =>
    receivers
      .filter((receiver) => wants(receiver, { stage, kind, agentId: agent_id }))
      .map((receiver) => {
        const text = renderTemplate(
          receiver.templates[stage],
          incidentValues(incident, link, step),
          escapeFor(receiver),
        )
        const data = { text, incident: withoutSteps(incident), ...stepOf(step), link }
        return {
          // The same for all of them: whoever is told twice, by two receivers or two attempts, can see it.
          id: `${incident.id}_${stage}`,
          receiver: receiver.name,
          thread: incident.id,
          ...{ stage, kind, agent_id, text },
          payload: payloadOf(`incident.${stage}`, data, now),
        }
      }),
  )
}

const stepOf = (step: IncidentStep | undefined) => (step ? { step } : {})

function withoutSteps({ steps: _, ...incident }: IncidentView) {
  return incident
}

/** The same alert is told again when it has become worse. */
export function alertMessages(
  receivers: readonly Receiver[],
  alert: NotifiedAlert,
  publicUrl: string,
  now: Instant,
): readonly NewMessage[] {
  const link = `${publicUrl}/#/`
  return receivers
    .filter((receiver) => wants(receiver, { stage: 'alert', kind: 'alert', agentId: null }))
    .map((receiver) => {
      const text = renderTemplate(receiver.templates.alert, alertValues(alert, link), escapeFor(receiver))
      const thread = `${alert.id}_${alert.severity}`
      return {
        id: `${thread}_alert`,
        receiver: receiver.name,
        thread,
        ...{ stage: 'alert', kind: 'alert', agent_id: null, text },
        payload: payloadOf('alert', { text, alert, link }, now),
      }
    })
}

export function testMessage(receiver: Receiver, id: string, publicUrl: string, now: Instant): Message {
  const text = escapeFor(receiver)(`A test from the Understudy coordinator at ${publicUrl}: it reaches you.`)
  return { id: `test_${id}`, text, payload: payloadOf('test', { text }, now), threadRef: null }
}

const payloadOf = (
  type: NotificationPayload['type'],
  data: NotificationPayload['data'],
  now: Instant,
): string =>
  JSON.stringify(notificationPayloadSchema.parse({ type, timestamp: new Date(now).toISOString(), data }))
