import type { IncidentView } from '@understudy/shared/protocol/incidents'

/** Something that moved an agent, or tried to; a recommendation and a notice for a standby move nothing. */
const isMove = (incident: IncidentView): boolean =>
  incident.trigger !== 'rebalance' && incident.outcome !== 'no-action'

/** What the recorder of the fleet shows: the latest move, before all others one that still runs. */
export function latestMoves(incidents: Iterable<IncidentView>): {
  readonly shown: IncidentView | undefined
  readonly alsoRunning: readonly IncidentView[]
} {
  const moves = [...incidents].filter(isMove).sort(byTime)
  const running = moves.filter(({ outcome }) => outcome === 'running')
  const shown = running[0] ?? moves[0]
  return { shown, alsoRunning: running.filter((incident) => incident !== shown) }
}

/** The latest first. */
export const byTime = (a: IncidentView, b: IncidentView): number =>
  Date.parse(b.detected_at) - Date.parse(a.detected_at) || (a.id < b.id ? 1 : -1)
