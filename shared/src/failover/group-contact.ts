import type { InstanceId } from '../core/ids.ts'
import { mono, plus, seconds } from '../core/time.ts'
import type { Certificate } from './certificate.ts'
import { learn, learnChain } from './group-certified.ts'
import { renew, thenPromote } from './group-change.ts'
import { elect, onDeclined, onVoteOf } from './group-election.ts'
import {
  after,
  fenceOrder,
  followOrder,
  handOverOrder,
  patchMember,
  quiet,
  withMember,
} from './group-orders.ts'
import { onPromoted } from './group-promotion.ts'
import type { Group, GroupContext, GroupEffect, GroupEvent, GroupMember, GroupStep } from './group-types.ts'
import { promiseEnd } from './lease.ts'
import type { VoterMessage } from './voter-types.ts'

/** What members say of themselves: when they connect, with each heartbeat, and as voters. */

export function onConnected(
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
    // Until its first heartbeat says otherwise: links come back one after the other.
    hears: true,
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
    return onPromoted(group, { kind: 'promoted', instance, epoch: group.epoch }, context)
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

/** A heartbeat of the primary is answered with a promise, unless we have voted for somebody else. */
export function onBeat(group: Group, event: GroupEvent & { kind: 'beat' }, { now }: GroupContext): GroupStep {
  const { instance, epoch, sentAt, hears, office } = event
  const member = group.members.get(instance)
  if (!member) return quiet(group, fenceOrder(group, instance))
  const isOut = instance === group.primary && epoch === group.epoch && !office
  const resigned = isOut ? group.epoch : member.resigned
  const outSince = isOut ? (member.outSince ?? now) : undefined
  const said = { connected: true, heardAt: now, sentAt, hears, resigned, outSince }
  const heard = withMember(group, { ...member, ...said })
  const { certificate, voted } = heard
  if (!certificate) return quiet(heard)
  const { primary, term } = certificate.proposal
  // Who is out of its office needs no lease, and what it was promised would keep others from being elected.
  const isOwner = office && instance === primary && epoch >= term && epoch <= certificate.proposal.epoch
  const isAhead = voted.epoch > certificate.proposal.epoch
  // It has won with our vote; the certificate is on its way.
  const isWinner = isAhead && voted.primary === instance && epoch === voted.epoch
  const isBound = isAhead && voted.primary !== instance
  if (((isOwner && !isBound) || isWinner) && !isLeaving(heard, instance))
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
  // Votes say nothing to one that has a certificate which ours does not follow: an election that we gave up was won after all.
  const isAside = epoch > certificate.proposal.previous.epoch
  const told: GroupEffect[] = offer ? [{ kind: 'tell', instance, message: offer }] : []
  return quiet(heard, ...(!offer || isAside ? [news(instance, certificate)] : []), ...told)
}

/** Our vote for somebody else is on its way to the disk: what we promise now would not be kept. */
const isLeaving = ({ casting }: Group, instance: InstanceId): boolean =>
  casting !== undefined && casting.primary !== instance

const news = (instance: InstanceId, certificate: Certificate): GroupEffect => ({
  kind: 'tell',
  instance,
  message: { kind: 'certificate', certificate },
})

export function onVoter(
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

/** After a database was restored, agents that were moved meanwhile come one after the other, and find their way again. */
const OUTDATED_SILENCE = seconds(10)

/**
 * Every member must have told what it knows: one alone may have missed a vote of ours. And who follows the primary that
 * we did not know of may have lost its stream with the coordinator that has told it whom to follow: as long as it takes
 * to find it again, nobody is elected for the silence of the primary alone.
 */
export function onOutdated(group: Group, voted: number, { now }: GroupContext): GroupStep {
  const silent = [...group.members.values()].filter((member) => !member.connected && !member.gone)
  const abstainFor = new Set(silent.map(({ instance }) => instance))
  // Who knew of the votes that we have lost may have ended; their numbers are never used again.
  return quiet({
    ...group,
    abstainFor,
    voted: { epoch: Math.max(group.voted.epoch, voted), primary: undefined },
    silentUntil: mono(Math.max(group.silentUntil, plus(now, OUTDATED_SILENCE))),
  })
}
