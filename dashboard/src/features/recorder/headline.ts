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
}

export const signalName = (incident: IncidentView): string => signals[incident.signal_type]

const paths: Readonly<Record<string, string>> = {
  imds: 'instance metadata',
  api: 'the API',
  operator: 'an operator',
  'missed-heartbeats': 'missed heartbeats',
  'auto-scaling': 'Auto Scaling',
  eventbridge: 'EventBridge',
  notice: 'the instance',
  withdrawn: 'its withdrawal',
}

/** `instance metadata, and the API 12 ms later` */
export function seenVia({ seen_via: seen }: IncidentView): string {
  const [first, ...others] = seen.map(({ via, after_ms }) => ({ name: paths[via] ?? via, after_ms }))
  if (!first) return ''
  return [
    first.name,
    ...others.map(({ name, after_ms }) => `and ${name} ${formatTook(after_ms)} later`),
  ].join(', ')
}

const TIMESTAMP = /\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d(?:\.\d+)?)Z/g

/** What may be missing. The coordinator's own sentence begins with its kind; this makes a whole sentence of it. */
export function lossSentence({ loss }: IncidentView): string {
  if (!loss) return ''
  const rest = loss.sentence.replace(/^(nothing|everything|unknown): /, '').replaceAll(TIMESTAMP, '$1 UTC')
  switch (loss.kind) {
    case 'none':
      return `Nothing lost: ${rest}.`
    case 'bounded':
      return `Lost: ${rest}.`
    case 'everything':
      return `Everything lost: ${rest}.`
    case 'unknown':
      return `Loss unknown: ${rest}.`
  }
}

/** The same in two words, for a table. */
export function lossWord({ loss }: IncidentView): string {
  if (!loss) return ''
  if (loss.kind === 'none') return 'nothing'
  if (loss.kind === 'bounded')
    return loss.at_most_ms === null ? 'some' : `at most ${formatTook(loss.at_most_ms)}`
  return loss.kind === 'everything' ? 'everything' : 'unknown'
}
