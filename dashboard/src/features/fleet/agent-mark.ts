import type { Instant } from '@understudy/shared/core/time'
import type { AgentState, AgentView } from '@understudy/shared/protocol/agents'
import { formatAge } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

const marks: Readonly<Record<AgentState, Mark>> = {
  healthy: { tone: 'healthy', shape: 'circle', word: 'Healthy' },
  'at-risk': { tone: 'at-risk', shape: 'triangle', word: 'At risk' },
  draining: { tone: 'draining', shape: 'hourglass', word: 'Draining' },
  moving: { tone: 'standby', shape: 'half', word: 'Moving' },
  failed: { tone: 'failed', shape: 'cross', word: 'Failed' },
  offline: { tone: 'unknown', shape: 'dash', word: 'No data' },
  waiting: { tone: 'unknown', shape: 'ring', word: 'Waiting' },
}

/** `now` is the coordinator's time: it says for how long nothing was heard. */
export function agentMark(agent: AgentView, now: Instant): Mark {
  const mark = marks[agent.state]
  if (agent.state !== 'offline' || agent.last_heartbeat_at === null) return mark
  return { ...mark, word: `No data ${formatAge(now - Date.parse(agent.last_heartbeat_at))}` }
}

/** For announcements, where a figure would be old before it was read out. */
export const stateWord = (state: AgentState): string => marks[state].word
