import { afterFailedPromotion, considerNotice, incidentFor, thenPromote } from './group-change.ts'
import { elect } from './group-election.ts'
import {
  after,
  isAlone,
  leadTo,
  mayBeWhole,
  patchMember,
  quiet,
  silentHolders,
  silentVoters,
  stepOf,
  wanted,
} from './group-orders.ts'
import type { Group, GroupContext, GroupEffect, GroupEvent, GroupStep } from './group-types.ts'

/** From a certificate to the end of its incident: the new primary is started, then traffic is led to it. */

export function onPromoted(
  group: Group,
  event: GroupEvent & { kind: 'promoted' },
  context: GroupContext,
): GroupStep {
  const { phase, certificate, epoch } = group
  // It may come late, when another successor has been made since.
  const isCurrent = event.epoch >= (certificate?.proposal.term ?? 0) && event.epoch <= epoch
  if (event.instance !== group.primary || !isCurrent) return quiet(group)
  const isPromoting = phase.kind === 'promoting'
  // Otherwise this process was restarted while the promotion was under way, or had given it up; something else that leaves it
  // in office may have begun since.
  const isAside = phase.kind === 'handing-over' || ('change' in phase && phase.change.then.kind !== 'promote')
  // It is given up in favour of another: unless that comes to nothing, it has been up for nothing.
  if ('change' in phase && !isAside) return quiet({ ...group, wasUp: true })
  if (!isPromoting && phase.kind !== 'steady' && !isAside) return quiet(group)
  const { incident, fresh } = isPromoting ? phase : { incident: undefined, fresh: false }
  const members = new Map(
    [...group.members].map(([id, member]) => [
      id,
      id === event.instance || !isPromoting ? member : { ...member, attached: false },
    ]),
  )
  const running: Group = {
    ...group,
    members,
    wasUp: true,
    phase: incident ? { kind: 'routing', incident, fresh } : isAside ? phase : { kind: 'steady' },
  }
  // A notice may have come while it was being brought up.
  return after(leadTo(running, event.instance), considerNotice(running, context))
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
    outcome: fresh ? 'relaunched' : returned ? 'failed' : 'promoted',
    why: fresh
      ? `no replica was ready: ${primary} started without what the old primary had`
      : returned
        ? `no other instance could take over: ${primary} runs on at epoch ${group.epoch}`
        : `${primary} took over at epoch ${group.epoch}`,
  }
  const replacement = isAlone(steady) && (fresh || !returned) ? [wanted('replaced')] : []
  return after([closed, ...replacement], considerNotice(steady, context))
}

export function onPromotionFailed(
  group: Group,
  event: GroupEvent & { kind: 'promotion-failed' },
  context: GroupContext,
): GroupStep {
  const { instance, epoch, why, incomplete } = event
  const { phase } = group
  if (instance !== group.primary || epoch !== group.epoch) return quiet(group)
  const has = incomplete ? ({ sync: 'none', hadCopy: false } as const) : {}
  const resigned = patchMember(group, instance, { resigned: epoch, ...has })
  if ('change' in phase) return quiet(resigned)
  if (!incomplete) return afterFailedPromotion(resigned, instance, why, context)
  const asked = [...silentHolders(resigned), ...silentVoters(resigned, context.now)].map(
    (member): GroupEffect => ({ kind: 'check-instance', instance: member.instance }),
  )
  const isLost = context.now >= group.silentUntil && !isAnyCopyLeft(resigned)
  const anew = isLost ? beginAnew(resigned, event, context) : undefined
  return after(asked, anew ?? afterFailedPromotion(resigned, instance, why, context, true))
}

const isAnyCopyLeft = ({ members }: Group): boolean =>
  [...members.values()].some((member) => !member.gone && mayBeWhole(member))

/** It has only a part of a copy, and nobody has more: a part is never more by trying again. */
function beginAnew(
  group: Group,
  { instance, why }: GroupEvent & { kind: 'promotion-failed' },
  context: GroupContext,
): GroupStep | undefined {
  const { incident, opened } = incidentFor(group, instance, context)
  const then = thenPromote(incident, { fresh: true })
  const begun = elect(group, instance, then, context)
  const failed = stepOf(incident, 'promotion-failed', `${instance}: ${why}`)
  const lost = stepOf(
    incident,
    'state-lost',
    `no instance has a whole copy of the state: ${instance} starts with an empty one, or with a snapshot`,
  )
  return begun && after([...opened, failed, lost], begun)
}
