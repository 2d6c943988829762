import type { AgentView, ReplicaView } from '@understudy/shared/protocol/agents'
import { formatNumberOf } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

export function replicaMark(replica: ReplicaView): Mark {
  if (replica.notice) return { tone: 'draining', shape: 'hourglass', word: 'Draining' }
  switch (replica.status) {
    case 'launching':
      return { tone: 'standby', shape: 'half', word: 'Launching' }
    case 'syncing':
      return { tone: 'standby', shape: 'ring', word: `Syncing ${Math.floor(replica.sync_percent)}%` }
    case 'ready':
      return { tone: 'standby', shape: 'diamond', word: 'Ready' }
    case 'promoted':
      return { tone: 'healthy', shape: 'circle', word: 'Promoted' }
    case 'failed':
      return { tone: 'failed', shape: 'cross', word: 'Failed' }
    case 'terminated':
      return { tone: 'unknown', shape: 'dash', word: 'Terminated' }
  }
}

export const isReady = (replica: ReplicaView): boolean =>
  replica.status === 'ready' && replica.is_active && !replica.notice

/** Of an agent the ones that could take over, the one that lags least first. */
export const readyReplicas = (agent: AgentView): readonly ReplicaView[] =>
  agent.replicas.filter(isReady).sort((a, b) => lag(a) - lag(b))

const lag = (replica: ReplicaView): number => replica.lag_ms ?? Number.POSITIVE_INFINITY

/** An instance is what an operator knows; before there is one, the beginning of the id has to do. */
export const replicaName = (replica: ReplicaView): string =>
  replica.instance_id ?? `replica ${replica.id.slice(0, 8)}`

/** `ready 1/2`, `Syncing 64%`, `Launching`. */
export function replicasInShort(agent: AgentView): string {
  const active = agent.replicas.filter((replica) => replica.is_active)
  const ready = active.filter(isReady).length
  if (active.length === 0) return 'none'
  if (ready > 0) return `ready ${ready}/${active.length}`
  const [furthest] = [...active].sort((a, b) => b.sync_percent - a.sync_percent)
  return furthest ? replicaMark(furthest).word : 'none'
}

/** Why nothing can be promoted; undefined when something can. */
export function whyNotPromote(agent: AgentView): string | undefined {
  if (readyReplicas(agent).length > 0) return undefined
  const active = agent.replicas.filter((replica) => replica.is_active)
  if (active.length === 0) return 'No replica yet: create one first.'
  return `No replica is ready: ${formatNumberOf(active.length, 'is', 'are')} on the way.`
}
