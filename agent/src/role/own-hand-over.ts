import type { InstanceId } from '@understudy/shared/core/ids'
import { between, type Millis, type Mono, millis, seconds } from '@understudy/shared/core/time'
import { isQuiet } from '@understudy/shared/failover/member-steps'
import type { Member } from '@understudy/shared/failover/member-types'
import { waitsForOrder } from '@understudy/shared/failover/notice-waits'

const AGAIN_AFTER = seconds(2)
/** What is left of the time for starting on the other side. */
const RESERVE = seconds(1)
const MAX_BUDGET = seconds(60)
/** Less than this is not enough for anything. */
const MIN_BUDGET = millis(500)

/** What a primary sees that may have to give its epoch away without being told to. */
export interface Surroundings {
  readonly now: Mono
  readonly member: Member
  /** By the newest certificate. */
  readonly successor: InstanceId | null
  /** The voters that are connected. */
  readonly peers: readonly InstanceId[]
  /** The replicas that have the state and follow closely. */
  readonly attached: readonly InstanceId[]
  readonly linked: boolean
}

/** Why it has to: this instance ends at `by`. */
export interface Reason {
  readonly since: Mono
  readonly by: Mono
  /** Nobody else is waited for. */
  readonly atOnce: boolean
  readonly triedAt: Mono | undefined
}

export type OwnDecision =
  | { readonly kind: 'hand-over'; readonly target: InstanceId; readonly budget: Millis }
  | { readonly kind: 'wait'; readonly why: string }

/**
 * Whether a primary hands over by itself: before an interruption, when no order comes from the coordinator, or when
 * its service is stopped. Pure.
 */
export function decideOwnHandOver(
  { now, member, successor, peers, attached, linked }: Surroundings,
  { since, by, atOnce, triedAt }: Reason,
): OwnDecision {
  const wait = (why: string): OwnDecision => ({ kind: 'wait', why })
  if (member.role.kind !== 'primary') return wait(`it is ${member.role.kind}`)
  if (member.lease.kind === 'none') return wait('it has no lease')
  if (member.workload !== 'running' && !isQuiet(member)) return wait(`its workload is ${member.workload}`)
  if (successor === null) return wait('no successor is designated')
  if (!peers.includes(successor)) return wait(`the voter of ${successor} is not connected`)
  if (!attached.includes(successor)) return wait(`${successor} does not have the state yet`)
  if (!atOnce && linked && between(since, now) < waitsForOrder(between(since, by)))
    return wait('the coordinator may order it')
  if (triedAt !== undefined && between(triedAt, now) < AGAIN_AFTER) return wait('it was tried just now')
  const budget = millis(Math.floor(Math.min(between(now, by) - RESERVE, MAX_BUDGET)))
  if (budget < MIN_BUDGET) return wait('there is no time left')
  return { kind: 'hand-over', target: successor, budget }
}
