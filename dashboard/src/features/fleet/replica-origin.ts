import type { ReplicaType, ReplicaView } from '@understudy/shared/protocol/agents'

/** What the coordinator says of an instance that was demoted and follows the new primary now. */
const DEMOTED = 'former primary'

const reasons: Readonly<Record<ReplicaType, string>> = {
  manual: '',
  'automatic-rebalance': ' after a recommendation',
  'automatic-termination': ' after an interruption',
}

/** Where a replica comes from: who has made it, and what for. */
export const originOf = ({ type, created_by: by }: ReplicaView): string =>
  by === DEMOTED ? 'Was the primary before' : `Created by ${by}${reasons[type]}`
