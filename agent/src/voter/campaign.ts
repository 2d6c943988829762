import type { InstanceId } from '@understudy/shared/core/ids'
import { type Mono, millis, seconds } from '@understudy/shared/core/time'
import { inOffice, type Voter } from '@understudy/shared/failover/voter'

/** So long the coordinator has the time to elect a restarted primary again. */
const PATIENCE = seconds(2)
const EVERY = millis(1000)

export interface CampaignFacts {
  readonly now: Mono
  /** Since when there is no connection to the coordinator; undefined while there is one. */
  readonly coordinatorLostAt: Mono | undefined
  readonly peers: ReadonlySet<InstanceId>
  /** The last campaign. */
  readonly triedAt: Mono | undefined
}

/**
 * Whether a primary that has lost its office by a restart asks its successor for another epoch: when the coordinator,
 * who would do it, is away. Pure.
 */
export function mayCampaign(
  voter: Voter,
  { now, coordinatorLostAt, peers, triedAt }: CampaignFacts,
): boolean {
  const proposal = voter.record.certificate?.proposal
  if (!proposal || proposal.primary !== voter.self || proposal.successor === null || inOffice(voter))
    return false
  if (coordinatorLostAt === undefined || now - coordinatorLostAt < PATIENCE) return false
  if (triedAt !== undefined && now - triedAt < EVERY) return false
  return peers.has(proposal.successor)
}
