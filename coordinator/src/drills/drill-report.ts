import { formatMillis } from '@understudy/shared/core/time'
import type { DrillFigures, DrillMove } from '@understudy/shared/protocol/drills'
import type { IncidentView } from '@understudy/shared/protocol/incidents'

/** What a drill has shown. Pure. */

/** What is compared of a move that has ended. */
export interface PastMove {
  readonly outcome: string
  readonly detected_at: number
  readonly failover_time_ms: number | null
  readonly no_primary_ms: number | null
}

export function moveOf(
  incident: IncidentView,
  facts: Pick<DrillMove, 'direction' | 'from_instance_id' | 'to_instance_id' | 'bytes_behind'>,
): DrillMove {
  // The last word counts: it is asked again and again until the workload is healthy, or the time is up.
  const asked = incident.steps.findLast(
    ({ step, reported_by: by }) => step === 'health-check' && by === facts.to_instance_id,
  )
  return {
    ...facts,
    incident_id: incident.id,
    outcome: incident.outcome,
    outcome_reason: incident.outcome_reason,
    detect_to_promoted_ms: incident.failover_time_ms,
    no_primary_ms: incident.no_primary_ms,
    loss: incident.loss,
    health: asked
      ? { ok: asked.ok, said: asked.detail || (asked.ok ? 'healthy' : ''), took_ms: asked.duration_ms }
      : null,
    steps: [...incident.steps],
  }
}

export function figuresOf(moves: readonly PastMove[]): DrillFigures {
  const succeeded = moves.filter(({ outcome }) => outcome === 'promoted')
  const last = moves.reduce((latest, { detected_at: at }) => Math.max(latest, at), -1)
  return {
    count: moves.length,
    failed: moves.filter(({ outcome }) => outcome === 'failed' || outcome === 'relaunched').length,
    last_at: last < 0 ? null : new Date(last).toISOString(),
    detect_to_promoted_ms: spreadOf(succeeded.map((move) => move.failover_time_ms)),
    no_primary_ms: spreadOf(succeeded.map((move) => move.no_primary_ms)),
  }
}

/** The median of an even number is the mean of the two in the middle. */
function spreadOf(values: readonly (number | null)[]): { median: number; worst: number } | null {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b)
  const worst = sorted.at(-1)
  if (worst === undefined) return null
  const middle = (sorted.length - 1) / 2
  const [low = worst, high = worst] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]]
  return { median: (low + high) / 2, worst }
}

/** The time without a primary against that of before. */
export function comparisonOf(
  move: Pick<DrillMove, 'no_primary_ms'> | undefined,
  before: { readonly drills: DrillFigures; readonly incidents: DrillFigures },
): string {
  const own = move?.no_primary_ms ?? null
  if (own === null) return 'there is no time without a primary to compare'
  const against = (name: string, { count, no_primary_ms: gap }: DrillFigures): string => {
    if (!gap) return `no ${name} before to compare with`
    const { median, worst } = gap
    const verdict =
      own > worst ? 'longer than each' : own > median ? 'longer than most' : 'no longer than most'
    return `${verdict} of the last ${count} ${name} (median ${formatMillis(median)}, worst ${formatMillis(worst)})`
  }
  return `nobody served for ${formatMillis(own)}: ${against('drills', before.drills)}, ${against('incidents', before.incidents)}`
}

/** AWS took the primary back in the middle: the same move went on as the answer to the notice. */
export const givenUpFor = ({
  instance_id: old,
  outcome,
  new_instance_id: next,
  outcome_reason: why,
}: Ended): string =>
  `AWS took ${old} back in the middle, and the drill was given up: ${
    outcome === 'promoted' ? `the move went on as a real one, and ${next} took over` : why || outcome
  }`
type Ended = Pick<IncidentView, 'instance_id' | 'outcome' | 'new_instance_id' | 'outcome_reason'>

/** A drill that cannot begin says why; the first that holds. */
export function refusalOf(agent: {
  readonly id: string
  readonly state: string
  readonly reason: string
  readonly replicas: readonly { readonly id: string; readonly status: string }[]
}): { readonly code: 'busy' | 'not_ready'; readonly why: string } | undefined {
  const { id, state, reason, replicas } = agent
  if (state !== 'healthy') {
    const isPassing = state === 'at-risk' || state === 'draining' || state === 'moving'
    return { code: isPassing ? 'busy' : 'not_ready', why: `${id} is ${state}: ${reason}` }
  }
  if (!replicas.some(({ status }) => status === 'ready')) {
    const known = replicas.map((replica) => `${replica.id} is ${replica.status}`).join(', ')
    return { code: 'not_ready', why: `no replica of ${id} is ready: ${known || 'it has none'}` }
  }
  return undefined
}
