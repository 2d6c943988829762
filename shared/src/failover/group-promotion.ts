import type { Mono } from '../core/time.ts'
import { afterFailedPromotion, considerNotice } from './group-change.ts'
import {
  after,
  fenceOrder,
  followOrder,
  owner,
  patchMember,
  promoteOrder,
  quiet,
  readyTargets,
  standIn,
  wanted,
} from './group-orders.ts'
import type { Group, GroupContext, GroupEffect, GroupEvent, GroupStep, Phase } from './group-types.ts'
import { promiseEnd } from './lease.ts'

/** From the commit of an epoch to the end of its incident: the new primary is started, then traffic is led to it. */

export function onCommitted(
  group: Group,
  event: GroupEvent & { kind: 'committed' },
  { now }: GroupContext,
): GroupStep {
  const { phase, primary: previous } = group
  if (phase.kind !== 'committing' || event.epoch !== phase.to) return quiet(group)
  const { target, fresh, incident, to, attempt } = phase
  const promoting: Phase & { kind: 'promoting' } = {
    kind: 'promoting',
    target,
    fresh,
    incident,
    attempt,
  }
  const moved = previous !== undefined && previous !== target
  const retired = moved && incident !== undefined && !incident.keepOld && previous === incident.instance
  const owned = patchMember(
    patchMember({ ...group, epoch: to, primary: target, phase: promoting }, previous, {
      retired,
      sync: 'unknown',
      attached: false,
    }),
    target,
    { sync: 'unknown', released: false, retired: false, hadCopy: true },
  )
  // It may run without us only if nobody else could be promoted in its place.
  const solo = readyTargets(owned, now).length === 0 && standIn(owned, target) === undefined
  const next: Group = {
    ...owned,
    soloSince: solo ? (owned.members.get(target)?.beat?.seq ?? 0) : undefined,
  }
  const fences = moved ? [fenceOrder(next, previous)] : []
  return after(fences, promote(next, promoting, now))
}

/** The order carries a lease, counted from the target's last heartbeat, so it is a promise like any other grant. */
export const promote = (group: Group, phase: Phase & { kind: 'promoting' }, now: Mono): GroupStep =>
  quiet(
    {
      ...group,
      promiseUntil: promiseEnd(now, group.policy),
      // Only a lease that was given after this order can confirm that it does not run alone.
      soloSince:
        group.soloSince === undefined
          ? undefined
          : Math.max(group.soloSince, group.members.get(phase.target)?.beat?.seq ?? 0),
    },
    promoteOrder(group, phase),
  )

export function onPromoted(
  group: Group,
  event: GroupEvent & { kind: 'promoted' },
  { now }: GroupContext,
): GroupStep {
  const { phase } = group
  if (event.instance !== owner(group) || event.epoch !== group.epoch) return quiet(group)
  // `steady`: this process was restarted while the promotion was under way.
  if (phase.kind !== 'promoting' && phase.kind !== 'steady') return quiet(group)
  const { incident, fresh } = phase.kind === 'promoting' ? phase : { incident: undefined, fresh: false }
  const members = new Map(
    [...group.members].map(([id, member]) => [
      id,
      id === event.instance || phase.kind === 'steady' ? member : { ...member, attached: false },
    ]),
  )
  const running: Group = {
    ...group,
    members,
    phase: incident ? { kind: 'routing', incident, fresh } : { kind: 'steady' },
    promiseUntil: promiseEnd(now, group.policy),
  }
  const follows = [...members.values()]
    .filter((member) => member.connected)
    .flatMap((member) => followOrder(running, member))
  return quiet(running, { kind: 'point-address', epoch: group.epoch, instance: event.instance }, ...follows)
}

export function onRouted(
  group: Group,
  event: GroupEvent & { kind: 'routed' },
  context: GroupContext,
): GroupStep {
  const { phase, primary } = group
  if (phase.kind !== 'routing' || event.epoch !== group.epoch) return quiet(group)
  const { incident, fresh } = phase
  const steady: Group = { ...group, phase: { kind: 'steady' } }
  const returned = primary === incident.instance
  const closed: GroupEffect = {
    kind: 'incident-closed',
    incident,
    outcome: returned ? 'failed' : fresh ? 'relaunched' : 'promoted',
    why: returned
      ? `no other instance could take over: ${primary} runs on at epoch ${group.epoch}`
      : fresh
        ? `no replica was ready: ${primary} started without what the old primary had`
        : `${primary} took over at epoch ${group.epoch}`,
  }
  const alone = ![...steady.members.values()].some(
    (member) =>
      member.instance !== primary && !member.retired && !member.gone && member.noticedBy === undefined,
  )
  const replacement = alone && !returned ? [wanted('replaced')] : []
  return after([closed, ...replacement], considerNotice(steady, context))
}

export function onPromotionFailed(
  group: Group,
  event: GroupEvent & { kind: 'promotion-failed' },
  context: GroupContext,
): GroupStep {
  const { instance, epoch, why } = event
  const { phase } = group
  if (instance !== owner(group) || epoch !== group.epoch || phase.kind === 'committing') return quiet(group)
  return afterFailedPromotion(group, instance, why, context)
}
