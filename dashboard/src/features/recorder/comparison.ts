import type { IncidentStep, IncidentView } from '@understudy/shared/protocol/incidents'
import type { Calls } from '../../api/calls.ts'
import type { Failure } from '../../api/http.ts'
import { wordsOf } from './step-words.ts'

/** No more than this many earlier moves count, the latest of them. */
const MOST = 20
/** After so many pages of incidents nobody looks further back. */
const PAGES = 6

/** Lengths of time in milliseconds; the median is of `count` earlier moves that have this one at all. */
export interface Compared {
  readonly name: string
  readonly own: number | null
  readonly median: number | null
  readonly count: number
}

/** Earlier moves of the same kind that have succeeded, the latest first: of one agent, or of all. */
export async function earlierLike(
  calls: Pick<Calls, 'incidents'>,
  incident: IncidentView,
  agentId: string | undefined,
): Promise<readonly IncidentView[] | Failure> {
  const found: IncidentView[] = []
  let cursor: string | undefined
  for (let page = 0; page < PAGES && found.length < MOST; page += 1) {
    const answer = await calls.incidents({ agentId, cursor })
    if (!answer.ok) return answer
    found.push(...answer.body.items.filter((each) => isEarlierLike(each, incident)))
    if (answer.body.next === null) break
    cursor = answer.body.next
  }
  return found.slice(0, MOST)
}

const isEarlierLike = (other: IncidentView, incident: IncidentView): boolean =>
  other.id !== incident.id &&
  other.outcome === 'promoted' &&
  other.trigger === incident.trigger &&
  Date.parse(other.detected_at) < Date.parse(incident.detected_at)

/** The whole move first, then its steps in their order; steps that nobody has measured are left out. */
export function compare(incident: IncidentView, earlier: readonly IncidentView[]): readonly Compared[] {
  const row = (name: string, of: (one: IncidentView) => number | null): Compared => {
    const others = earlier.map(of).filter((value) => value !== null)
    return { name, own: of(incident), median: medianOf(others), count: others.length }
  }
  const timed = new Set(
    incident.steps.filter(({ duration_ms: took }) => took !== null).map(({ step }) => step),
  )
  return [
    row('From the signal to the new primary', (one) => one.failover_time_ms),
    row('Nobody served', (one) => one.no_primary_ms),
    ...[...timed].map((step) => row(wordsOf(step).name, ({ steps }) => timeOf(steps, step))),
  ]
}

/** A step may have been done more than once. */
function timeOf(steps: readonly IncidentStep[], step: string): number | null {
  const times = steps.flatMap((each) =>
    each.step === step && each.duration_ms !== null ? [each.duration_ms] : [],
  )
  return times.length === 0 ? null : times.reduce((sum, time) => sum + time, 0)
}

/** Of an even number, the mean of the two in the middle. */
function medianOf(values: readonly number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const [low, high] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]]
  return low === undefined || high === undefined ? null : (low + high) / 2
}
