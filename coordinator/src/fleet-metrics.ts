import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { Failover } from './failover/failover.ts'
import type { Metrics, MetricsSources } from './http/metrics.ts'
import type { Links, Topics, VoterSockets } from './live/live.ts'
import { COORDINATOR_VERSION } from './version.ts'

/** Of the fleet as it is when it is asked. */
export function metricsSources(
  failover: Failover,
  links: Links,
  voters: VoterSockets,
  topics: Topics,
): MetricsSources {
  return {
    version: COORDINATOR_VERSION,
    agents: async () => {
      const counts: Record<string, number> = {}
      for (const { state } of await failover.agents()) counts[state] = (counts[state] ?? 0) + 1
      return counts
    },
    replicas: async () => {
      const counts = new Map<string, { agent: string; state: string; count: number }>()
      for (const agent of await failover.agents())
        for (const { status } of agent.replicas) {
          const key = `${agent.id}/${status}`
          const known = counts.get(key) ?? { agent: agent.id, state: status, count: 0 }
          counts.set(key, { ...known, count: known.count + 1 })
        }
      return [...counts.values()]
    },
    lags: async () =>
      (await failover.agents()).flatMap(({ id, lag_ms, lag_bytes }) =>
        lag_ms === null ? [] : [{ agent: id, seconds: lag_ms / 1000, bytes: lag_bytes ?? 0 }],
      ),
    linkCount: () => links.size,
    voterCount: () => voters.size,
    pageCount: () => topics.subscribers,
  }
}

const noTimes = { detectToPromotedSeconds: null, noPrimarySeconds: null, noticeLeftSeconds: null }

/** Counts every incident once, when it has ended. */
export function createIncidentCounter(metrics: Metrics): (incident: IncidentView) => void {
  const counted = new Set<string>()
  const inSeconds = (value: number | null) => (value === null ? null : value / 1000)
  return (incident) => {
    const { outcome, trigger, closed_at: closed, deadline_at: deadline } = incident
    if (closed === null || outcome === 'no-action' || counted.has(incident.id)) return
    counted.add(incident.id)
    // A rehearsal is counted, and its times are in its own report.
    if (trigger === 'drill') return metrics.failover({ trigger, outcome, ...noTimes })
    metrics.failover({
      trigger,
      outcome,
      detectToPromotedSeconds: inSeconds(incident.failover_time_ms),
      noPrimarySeconds: inSeconds(incident.no_primary_ms),
      noticeLeftSeconds:
        deadline === null ? null : Math.max(0, Date.parse(deadline) - Date.parse(closed)) / 1000,
    })
    for (const { step, duration_ms: took } of incident.steps)
      if (took !== null) metrics.step(step, took / 1000)
    if (trigger !== 'notice' || !incident.pool_id) return
    const [instanceType = '', zone = ''] = incident.pool_id.split('@')
    metrics.notice(zone, instanceType)
  }
}
