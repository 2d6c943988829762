import { formatMillis, millis } from '@understudy/shared/core/time'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import { hasReadyReplica, isServing, primaryOf, type Rig, untilAgent } from './rig.ts'

export interface FailoverResult {
  readonly trigger: 'notice' | 'kill' | 'planned' | 'notice-no-replica'
  readonly agent_id: string
  readonly outcome: 'promoted' | 'relaunched' | 'failed'
  readonly detect_to_promoted_ms: number | null
  readonly no_primary_ms: number | null
  /** What the client saw: the longest time between two acknowledgements. */
  readonly client_gap_ms: number
  readonly writes_acked: number
  readonly writes_lost: number
  /** What the system says may be missing. */
  readonly loss_reported: string
  /** The judge's count agrees with that. */
  readonly as_reported: boolean
}

export interface StoryResult {
  readonly schema: 'understudy.demo/v1'
  readonly seed: number
  readonly failovers: readonly FailoverResult[]
  readonly overlaps: readonly string[]
  readonly ok: boolean
}

/** A notice shorter than any boot, so that nothing can be saved. */
const TOO_SHORT = millis(1500)
const LEAD = millis(8000)

/**
 * The four ways in which a primary changes, one after the other, on agents of their own: a notice with a warm replica,
 * a loss without a word, a notice without any replica, a move by hand.
 */
export async function runCiStory(rig: Rig, seed: number, say: (text: string) => void): Promise<StoryResult> {
  const failovers = [
    await play(rig, 'notice', 'agent-demo-2', say, async (instance) => rig.cloud.interrupt(instance, LEAD)),
    await play(rig, 'kill', 'agent-demo-3', say, async (instance) =>
      rig.cloud.interrupt(instance, undefined),
    ),
    await play(rig, 'notice-no-replica', 'agent-demo-4', say, async (instance) =>
      rig.cloud.interrupt(instance, TOO_SHORT),
    ),
    await play(rig, 'planned', 'agent-demo-1', say, async () => {
      const agent = await untilAgent(rig.operator, 'agent-demo-1', 'a ready replica', hasReadyReplica)
      const ready = agent.replicas.find(({ status }) => status === 'ready')
      if (ready) await rig.operator.promote('agent-demo-1', ready.id)
    }),
  ]
  const overlaps = await rig.judge.overlaps(rig.witnessFile)
  const ok = overlaps.length === 0 && failovers.every(isAsPromised)
  return { schema: 'understudy.demo/v1', seed, failovers, overlaps, ok }
}

/** One change of primary, brought about by `strike`, and judged when it is over. */
async function play(
  rig: Rig,
  trigger: FailoverResult['trigger'],
  id: string,
  say: (text: string) => void,
  strike: Strike,
): Promise<FailoverResult> {
  return (await playOut(rig, trigger, id, say, strike)).result
}

type Strike = (instance: ReturnType<typeof primaryOf>) => Promise<void>

export interface PlayedOut {
  readonly result: FailoverResult
  readonly incident: IncidentView
  /** UTC milliseconds. */
  readonly struckAt: number
  /** When each write that is missing had been acknowledged, UTC milliseconds. */
  readonly missing: readonly number[]
}

/** The same with all that is known of it. */
export async function playOut(
  rig: Rig,
  trigger: FailoverResult['trigger'],
  id: string,
  say: (text: string) => void,
  strike: Strike,
): Promise<PlayedOut> {
  const before = await rig.operator.agent(id)
  const known = new Set((await rig.operator.incidents(id)).map((incident) => incident.id))
  rig.judge.mark(id)
  const struckAt = Date.now()
  await strike(primaryOf(before))
  const incident = await untilClosed(rig, id, known)
  await untilAgent(rig.operator, id, 'serving again', isServing)
  const { result, missing } = await judge(rig, trigger, id, incident)
  say(sentence(before.name, incident, result))
  return { result, incident, struckAt, missing }
}

export async function untilClosed(rig: Rig, id: string, known: ReadonlySet<string>): Promise<IncidentView> {
  const deadline = performance.now() + 60_000
  for (;;) {
    const incidents = await rig.operator.incidents(id)
    const ended = incidents.find((incident) => !known.has(incident.id) && incident.closed_at !== null)
    if (ended) return ended
    if (performance.now() > deadline) throw new Error(`nothing came of the move of ${id} within 60 s`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** What the client says of a move that is over, beside what its record says. */
export async function judge(
  rig: Rig,
  trigger: FailoverResult['trigger'],
  id: string,
  incident: IncidentView,
): Promise<Pick<PlayedOut, 'result' | 'missing'>> {
  const { verdict, gapMillis } = await rig.judge.verify(id)
  const { loss } = incident
  const lost = verdict.missing.length + verdict.wrong
  const through = loss?.state_through ? Date.parse(loss.state_through) : undefined
  // Every write that is missing was acknowledged after the moment up to which the system says that it has everything.
  const explained =
    lost === 0 ||
    loss?.kind === 'everything' ||
    (loss?.kind === 'bounded' && through !== undefined && verdict.missing.every((at) => at >= through))
  const result: FailoverResult = {
    trigger,
    agent_id: id,
    outcome:
      incident.outcome === 'promoted' || incident.outcome === 'relaunched' ? incident.outcome : 'failed',
    detect_to_promoted_ms: incident.failover_time_ms,
    no_primary_ms: incident.no_primary_ms,
    client_gap_ms: gapMillis,
    writes_acked: verdict.acked,
    writes_lost: lost,
    loss_reported: loss?.sentence ?? 'not reported',
    as_reported: explained && verdict.wrong === 0,
  }
  return { result, missing: verdict.missing }
}

/** Nothing may be lost with a warm replica and a warning; a loss without one must be what was reported. */
function isAsPromised(result: FailoverResult): boolean {
  switch (result.trigger) {
    case 'notice':
    case 'planned':
      return result.outcome === 'promoted' && result.writes_lost === 0
    case 'kill':
      return result.outcome === 'promoted' && result.as_reported
    case 'notice-no-replica':
      return result.outcome === 'relaunched' && result.as_reported
  }
}

function sentence(name: string, incident: IncidentView, result: FailoverResult): string {
  const took =
    result.detect_to_promoted_ms === null ? '' : ` in ${formatMillis(result.detect_to_promoted_ms)}`
  const gap = result.no_primary_ms === null ? '' : `, no primary for ${formatMillis(result.no_primary_ms)}`
  const where = incident.new_pool_id ?? 'nowhere'
  return `${name}: ${result.outcome}${took} to ${where}${gap}, ${result.writes_lost} of ${result.writes_acked} writes lost (${result.trigger})`
}
