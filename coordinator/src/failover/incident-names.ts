import type { OpenIncident, Trigger } from '@understudy/shared/failover/group'
import type { SignalType } from '@understudy/shared/protocol/incidents'

/** How what began an incident is called in its record. */

/** Who has asked for a planned move: an operator, the decision pipeline, or one of the policies. */
export const moveCauses = ['operator', 'decision', 'rebalance', 'return-to-spot'] as const
export type MoveCause = (typeof moveCauses)[number]

export const causeOf = (via: string | undefined): MoveCause =>
  moveCauses.find((cause) => cause === via) ?? 'operator'

export const signalOf = (trigger: Trigger, cause: MoveCause): SignalType => {
  if (trigger === 'notice') return 'termination-notice'
  if (trigger === 'silence') return 'instance-lost'
  return cause === 'operator' ? 'operator-request' : 'automatic-move'
}

export const viaOf = ({ trigger }: OpenIncident): string => {
  if (trigger === 'notice') return 'notice'
  return trigger === 'silence' ? 'missed-heartbeats' : 'operator'
}

export const stepNameOf = ({ trigger }: OpenIncident): string => {
  if (trigger === 'notice') return 'notice-received'
  return trigger === 'silence' ? 'primary-lost' : 'move-requested'
}
