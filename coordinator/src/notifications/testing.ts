import { type IncidentView, incidentViewSchema } from '@understudy/shared/protocol/incidents'
import { notificationKinds, notificationStages } from '@understudy/shared/protocol/notifications'
import type { Receiver } from './receivers.ts'
import { parseSecret } from './signing.ts'
import { parseTemplate } from './template.ts'
import { placeholdersOf, usualTemplates } from './wording.ts'

/** For tests of what is told to whom. */

export const SECRET = `whsec_${Buffer.from('this secret is for tests only!!!').toString('base64')}`

export const aReceiver = (receiver: Partial<Receiver>): Receiver => ({
  name: 'ops',
  url: 'https://ops.example/hook',
  target: { kind: 'webhook', format: 'standard', secrets: [parseSecret(SECRET) as Uint8Array] },
  allowLocal: true,
  stages: notificationStages,
  kinds: notificationKinds,
  agents: [],
  templates: Object.fromEntries(
    notificationStages.map((stage) => [
      stage,
      parseTemplate(usualTemplates[stage], placeholdersOf(stage)).template,
    ]),
  ) as Receiver['templates'],
  ...receiver,
})

export const anIncident = (incident: Partial<IncidentView>): IncidentView =>
  incidentViewSchema.parse({
    id: '11111111-1111-4111-8111-111111111111',
    agent_id: 'orders-db',
    agent_name: 'orders-db',
    signal_type: 'termination-notice',
    trigger: 'notice',
    instance_id: 'i-0aaa',
    pool_id: 'm5.large@us-east-1a',
    detected_at: '2026-01-01T00:00:00.000Z',
    deadline_at: '2026-01-01T00:02:00.000Z',
    seen_via: [{ via: 'imds', after_ms: 0 }],
    replica_id: null,
    new_instance_id: null,
    new_pool_id: null,
    response_action: 'waiting',
    outcome: 'running',
    outcome_reason: '',
    success: null,
    failover_completed: false,
    failover_time_ms: null,
    no_primary_ms: null,
    no_primary_from_t_ms: null,
    old_epoch: 1,
    new_epoch: null,
    interruption_probability: null,
    loss: null,
    closed_at: null,
    steps: [
      {
        ...{ seq: 1, step: 'notice-received', t_ms: 0, duration_ms: null, ok: true },
        ...{ reported_by: 'coordinator', clock: 'coordinator', at: '2026-01-01T00:00:00.000Z' },
        ...{ uncertainty_ms: 0, detail: '' },
      },
    ],
    ...incident,
  })
