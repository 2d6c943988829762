import type { IncidentStep, IncidentView } from '@understudy/shared/protocol/incidents'
import type { NotificationStage } from '@understudy/shared/protocol/notifications'

/** A stage that an incident has reached, and the step that says so, where one does. */
export interface ReachedStage {
  readonly stage: Exclude<NotificationStage, 'alert'>
  readonly step?: IncidentStep
}

/** Steps that say, though nothing went wrong in them, that it goes worse than planned. */
const TROUBLE: ReadonlySet<string> = new Set([
  'no-replica-ready',
  'no-copy-at-hand',
  'copy-of-unknown-age',
  'state-lost',
])

/** What a step means for somebody who is to be told of it. */
const isTrouble = ({ step, ok }: Pick<IncidentStep, 'step' | 'ok'>): boolean => !ok || TROUBLE.has(step)

/**
 * The stages that an incident has reached, in order. Each is told once; trouble only while nobody can say how it ends,
 * since the end says it too.
 */
export function stagesOf(incident: IncidentView): readonly ReachedStage[] {
  const receipt: ReachedStage = { stage: 'receipt' }
  if (incident.closed_at !== null) return [receipt, { stage: endOf(incident) }]
  const step = incident.steps.find(isTrouble)
  return step ? [receipt, { stage: 'trouble', step }] : [receipt]
}

/** An agent that began anew has lost what it had: that is no success. */
const endOf = ({ outcome }: IncidentView): 'outcome' | 'failure' =>
  outcome === 'promoted' || outcome === 'no-action' ? 'outcome' : 'failure'
