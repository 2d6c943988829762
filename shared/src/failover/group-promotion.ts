import { afterFailedPromotion, considerNotice } from './group-change.ts'
import { after, followOrder, isAlone, patchMember, quiet, wanted } from './group-orders.ts'
import type { Group, GroupContext, GroupEffect, GroupEvent, GroupStep } from './group-types.ts'

/** From a certificate to the end of its incident: the new primary is started, then traffic is led to it. */

export function onPromoted(group: Group, event: GroupEvent & { kind: 'promoted' }): GroupStep {
  const { phase } = group
  if (event.instance !== group.primary || event.epoch !== group.epoch) return quiet(group)
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
    wasUp: true,
    phase: incident ? { kind: 'routing', incident, fresh } : { kind: 'steady' },
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
  const replacement = isAlone(steady) && !returned ? [wanted('replaced')] : []
  return after([closed, ...replacement], considerNotice(steady, context))
}

export function onPromotionFailed(
  group: Group,
  event: GroupEvent & { kind: 'promotion-failed' },
  context: GroupContext,
): GroupStep {
  const { instance, epoch, why } = event
  const { phase } = group
  if (instance !== group.primary || epoch !== group.epoch) return quiet(group)
  const resigned = patchMember(group, instance, { resigned: epoch })
  if ('change' in phase) return quiet(resigned)
  return afterFailedPromotion(resigned, instance, why, context)
}
