import type { InstanceId } from '../core/ids.ts'
import { formatMillis, type Mono, plus } from '../core/time.ts'
import { kindOfChange } from './certificate.ts'
import { abandon } from './group-abandoned.ts'
import { onVoted } from './group-certified.ts'
import {
  afterFailedPromotion,
  giveUpHandOver,
  handOver,
  noticeAgain,
  relaunch,
  release,
  replaceLost,
} from './group-change.ts'
import { onBeat, onConnected, onOutdated, onVoter } from './group-contact.ts'
import {
  abortOrder,
  after,
  followOrder,
  handOverTargets,
  openIncident,
  patchMember,
  quiet,
  readyTargets,
  silenceOf,
  wanted,
  withMember,
} from './group-orders.ts'
import { onPromoted, onPromotionFailed, onRouted } from './group-promotion.ts'
import { onVoteRefused } from './group-refused.ts'
import { unheard } from './group-restore.ts'
import { considerSuccessor } from './group-succession.ts'
import { onTick } from './group-time.ts'
import type {
  Group,
  GroupContext,
  GroupEffect,
  GroupEvent,
  GroupMember,
  GroupStep,
  OpenIncident,
  Phase,
} from './group-types.ts'

export { readyTargets, silenceOf } from './group-orders.ts'
export { restoreGroup } from './group-restore.ts'
export { nextLook } from './group-time.ts'
export type * from './group-types.ts'

/** One event in, the new state and what to do out. Pure apart from the ids that the context hands out. */
export function stepGroup(group: Group, event: GroupEvent, context: GroupContext): GroupStep {
  switch (event.kind) {
    case 'joined':
      return quiet(
        withMember(group, group.members.get(event.instance) ?? unheard(event.instance, context.now)),
      )
    case 'left':
      return onLeft(group, event.instance)
    case 'connected':
      return onConnected(group, event, context)
    case 'disconnected':
      return quiet(patchMember(group, event.instance, { connected: false }))
    case 'beat':
      return onBeatOf(group, event, context)
    case 'status':
      return onStatus(group, event, context)
    case 'voter':
      return onVoter(group, event, context)
    case 'voted':
      return onVoted(group, event, context)
    case 'vote-refused':
      return onVoteRefused(group, event, context)
    case 'outdated':
      return onOutdated(group, event.voted, context)
    case 'sync':
      return onSync(
        patchMember(group, event.instance, { sync: event.sync, hadCopy: event.sync === 'ready' }),
        context,
      )
    case 'appraised':
      return quiet(appraised(group, event.order))
    case 'notice':
      return onNotice(group, event, context)
    case 'notice-withdrawn':
      return onNoticeWithdrawn(group, event.instance)
    case 'promote':
      return onPromote(group, event, context)
    case 'released':
      return onReleased(group, event, context)
    case 'hand-over-failed':
      return onHandOverFailed(group, event, context)
    case 'promoted':
      return onPromoted(group, event, context)
    case 'promotion-failed':
      return onPromotionFailed(group, event, context)
    case 'routed':
      return onRouted(group, event, context)
    case 'gone':
      return onGone(group, event.instance, context)
    case 'tick':
      return onTick(group, context)
  }
}

/** That the successor has lost the primary too may be all that was waited for: it is not left to the next tick. */
function onBeatOf(group: Group, event: GroupEvent & { kind: 'beat' }, context: GroupContext): GroupStep {
  const heard = group.members.get(event.instance)?.hears ?? false
  const step = onBeat(group, event, context)
  const isLost = heard && !event.hears && silenceOf(step.group, context.now) > group.policy.lease
  return isLost ? after(step.effects, onTick(step.group, context)) : step
}

/** Nobody could be elected in its place without its own vote: the primary needs no lease, and silence replaces it never. */
export const runsAlone = ({ certificate }: Group): boolean => certificate?.proposal.successor === null

/** Why `target` cannot be promoted by hand now, in one sentence; undefined when it can. */
export function mayPromote(group: Group, target: InstanceId, now: Mono): string | undefined {
  const { phase, primary } = group
  if (primary === undefined) return 'the agent has no primary yet'
  if (target === primary) return `${target} is the primary already`
  if (phase.kind !== 'steady') return `another change is under way (${phase.kind})`
  const silence = silenceOf(group, now)
  if (silence > group.policy.lease) {
    const silent = `nothing was heard from the primary ${primary} for ${formatMillis(silence)}`
    return runsAlone(group)
      ? `${silent}; it runs alone, so it is replaced only once its instance is known to have ended`
      : `${silent}; it can be replaced once its lease has run out`
  }
  const member = group.members.get(target)
  if (!member) return `${target} is not a member`
  if (member.noticedBy !== undefined) return `${target} has an interruption notice of its own`
  return readyTargets(group, now).includes(member)
    ? undefined
    : `${target} is not ready: ${whyNotReady(member)}`
}

function whyNotReady({ connected, sync }: GroupMember): string {
  if (!connected) return 'it is not connected'
  if (sync !== 'ready') return `its state is ${sync}`
  return 'it has a whole copy, and the primary does not vouch for it at the moment'
}

function onLeft(group: Group, instance: InstanceId): GroupStep {
  const abstainFor = new Set([...group.abstainFor].filter((id) => id !== instance))
  const known = { ...group, abstainFor }
  if (instance === group.primary) return quiet(patchMember(known, instance, { connected: false }))
  // Its vote counts, or has to be known to be void, until a certificate is without it.
  if (group.certificate?.proposal.successor === instance)
    return quiet(patchMember(known, instance, { connected: false, retired: true, left: true }))
  const members = new Map(group.members)
  members.delete(instance)
  return quiet({ ...known, members })
}

function onStatus(group: Group, event: GroupEvent & { kind: 'status' }, context: GroupContext): GroupStep {
  const { instance, replicas, epoch } = event
  const { certificate } = group
  const isCurrent = certificate !== undefined && epoch >= certificate.proposal.term
  if (instance !== group.primary || !isCurrent) return quiet(group)
  const { term } = certificate.proposal
  return onSync({ ...vouchedFor(group, replicas, context.now), vouchedIn: term }, context)
}

/** What the primary says of its replicas; one that it does not name is not attached to it any more. */
function vouchedFor(group: Group, said: (GroupEvent & { kind: 'status' })['replicas'], now: Mono): Group {
  // A new primary serves nobody yet: until it is up, what the old one said last is the best there is.
  const named = new Set(said.map(({ instance }) => instance))
  const cut = [...group.members.keys()].filter((id) => group.phase.kind !== 'promoting' && !named.has(id))
  const kept = cut.reduce((g, instance) => patchMember(g, instance, { attached: false }), group)
  const vouched = said.reduce(
    (g, { instance, attached, lagBytes }) => patchMember(g, instance, { attached, lagBytes }),
    kept,
  )
  return readyTargets(vouched, now).reduce(
    (g, { instance }) => patchMember(g, instance, { readyAt: now }),
    vouched,
  )
}

/** A database that was restored remembers it as open; meanwhile others have moved the agent, and nobody has to be told to hand over. */
function closeOutrun(group: Group, incident: OpenIncident): GroupStep {
  const why = `${group.primary} has epoch ${group.epoch} since, and runs`
  return quiet(
    { ...group, waiting: undefined },
    { kind: 'incident-closed', incident, outcome: 'promoted', why },
  )
}

const appraised = (group: Group, order: readonly InstanceId[]): Group =>
  order.reduce((g, instance, merit) => patchMember(g, instance, { merit }), group)

/** What waited for a replica goes on as soon as one is ready. */
function onSync(group: Group, context: GroupContext): GroupStep {
  const { now } = context
  if (group.phase.kind === 'relaunching') return relaunch(group, group.phase, context)
  if (group.phase.kind !== 'steady') return quiet(group)
  if (!group.waiting) return considerSuccessor(group, context)
  if (group.waiting.instance !== group.primary) return closeOutrun(group, group.waiting)
  // Who is silent is replaced, not told to hand over; who is heard again goes on (group-time.ts).
  if (group.waiting.trigger === 'silence') return quiet(group)
  const target = handOverTargets(group, now)[0]
  return target ? handOver(group, group.waiting, target.instance, context) : quiet(group)
}

function onNotice(group: Group, event: GroupEvent & { kind: 'notice' }, context: GroupContext): GroupStep {
  const member = group.members.get(event.instance)
  if (!member || member.retired) return quiet(group)
  const by = plus(context.now, event.left)
  const next = patchMember(group, event.instance, { noticedBy: by })
  if (event.instance === group.primary) return noticeAgain(next, by, context, event.prefer)
  return quiet(next, ...(member.noticedBy === undefined ? [wanted('lost')] : []))
}

/**
 * A standby that was let go because of the notice is one again. A primary for which a replica was waited for goes on;
 * what is under way for its sake already is brought to its end.
 */
function onNoticeWithdrawn(before: Group, instance: InstanceId): GroupStep {
  const group = patchMember(before, instance, { noticedBy: undefined })
  const { waiting } = group
  if (waiting?.trigger === 'notice' && waiting.instance === instance && instance === group.primary) {
    const why = `AWS has taken the notice back: ${instance} runs on`
    const closed = { kind: 'incident-closed', incident: waiting, outcome: 'failed', why } as const
    return quiet({ ...group, waiting: undefined }, closed)
  }
  const member = group.members.get(instance)
  return quiet(group, ...(member?.connected && instance !== group.primary ? followOrder(group, member) : []))
}

function onPromote(group: Group, event: GroupEvent & { kind: 'promote' }, context: GroupContext): GroupStep {
  const { now } = context
  if (group.primary === undefined || mayPromote(group, event.target, now) !== undefined) return quiet(group)
  const incident: OpenIncident = group.waiting ?? {
    id: context.newIncident(),
    trigger: event.trigger ?? 'planned',
    instance: group.primary,
    by: plus(now, event.budget),
    keepOld: event.keepOld,
  }
  const opened: GroupEffect[] = group.waiting ? [] : [{ kind: 'incident-opened', incident }]
  return after(opened, handOver(group, incident, event.target, context))
}

function onReleased(
  before: Group,
  event: GroupEvent & { kind: 'released' },
  context: GroupContext,
): GroupStep {
  const { instance, epoch, vote } = event
  const known = before.members.get(instance)?.voted ?? 0
  const group = patchMember(before, instance, { voted: Math.max(known, vote.proposal.epoch) })
  const { phase } = group
  if (instance !== group.primary || epoch < (group.certificate?.proposal.term ?? 0) || epoch > group.epoch)
    return quiet(group)
  // A release gives the epoch to the successor and changes nothing else.
  const { proposal } = vote
  if (kindOfChange(proposal, group.certificate) !== 'turnover' || proposal.primary !== event.target)
    return quiet(group)
  if (phase.kind === 'handing-over') return release(group, instance, vote, phase.incident, context)
  const isAsking = phase.kind === 'asking' && phase.of === instance
  if (phase.kind !== 'steady' && !isAsking) return quiet(group)
  // We had given the hand-over up, but the primary went through with it: nobody has the epoch now.
  const open = openIncident(group)
  const incident: OpenIncident = open ?? {
    id: context.newIncident(),
    trigger: 'planned',
    instance,
    by: undefined,
    keepOld: true,
  }
  const opened: GroupEffect[] = open ? [] : [{ kind: 'incident-opened', incident }]
  return after(opened, release(group, instance, vote, incident, context))
}

function onHandOverFailed(
  group: Group,
  event: GroupEvent & { kind: 'hand-over-failed' },
  context: GroupContext,
): GroupStep {
  const { phase } = group
  const term = group.certificate?.proposal.term ?? 0
  if (phase.kind !== 'handing-over' || event.instance !== group.primary || event.epoch < term)
    return quiet(group)
  // One that was ordered since, by a coordinator that did not know of the failure, does not go on behind the record.
  return after([abortOrder(group, event.instance)], giveUpHandOver(group, phase, event.why, context))
}

function onGone(group: Group, instance: InstanceId, context: GroupContext): GroupStep {
  const member = group.members.get(instance)
  if (!member || member.gone) return quiet(group)
  const abstainFor = new Set([...group.abstainFor].filter((id) => id !== instance))
  const next: Group = {
    ...patchMember(group, instance, { gone: true, connected: false, sync: 'unknown' }),
    abstainFor,
  }
  const { phase } = next
  if (instance !== next.primary) {
    const counted = !member.retired && member.noticedBy === undefined
    const lost = counted ? [wanted('lost')] : []
    return phase.kind === 'relaunching' ? after(lost, relaunch(next, phase, context)) : quiet(next, ...lost)
  }
  if (phase.kind === 'relaunching') return quiet(next)
  if ('change' in phase) return onLostMeanwhile(next, phase, instance, context)
  return phase.kind === 'promoting'
    ? afterFailedPromotion(next, instance, 'its instance has ended', context)
    : replaceLost(next, context)
}

/** The primary has ended while a change was being voted on: one that needs its vote cannot come about any more. */
function onLostMeanwhile(
  group: Group,
  phase: Phase & { kind: 'asking' | 'voting' | 'electing' },
  instance: InstanceId,
  context: GroupContext,
): GroupStep {
  if (phase.kind === 'asking' && phase.of === instance) return abandon(group, phase.change, context)
  if (phase.kind === 'voting' && !phase.isBeingWritten && phase.change.proposal.primary === instance)
    return abandon(group, phase.change, context)
  const change = { ...phase.change, gone: [...phase.change.gone, instance] }
  return quiet({ ...group, phase: { ...phase, change } })
}
