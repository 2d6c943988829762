import type { InstanceId } from '../core/ids.ts'
import { between, seconds } from '../core/time.ts'
import { designate } from './group-election.ts'
import { handOverTargets, quiet } from './group-orders.ts'
import type { Group, GroupContext, GroupStep } from './group-types.ts'

/** A successor that could not take over for this long gives way to a replica that could. */
const UNREADY_FOR = seconds(2)
/** One that is silent for this long has no vote any more, so that the primary does not depend on the coordinator alone. */
const SILENT_FOR = seconds(10)

/** We have voted for somebody who did not take over, and may promise nothing to the primary since. */
export const isUnserved = ({ voted, epoch, primary }: Group): boolean =>
  voted.epoch > epoch && voted.primary !== primary

/** Who should be the successor; a change of it is an epoch of its own. */
export function considerSuccessor(group: Group, context: GroupContext): GroupStep {
  const { certificate, successionFrom, primary } = group
  if (!certificate || context.now < successionFrom || group.phase.kind !== 'steady') return quiet(group)
  const owner = primary === undefined ? undefined : group.members.get(primary)
  // Without a lease from us the primary does not vote on its successor: its own epoch is renewed first (group-time.ts).
  if (isUnserved(group)) return quiet(group)
  if (!owner?.connected || owner.gone || owner.resigned >= group.epoch) return quiet(group)
  const next = successorOf(group, context)
  if (next === (certificate.proposal.successor ?? undefined)) return quiet(group)
  return designate(group, next, { kind: 'steady' }, context) ?? quiet(group)
}

function successorOf(group: Group, { now }: GroupContext): InstanceId | undefined {
  const { certificate, members } = group
  const current = certificate?.proposal.successor ?? undefined
  const ready = handOverTargets(group, now)
  const member = current === undefined ? undefined : members.get(current)
  const isLost =
    !member ||
    member.gone ||
    member.retired ||
    member.noticedBy !== undefined ||
    between(member.heardAt, now) > SILENT_FOR
  if (current === undefined || isLost) return ready[0]?.instance
  const isReady = ready.some(({ instance }) => instance === current)
  const isUnready = !isReady && (member.readyAt === undefined || between(member.readyAt, now) > UNREADY_FOR)
  return isUnready ? (ready[0]?.instance ?? current) : current
}
