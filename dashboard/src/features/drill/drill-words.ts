import type { AgentView, ReplicaView } from '@understudy/shared/protocol/agents'
import type { DrillFigures, DrillMove, DrillView } from '@understudy/shared/protocol/drills'
import { asSentence, formatBytes, formatNumberOf, formatTook } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'
import { isReady, readyReplicas, whyNotPromote } from '../fleet/replica-mark.ts'
import { lossSentence } from '../recorder/loss.ts'

/** Who takes over unless somebody says otherwise: the successor, else who is least behind. */
export const drillTarget = (agent: AgentView): ReplicaView | undefined =>
  agent.replicas.find(
    (replica) =>
      isReady(replica) && replica.instance_id !== null && replica.instance_id === agent.successor_id,
  ) ?? readyReplicas(agent)[0]

/** Why no drill can begin; undefined when one can. */
export function whyNotDrill(agent: AgentView, drills: readonly DrillView[] | undefined): string | undefined {
  if (drills?.some(isOpen)) return 'A drill is under way.'
  if (agent.state !== 'healthy') return `Only an agent that is well is drilled: ${agent.reason}.`
  return whyNotPromote(agent)
}

export const isOpen = ({ ended_at: ended }: Pick<DrillView, 'ended_at'>): boolean => ended === null

export function drillMark({ status }: Pick<DrillView, 'status'>): Mark {
  switch (status) {
    case 'moving':
      return { tone: 'draining', shape: 'hourglass', word: 'Moving' }
    case 'moving-back':
      return { tone: 'draining', shape: 'hourglass', word: 'Moving back' }
    case 'done':
      return { tone: 'healthy', shape: 'circle', word: 'It works' }
    case 'failed':
      return { tone: 'failed', shape: 'cross', word: 'It does not work' }
  }
}

/** `Out: i-0aaa to i-0bbb, up after 412 ms, nobody served for 180 ms.` */
export function moveSentence(move: DrillMove): string {
  const { direction, from_instance_id: from, to_instance_id: to, outcome } = move
  const way = `${direction === 'out' ? 'Out' : 'Back'}: ${from} to ${to}`
  if (outcome === 'running') return `${way}, under way.`
  if (outcome !== 'promoted') return asSentence(`${way}, not moved: ${move.outcome_reason || outcome}`)
  const up = move.detect_to_promoted_ms === null ? '' : `, up after ${formatTook(move.detect_to_promoted_ms)}`
  const gap =
    move.no_primary_ms === null
      ? ', for how long nobody served is not known'
      : `, nobody served for ${formatTook(move.no_primary_ms)}`
  return `${way}${up}${gap}.`
}

/** What is known of a move beside that: what the replica lacked, what is lost, what its health said. */
export function moveDetails({ bytes_behind: behind, loss, health }: DrillMove): readonly string[] {
  return [
    ...(behind === null ? [] : [`${formatBytes(behind)} behind when it began.`]),
    ...(loss === null ? [] : [lossSentence(loss)]),
    ...(health === null ? [] : [healthSentence(health)]),
  ]
}

function healthSentence({ ok, said, took_ms: took }: NonNullable<DrillMove['health']>): string {
  const verdict = ok ? 'Healthy' : 'Not healthy'
  const after = took === null ? '' : ` after ${formatTook(took)}`
  return said === '' || said === 'healthy' ? `${verdict}${after}.` : asSentence(`${verdict}${after}: ${said}`)
}

/** `3 drills, 0 failed; nobody served for 190 ms (median), 240 ms (worst)`, without a full stop. */
export function figuresSentence(
  { count, failed, no_primary_ms: gap }: DrillFigures,
  one: 'drill' | 'incident',
): string {
  if (count === 0) return `no ${one}s`
  const times = gap
    ? `; nobody served for ${formatTook(gap.median)} (median), ${formatTook(gap.worst)} (worst)`
    : ''
  return `${formatNumberOf(count, one)}, ${failed} failed${times}`
}
