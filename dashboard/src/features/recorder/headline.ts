import type { IncidentView } from '@understudy/shared/protocol/incidents'
import { formatTook, zoneOf } from '../../ui/format.ts'

/** A piece of a sentence; figures are set as figures. */
export interface HeadlinePart {
  readonly text: string
  readonly figure: boolean
}

/** The result of an incident as one sentence. */
export function headlineOf(incident: IncidentView): readonly HeadlinePart[] {
  const { agent_name: agent, outcome, outcome_reason: why } = incident
  const { new_pool_id: pool, new_instance_id: instance } = incident
  const place = pool === null ? (instance ?? 'a new instance') : zoneOf(pool)
  switch (outcome) {
    case 'promoted':
      return [words(`${agent} moved to ${place}`), ...took(incident)]
    case 'relaunched':
      return [words(`${agent} started anew in ${place}`), ...took(incident), words(', with an empty state')]
    case 'failed':
      return [words(`${agent} did not move${why === '' ? '' : `: ${why}`}`)]
    case 'no-action':
      return [words(`${agent}: ${why === '' ? 'nothing had to be done' : why}`)]
    case 'running':
      return [words(`${agent} is moving`)]
  }
}

const words = (text: string): HeadlinePart => ({ text, figure: false })

const took = ({ failover_time_ms: millis }: IncidentView): HeadlinePart[] =>
  millis === null ? [] : [words(' in '), { text: formatTook(millis), figure: true }]

export const headlineText = (incident: IncidentView): string =>
  headlineOf(incident)
    .map(({ text }) => text)
    .join('')

const signals: Readonly<Record<IncidentView['signal_type'], string>> = {
  'rebalance-recommendation': 'Rebalance recommendation',
  'termination-notice': 'Interruption notice',
  'instance-lost': 'Loss without notice',
  'operator-request': 'Move by hand',
  'automatic-move': 'Automatic move',
}

export const signalName = ({ trigger, signal_type: signal }: IncidentView): string =>
  trigger === 'drill' ? 'Drill' : signals[signal]

const paths: Readonly<Record<string, string>> = {
  imds: 'instance metadata',
  api: 'the API',
  'missed-heartbeats': 'missed heartbeats',
  'auto-scaling': 'Auto Scaling',
  eventbridge: 'EventBridge',
  notice: 'the instance',
  withdrawn: 'its withdrawal',
}

/** `, seen via instance metadata, and the API 12 ms later`; nothing where the signal says it already. */
export function seenVia({ signal_type: signal, seen_via: seen }: IncidentView): string {
  const [first, ...others] = seen.map(({ via, after_ms }) => ({ name: paths[via] ?? via, after_ms }))
  if (!first || signal === 'operator-request' || signal === 'automatic-move') return ''
  return [
    `, seen via ${first.name}`,
    ...others.map(({ name, after_ms }) => `and ${name} ${formatTook(after_ms)} later`),
  ].join(', ')
}
