import type { AgentState, AgentView } from '@understudy/shared/protocol/agents'
import { formatNumberOf } from '../../ui/format.ts'
import { readyReplicas } from './replica-mark.ts'

/** The most urgent first: what is broken, what nobody knows, what is about to end, what is being dealt with. */
const urgency: readonly AgentState[] = [
  'failed',
  'offline',
  'draining',
  'moving',
  'at-risk',
  'waiting',
  'healthy',
]

const rankOf = (agent: AgentView): number => {
  const rank = urgency.indexOf(agent.state) * 4
  if (agent.state !== 'healthy') return rank
  return rank + (agent.degraded.length > 0 ? 0 : readyReplicas(agent).length === 0 ? 1 : 2)
}

/**
 * By urgency, then by name; two agents of one name stay in the order of their ids.
 * @param before the order of a moment ago: what is nearly in order is put in order by few comparisons
 */
export function worstFirst(
  agents: ReadonlyMap<string, AgentView>,
  before: readonly AgentView[] = [],
): readonly AgentView[] {
  const known = new Set<string>()
  const start: AgentView[] = []
  for (const { id } of before) {
    const agent = agents.get(id)
    if (!agent) continue
    known.add(id)
    start.push(agent)
  }
  for (const agent of agents.values()) if (!known.has(agent.id)) start.push(agent)
  return start
    .map((agent) => ({ agent, rank: rankOf(agent) }))
    .sort(
      (a, b) =>
        a.rank - b.rank || byName.compare(a.agent.name, b.agent.name) || (a.agent.id < b.agent.id ? -1 : 1),
    )
    .map(({ agent }) => agent)
}

const byName = new Intl.Collator('en', { numeric: true })

/** The fleet in two sentences, the worst problem first. `sorted` is worst first. */
export function fleetSentence(sorted: readonly AgentView[]): { counts: string; worst: string } {
  const ready = sorted.reduce((sum, agent) => sum + readyReplicas(agent).length, 0)
  const counts = `${formatNumberOf(sorted.length, 'agent')} · ${formatNumberOf(ready, 'replica')} ready`
  const troubled = sorted.filter((agent) => agent.state !== 'healthy' || agent.degraded.length > 0)
  const [first, ...others] = troubled
  if (first) {
    const more =
      others.length === 0
        ? ''
        : ` ${formatNumberOf(others.length, 'more agent needs', 'more agents need')} a look.`
    return { counts, worst: `${first.name}: ${first.reason}.${more}` }
  }
  const bare = sorted.filter((agent) => readyReplicas(agent).length === 0)
  if (bare.length === 0) return { counts, worst: 'Every agent is healthy and has a replica that is ready.' }
  const names = bare.slice(0, 3).map(({ name }) => name)
  const rest = bare.length > 3 ? ` and ${bare.length - 3} more` : ''
  return {
    counts,
    worst: `Every agent is healthy. Without a ready replica: ${names.join(', ')}${rest}.`,
  }
}
