import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { Mark } from '../../ui/tone.ts'

const marks: Readonly<Record<IncidentView['outcome'], Mark>> = {
  running: { tone: 'draining', shape: 'hourglass', word: 'Running' },
  promoted: { tone: 'healthy', shape: 'circle', word: 'Moved' },
  relaunched: { tone: 'at-risk', shape: 'triangle', word: 'Started empty' },
  failed: { tone: 'failed', shape: 'cross', word: 'Failed' },
  'no-action': { tone: 'unknown', shape: 'dash', word: 'No action' },
}

export const outcomeMark = ({ outcome }: IncidentView): Mark => marks[outcome]
