import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { LivePicture } from '../../api/live-picture.ts'
import { stateWord } from '../fleet/agent-mark.ts'
import { headlineText } from '../recorder/headline.ts'

export interface Announcements {
  /** Read out when there is time. */
  readonly polite: readonly string[]
  /** Read out at once: a failover has begun, or has failed. */
  readonly urgent: readonly string[]
}

/** What a screen reader is told of the change from one picture to the next. Figures and prices never are. */
export function announcementsOf(before: LivePicture | undefined, after: LivePicture): Announcements {
  if (!before) return { polite: [], urgent: [] }
  const polite: string[] = []
  const urgent: string[] = []
  for (const [id, incident] of after.incidents) {
    const known = before.incidents.get(id)
    if (known?.outcome === incident.outcome || incident.trigger === 'rebalance') continue
    if (isUrgent(incident)) urgent.push(headlineText(incident))
    else polite.push(headlineText(incident))
  }
  for (const [id, agent] of after.agents) {
    const known = before.agents.get(id)
    if (known && known.state !== agent.state)
      polite.push(`${agent.name}: ${stateWord(agent.state)}, ${agent.reason}`)
  }
  return { polite, urgent }
}

const isUrgent = ({ outcome }: IncidentView): boolean => outcome === 'running' || outcome === 'failed'
