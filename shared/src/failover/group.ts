import type { InstanceId } from '../core/ids.ts'
import { between, formatMillis, type Mono, millis, plus } from '../core/time.ts'
import type { Certificate } from './certificate.ts'
import { learn, learnChain, onVoted } from './group-certified.ts'
import {
  abandon,
  afterFailedPromotion,
  considerNotice,
  giveUpHandOver,
  handOver,
  noticeAgain,
  relaunch,
  release,
  replaceLost,
  thenPromote,
} from './group-change.ts'
import { elect, onChangeTick, onDeclined, onVoteOf } from './group-election.ts'
import {
  after,
  fenceOrder,
  followOrder,
  handOverOrder,
  openIncident,
  patchMember,
  quiet,
  readyTargets,
  silenceOf,
  wanted,
  withMember,
} from './group-orders.ts'
import { onPromoted, onPromotionFailed, onRouted } from './group-promotion.ts'
import { unheard } from './group-restore.ts'
import { considerSuccessor } from './group-succession.ts'
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
import { promiseEnd } from './lease.ts'
import type { VoterMessage } from './voter-types.ts'

export { readyTargets, silenceOf } from './group-orders.ts'
export { restoreGroup } from './group-restore.ts'
export type * from './group-types.ts'

/** How long after the last heartbeat a primary is doubted, in heartbeats. */
const SUSPECT_AFTER_BEATS = 2
/** After our own restart a new primary is given this long to connect. */
const CONNECT_WITHIN = millis(10_000)

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
      return onBeat(group, event, context)
    case 'status':
      return onStatus(group, event, context)
    case 'voter':
      return onVoter(group, event, context)
    case 'voted':
      return onVoted(group, event, context)
    case 'outdated':
      return onOutdated(group, event.voted)
    case 'sync':
      return onSync(
        patchMember(group, event.instance, { sync: event.sync, hadCopy: event.sync === 'ready' }),
        context,
      )
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
      return onPromoted(group, event)
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
  if (!readyTargets(group, now).includes(member))
    return `${target} is not ready: ${member.connected ? `its state is ${member.sync}` : 'it is not connected'}`
  return undefined
}

function onLeft(group: Group, instance: InstanceId): GroupStep {
  if (instance === group.primary) return quiet(patchMember(group, instance, { connected: false }))
  const members = new Map(group.members)
  members.delete(instance)
  return quiet({ ...group, members })
}

function onConnected(
  group: Group,
  event: GroupEvent & { kind: 'connected' },
  context: GroupContext,
): GroupStep {
  const { instance, sentAt, key, voted, resigned, chain } = event
  const known = group.members.get(instance)
  if (!known) return quiet(group, fenceOrder(group, instance))
  const member: GroupMember = {
    ...known,
    connected: true,
    heardAt: context.now,
    sentAt,
    key,
    voted,
    resigned,
    gone: false,
    hears: false,
    sync: 'unknown',
  }
  const abstainFor = new Set([...group.abstainFor].filter((id) => id !== instance))
  const met = { ...withMember(group, member), abstainFor }
  const learnt = learnChain(met, chain, context)
  const next = greet(learnt.group, event, member, context)
  return after(learnt.effects, next)
}

/** What a member that has just connected is to do, now that we know what it knows. */
function greet(
  group: Group,
  event: GroupEvent & { kind: 'connected' },
  member: GroupMember,
  context: GroupContext,
): GroupStep {
  const { instance } = event
  const { certificate } = group
  if (!certificate && group.phase.kind !== 'vacant') return quiet(group)
  if (!certificate)
    return (
      elect(group, instance, thenPromote(undefined), context) ?? quiet(group, fenceOrder(group, instance))
    )
  const missed = (event.chain.at(-1)?.proposal.epoch ?? 0) < group.epoch
  const news: GroupEffect[] = missed
    ? [{ kind: 'tell', instance, message: { kind: 'certificate', certificate } }]
    : []
  if (instance === group.primary) return onOwnerConnected(group, event, context, news)
  return quiet(group, ...news, ...followOrder(group, member))
}

function onOwnerConnected(
  group: Group,
  event: GroupEvent & { kind: 'connected' },
  context: GroupContext,
  news: readonly GroupEffect[],
): GroupStep {
  const { phase } = group
  const { instance, role, resigned } = event
  if (phase.kind === 'promoting' && phase.offer && role !== 'primary' && resigned < group.epoch)
    return quiet(group, { kind: 'tell', instance, message: phase.offer })
  if (phase.kind === 'promoting' && role === 'primary' && resigned < group.epoch)
    return onPromoted(group, { kind: 'promoted', instance, epoch: group.epoch })
  if ('change' in phase || phase.kind === 'vacant') return quiet(group, ...news)
  if (resigned < group.epoch) {
    if (phase.kind === 'handing-over') return quiet(group, ...news, handOverOrder(group, phase, context.now))
    return quiet(
      phase.kind === 'relaunching' ? { ...group, phase: { kind: 'steady' }, waiting: phase.incident } : group,
      ...news,
    )
  }
  // Its vote for the target comes with its next report.
  if (role === 'released' && phase.kind === 'handing-over') return quiet(group, ...news)
  return renew(group, instance, context) ?? quiet(group, ...news)
}

/** It is active in no epoch any more, or cannot hold the one that it has; it still has the state, so it gets another. */
function renew(group: Group, instance: InstanceId, context: GroupContext): GroupStep | undefined {
  const { phase } = group
  const attempt = phase.kind === 'promoting' || phase.kind === 'failed' ? phase.attempt : 0
  return elect(group, instance, thenPromote(openIncident(group), { attempt }), context)
}

/** A heartbeat of the primary is answered with a promise, unless we have voted for somebody else. */
function onBeat(group: Group, event: GroupEvent & { kind: 'beat' }, { now }: GroupContext): GroupStep {
  const { instance, epoch, sentAt, hears, office } = event
  const member = group.members.get(instance)
  if (!member) return quiet(group, fenceOrder(group, instance))
  const isOut = instance === group.primary && epoch === group.epoch && !office
  const resigned = isOut ? group.epoch : member.resigned
  const heard = withMember(group, { ...member, connected: true, heardAt: now, sentAt, hears, resigned })
  const { certificate, voted } = heard
  if (!certificate) return quiet(heard)
  const { primary, term } = certificate.proposal
  // Who is out of its office needs no lease, and what it was promised would keep others from being elected.
  const isOwner = office && instance === primary && epoch >= term && epoch <= certificate.proposal.epoch
  const isBound =
    (voted.epoch > certificate.proposal.epoch && voted.primary !== instance) || isLeaving(heard, instance)
  // It has won with our vote; the certificate is on its way.
  const isWinner =
    voted.epoch > certificate.proposal.epoch && voted.primary === instance && epoch === voted.epoch
  if ((isOwner && !isBound) || isWinner)
    return quiet(
      { ...heard, promise: { to: instance, until: promiseEnd(now, group.policy) } },
      {
        kind: 'tell',
        instance,
        message: { kind: 'ack', epoch, sentAt, at: now, promise: group.policy.lease },
      },
    )
  const isOld = epoch < certificate.proposal.epoch
  if (!isOld) return quiet(heard)
  // What it was told was lost, or came before it knew how to check it.
  const { phase } = heard
  const offer = phase.kind === 'promoting' && phase.target === instance ? phase.offer : undefined
  return quiet(heard, offer ? { kind: 'tell', instance, message: offer } : news(instance, certificate))
}

/** Our vote for somebody else is on its way to the disk: what we promise now would not be kept. */
const isLeaving = ({ casting }: Group, instance: InstanceId): boolean =>
  casting !== undefined && casting.primary !== instance

const news = (instance: InstanceId, certificate: Certificate): GroupEffect => ({
  kind: 'tell',
  instance,
  message: { kind: 'certificate', certificate },
})

function onStatus(group: Group, event: GroupEvent & { kind: 'status' }, context: GroupContext): GroupStep {
  const { instance, replicas, epoch } = event
  const { certificate } = group
  const isCurrent = certificate !== undefined && epoch >= certificate.proposal.term
  if (instance !== group.primary || !isCurrent) return quiet(group)
  return onSync(vouchedFor(group, replicas, context.now), context)
}

function onVoter(
  group: Group,
  { instance, message, extras }: GroupEvent & { kind: 'voter' },
  context: GroupContext,
): GroupStep {
  if (!group.members.has(instance)) return quiet(group)
  const known = patchMember(group, instance, { voted: votedBy(group, instance, message) })
  switch (message.kind) {
    case 'vote':
      return onVoteOf(known, instance, message.proposal, message.vote, context)
    case 'declined':
      return onDeclined(known, instance, message, context)
    case 'certificate':
      return learn(known, message.certificate, extras, context)
    case 'behind':
      return message.certificate ? learn(known, message.certificate, undefined, context) : quiet(known)
    default:
      return quiet(known)
  }
}

function votedBy(group: Group, instance: InstanceId, message: VoterMessage): number {
  const before = group.members.get(instance)?.voted ?? 0
  if (message.kind === 'vote') return Math.max(before, message.proposal.epoch)
  return message.kind === 'declined' || message.kind === 'behind' ? Math.max(before, message.voted) : before
}

/** Every member must have told what it knows: one alone may have missed a vote of ours. */
function onOutdated(group: Group, voted: number): GroupStep {
  const silent = [...group.members.values()].filter((member) => !member.connected && !member.gone)
  const abstainFor = new Set(silent.map(({ instance }) => instance))
  // Who knew of the votes that we have lost may have ended; their numbers are never used again.
  return quiet({
    ...group,
    abstainFor,
    voted: { epoch: Math.max(group.voted.epoch, voted), primary: undefined },
  })
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

/** What waited for a replica goes on as soon as one is ready. */
function onSync(group: Group, context: GroupContext): GroupStep {
  const { now } = context
  if (group.phase.kind === 'relaunching') return relaunch(group, group.phase, context)
  if (group.phase.kind !== 'steady') return quiet(group)
  if (!group.waiting) return considerSuccessor(group, context)
  const target = readyTargets(group, now)[0]
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

/** A standby that was let go because of the notice is one again. */
function onNoticeWithdrawn(group: Group, instance: InstanceId): GroupStep {
  const next = patchMember(group, instance, { noticedBy: undefined })
  const member = next.members.get(instance)
  return quiet(next, ...(member?.connected && instance !== next.primary ? followOrder(next, member) : []))
}

function onPromote(group: Group, event: GroupEvent & { kind: 'promote' }, context: GroupContext): GroupStep {
  const { now } = context
  if (group.primary === undefined || mayPromote(group, event.target, now) !== undefined) return quiet(group)
  const incident: OpenIncident = group.waiting ?? {
    id: context.newIncident(),
    trigger: 'planned',
    instance: group.primary,
    by: plus(now, event.budget),
    keepOld: event.keepOld,
  }
  const opened: GroupEffect[] = group.waiting ? [] : [{ kind: 'incident-opened', incident }]
  return after(opened, handOver(group, incident, event.target, context))
}

function onReleased(
  group: Group,
  event: GroupEvent & { kind: 'released' },
  context: GroupContext,
): GroupStep {
  const { instance, epoch, vote } = event
  const { phase } = group
  if (instance !== group.primary || epoch < (group.certificate?.proposal.term ?? 0) || epoch > group.epoch)
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
  if (phase.kind !== 'handing-over' || event.instance !== group.primary || event.epoch !== group.epoch)
    return quiet(group)
  return giveUpHandOver(group, phase, event.why, context)
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

function onTick(before: Group, context: GroupContext): GroupStep {
  const { now } = context
  const { lease } = before.policy
  // We stood still ourselves: that we heard nothing says nothing.
  const stoodStill = between(before.tickedAt, now) > lease / 2
  const silentUntil = stoodStill ? plus(now, lease) : before.silentUntil
  const group: Group = { ...before, tickedAt: now, silentUntil }
  return after(missing(group), onTime(group, context))
}

/** Who cannot tell what it knows because its machine has ended need not be waited for. */
const missing = ({ abstainFor }: Group): GroupEffect[] =>
  [...abstainFor].map((instance) => ({ kind: 'check-instance', instance }))

function onTime(group: Group, context: GroupContext): GroupStep {
  const { now } = context
  const { phase, primary, certificate } = group
  if (primary === undefined || !certificate)
    return phase.kind === 'voting' ? onOpenChange(group, phase, context) : quiet(group)
  switch (phase.kind) {
    case 'promoting':
      if (isUnserved(group)) return renew(group, primary, context) ?? quiet(group)
      if (hasResigned(group)) return afterFailedPromotion(group, primary, 'it was started again', context)
      if (hasFallenSilent(group, phase.target, now))
        return afterFailedPromotion(group, phase.target, 'it fell silent before the workload was up', context)
      break
    case 'handing-over':
      if (isOver(group, now)) return replaceLost(group, context)
      if (now >= phase.giveUpAt) return callOff(group, phase, primary, context)
      break
    case 'steady':
      if (isOver(group, now)) return replaceLost(group, context)
      return after(doubt(group, primary, now), keepSteady(group, primary, context))
    case 'routing':
      if (isOver(group, now)) return replaceLost(group, context)
      break
    case 'failed':
      if (now >= phase.retryAt && group.members.get(primary)?.connected)
        return renew(group, primary, context) ?? quiet(group)
      break
    case 'relaunching':
      return relaunch(group, phase, context)
    case 'asking':
      return after(
        [...doubt(group, primary, now), ...doubt(group, phase.of, now)],
        onOpenChange(group, phase, context),
      )
    case 'voting':
    case 'electing':
      return after(
        [...doubt(group, primary, now), ...doubt(group, phase.change.proposal.primary, now)],
        onOpenChange(group, phase, context),
      )
    case 'vacant':
      return quiet(group)
  }
  return quiet(group, ...doubt(group, primary, now))
}

const onOpenChange = (
  group: Group,
  phase: Phase & { kind: 'asking' | 'voting' | 'electing' },
  context: GroupContext,
): GroupStep => onChangeTick(group, context) ?? abandon(group, phase.change, context)

/** A primary that cannot hold its epoch gets another; and the designated successor is one that could take over. */
function keepSteady(group: Group, primary: InstanceId, context: GroupContext): GroupStep {
  const { epoch, certificate, successionFrom } = group
  const member = group.members.get(primary)
  const isHere = member?.connected === true && !isSilent(group, context.now)
  if (!member || !isHere || !certificate || context.now < successionFrom) return quiet(group)
  const lostOffice = member.resigned >= epoch
  if (lostOffice || isUnserved(group)) return renew(group, primary, context) ?? quiet(group)
  return group.waiting ? quiet(group) : considerSuccessor(group, context)
}

/** Nothing was heard from the primary for a whole lease. */
const isSilent = (group: Group, now: Mono): boolean =>
  now >= group.silentUntil && silenceOf(group, now) > group.policy.lease

/** We have voted for somebody who did not take over, and may promise nothing to the primary since. */
const isUnserved = ({ voted, epoch, primary }: Group): boolean =>
  voted.epoch > epoch && voted.primary !== primary

/** One that this process, which has just been started, has not heard yet may still connect: agents do not come at once. */
function hasFallenSilent(group: Group, instance: InstanceId, now: Mono): boolean {
  const member = group.members.get(instance)
  const mayConnect =
    member !== undefined && member.sentAt === undefined && between(member.heardAt, now) < CONNECT_WITHIN
  return isSilent(group, now) && !mayConnect
}

const hasResigned = ({ members, primary, epoch }: Group): boolean =>
  primary !== undefined && (members.get(primary)?.resigned ?? 0) >= epoch

const isOver = (group: Group, now: Mono): boolean =>
  (group.primary !== undefined && group.members.get(group.primary)?.gone === true) || mayReplace(group, now)

/**
 * The primary may be replaced: its lease from us has run out, the successor could take over, and does not hear it
 * either.
 */
function mayReplace(group: Group, now: Mono): boolean {
  const { promise, certificate, primary } = group
  const successor = certificate?.proposal.successor ?? undefined
  if (successor === undefined || !isSilent(group, now)) return false
  if (promise !== undefined && promise.to === primary && now < promise.until) return false
  const target = readyTargets(group, now).find(({ instance }) => instance === successor)
  return target !== undefined && !target.hears
}

function callOff(
  group: Group,
  phase: Phase & { kind: 'handing-over' },
  primary: InstanceId,
  context: GroupContext,
): GroupStep {
  const abort: GroupEffect = {
    kind: 'order',
    instance: primary,
    order: { kind: 'abort-hand-over', epoch: group.epoch },
  }
  return after([abort], giveUpHandOver(group, phase, 'the hand-over took too long', context))
}

/** A member that missed its heartbeats is looked up in the cloud: its word saves the wait for the lease. */
function doubt(group: Group, instance: InstanceId, now: Mono): GroupEffect[] {
  const member = group.members.get(instance)
  if (!member || member.gone) return []
  const silent = between(member.heardAt, now) > SUSPECT_AFTER_BEATS * group.policy.heartbeat
  return silent ? [{ kind: 'check-instance', instance }] : []
}
