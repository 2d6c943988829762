import type { OpenIncident, Trigger } from '@understudy/shared/failover/group'
import type { SignalType } from '@understudy/shared/protocol/incidents'

/** How what began an incident is called in its record. */

export const signalOf = (trigger: Trigger): SignalType => {
  if (trigger === 'notice') return 'termination-notice'
  return trigger === 'silence' ? 'instance-lost' : 'operator-request'
}

export const viaOf = ({ trigger }: OpenIncident): string => {
  if (trigger === 'notice') return 'notice'
  return trigger === 'silence' ? 'missed-heartbeats' : 'operator'
}

export const stepNameOf = ({ trigger }: OpenIncident): string => {
  if (trigger === 'notice') return 'notice-received'
  return trigger === 'silence' ? 'primary-lost' : 'move-requested'
}
