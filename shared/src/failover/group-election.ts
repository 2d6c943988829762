import type { InstanceId } from '../core/ids.ts'
import { between, type Mono, millis, plus } from '../core/time.ts'
import {
  type CastVote,
  type Certificate,
  COORDINATOR,
  firstProposal,
  forcedChange,
  isElected,
  type Proposal,
  renewal,
  succession,
  turnover,
  type VoterId,
  votersOf,
} from './certificate.ts'
import { mayBeWhole, quiet } from './group-orders.ts'
import type {
  Group,
  GroupContext,
  GroupEffect,
  GroupMember,
  GroupStep,
  OpenChange,
  Phase,
  Then,
} from './group-types.ts'
import { promiseEnd } from './lease.ts'

/** How the coordinator brings a change of epoch about: whom it asks, when it votes itself. */

/** What was asked is asked again after this, because an answer may have been lost or may have been "not yet". */
const AGAIN = millis(250)
/** More epochs than the two others can have made without us before they ended. */
const UNSEEN_EPOCHS = 100
/** Nobody has voted in an epoch as late as this. */
const CREDIBLE = 2 ** 50
/** A vote that does not come within this is not waited for. */
const PATIENCE = millis(5000)

/**
 * Makes `target` the primary of a new epoch, by the votes that this takes; undefined while they cannot be had.
 *
 * The successor needs ours and its own; the primary itself needs its own and ours. Anybody else can only be forced in,
 * when every other voter has ended or has resigned, or consents because it has no whole copy of the state.
 */
export function elect(
  group: Group,
  target: InstanceId,
  then: Then & { kind: 'promote' },
  context: GroupContext,
): GroupStep | undefined {
  const { certificate: base, members } = group
  const key = members.get(target)?.key ?? base?.proposal.keys[target]
  if (key === undefined) return undefined
  const gone = goneVoters(group)
  if (!base) {
    const proposal = firstProposal(group.agent, nextEpoch(group), target, {
      [COORDINATOR]: group.key,
      [target]: key,
    })
    return vote(group, { proposal, votes: [], gone, then }, context)
  }
  const epoch = nextEpoch(group)
  const { primary, successor } = base.proposal
  if (target === primary)
    return ask(group, target, { proposal: renewal(base, epoch), votes: [], gone, then }, context)
  const proposal = target === successor ? turnover(base, epoch) : undefined
  if (proposal) return vote(group, { proposal, votes: [], gone, then }, context)
  const unknown = epoch + UNSEEN_EPOCHS
  const forced = { proposal: forcedChange(base, unknown, { instance: target, key }), votes: [], gone, then }
  return force(group, base, forced, context)
}

/**
 * A resignation is of one epoch only: with the vote of the other, who resigned may have made a later one of which we know
 * nothing. So both must have ended, or one of them must agree; and as long as the primary has not resigned there is nothing
 * to force. Whoever agrees has voted, and takes part in nothing lower any more.
 */
function force(
  group: Group,
  { proposal: { primary, successor } }: Certificate,
  change: OpenChange,
  context: GroupContext,
): GroupStep | undefined {
  const { members } = group
  if (!change.gone.includes(primary)) return undefined
  if (successor === null) return vote(group, change, context)
  const heir = members.get(successor)
  const isLeft = heir !== undefined && !heir.gone
  // It has what was vouched for: it is elected itself, or waited for.
  if (isLeft && mayBeWhole(heir)) return undefined
  const consenting = isLeft ? heir : members.get(primary)
  if (!consenting || consenting.gone) return vote(group, change, context)
  if (!consenting.connected) return undefined
  const ended = change.gone.filter((id) => id !== consenting.instance)
  return ask(group, consenting.instance, { ...change, gone: ended }, context)
}

/** Makes `instance` the successor, or nobody. The primary votes first, so our own vote completes it. */
export function designate(
  group: Group,
  instance: InstanceId | undefined,
  then: Then,
  context: GroupContext,
): GroupStep | undefined {
  const { certificate: base, members } = group
  if (!base) return undefined
  const key = instance === undefined ? undefined : members.get(instance)?.key
  if (instance !== undefined && key === undefined) return undefined
  const next = instance === undefined || key === undefined ? undefined : { instance, key }
  const proposal = succession(base, nextEpoch(group), next)
  return ask(group, base.proposal.primary, { proposal, votes: [], gone: [], then }, context)
}

/** Later than every vote that we know of. What a broken member claims must not use up the numbers for good. */
function nextEpoch({ epoch, voted, casting, members }: Group): number {
  const claimed = [...members.values()].map((member) => member.voted).filter((said) => said < CREDIBLE)
  return Math.max(epoch, voted.epoch, casting?.epoch ?? 0, ...claimed) + 1
}

/** Voters of the newest certificate that can never act on it any more. */
const goneVoters = ({ certificate, members, epoch }: Group): InstanceId[] =>
  (certificate ? votersOf(certificate.proposal) : []).filter((id): id is InstanceId => {
    const member = id === COORDINATOR ? undefined : members.get(id)
    return member !== undefined && (member.gone || member.resigned >= epoch)
  })

function ask(group: Group, of: InstanceId, change: OpenChange, { now }: GroupContext): GroupStep {
  const phase = {
    kind: 'asking' as const,
    change,
    of,
    againAt: plus(now, AGAIN),
    giveUpAt: plus(now, PATIENCE),
  }
  return quiet({ ...group, phase, waiting: stillWaiting(group, change) }, question(group, of, change))
}

/** What waits for a replica is not what a change of successor is about. */
const stillWaiting = ({ waiting }: Group, { then }: OpenChange) =>
  then.kind === 'steady' ? waiting : undefined

const question = (group: Group, of: InstanceId, { proposal, gone }: OpenChange): GroupEffect => ({
  kind: 'tell',
  instance: of,
  message: { kind: 'ask', proposal, base: group.certificate ?? null, gone, sentAt: null },
})

/** Gives our own vote as soon as we may. */
export function vote(group: Group, change: OpenChange, { now }: GroupContext): GroupStep {
  // A certificate for a stranger would leave the agent without anybody who can be told.
  if (!group.members.has(change.proposal.primary)) return quiet(group)
  const isFree = mayVote(group, change, now)
  const next: Group = {
    ...group,
    phase: { kind: 'voting', change, isBeingWritten: isFree },
    waiting: stillWaiting(group, change),
  }
  if (!isFree) return quiet(next)
  const { proposal, votes, then } = change
  const casting = { epoch: proposal.epoch, primary: proposal.primary }
  const all = new Set<VoterId>([...votes.map(({ voter }) => voter), COORDINATOR])
  const completes = isElected(proposal, group.certificate, all)
  const facts = {
    previous: group.primary,
    incident: then.kind === 'steady' ? undefined : then.incident,
    fresh: then.kind === 'promote' && then.fresh,
  }
  return quiet({ ...next, casting }, { kind: 'vote', proposal, votes, record: completes ? facts : undefined })
}

/** G1 and G2. */
function mayVote(group: Group, { proposal, votes, gone }: OpenChange, now: Mono): boolean {
  const { promise, voted, casting, silentUntil, certificate, abstainFor } = group
  // What it resigned from is not the epoch that we voted for since.
  const isVoid = (holder: InstanceId): boolean =>
    gone.includes(holder) && (voted.primary !== holder || voted.epoch <= group.epoch)
  // One at a time: what comes of the last is not known yet.
  if (casting || proposal.epoch <= voted.epoch || abstainFor.size > 0) return false
  const agrees = (holder: InstanceId | undefined): boolean =>
    holder === undefined ||
    holder === proposal.primary ||
    votes.some(({ voter }) => voter === holder) ||
    isVoid(holder)
  // Whom an earlier process of ours may have promised to; and who that was is not known where an epoch has been missed,
  // but for a forced one: then everybody who could have been it has ended, or consents.
  const hasMissed = !proposal.forced && proposal.epoch > Math.max(group.epoch, voted.epoch) + 1
  const isSafe = !hasMissed && agrees(certificate?.proposal.primary) && agrees(voted.primary)
  if (now < silentUntil && !isSafe) return false
  return promise === undefined || now >= promise.until || agrees(promise.to)
}

/** Another look at a change that waits for votes; undefined when it is to be given up. */
export function onChangeTick(group: Group, context: GroupContext): GroupStep | undefined {
  const { phase } = group
  const { now } = context
  switch (phase.kind) {
    case 'voting':
      return onVotingTick(group, phase, context)
    case 'asking': {
      const member = group.members.get(phase.of)
      if (now >= phase.giveUpAt || !member || member.gone) return undefined
      if (isLost(group, phase, member, now)) return undefined
      if (now < phase.againAt) return quiet(group)
      return quiet(
        { ...group, phase: { ...phase, againAt: plus(now, AGAIN) } },
        question(group, phase.of, phase.change),
      )
    }
    case 'electing': {
      const { proposal } = phase.change
      const candidate = group.members.get(proposal.primary)
      const old = group.primary === undefined ? undefined : group.members.get(group.primary)
      const isBack =
        candidate?.hears === true &&
        old !== undefined &&
        old.resigned < group.epoch &&
        old.heardAt > phase.since
      if (now >= phase.giveUpAt || !candidate || candidate.gone || isBack) return undefined
      return now < phase.againAt ? quiet(group) : offer(group, phase.change, context)
    }
    default:
      return quiet(group)
  }
}

/** Whose vote for another successor is waited for has fallen silent: it may have to be replaced itself. */
const isLost = (
  { silentUntil, policy }: Group,
  { change }: Phase & { kind: 'asking' },
  { heardAt }: GroupMember,
  now: Mono,
): boolean => change.then.kind !== 'promote' && now >= silentUntil && between(heardAt, now) > policy.lease

function onVotingTick(
  group: Group,
  { isBeingWritten, change }: Phase & { kind: 'voting' },
  context: GroupContext,
): GroupStep | undefined {
  if (isBeingWritten) return quiet(group)
  // It was let go, or has ended, before our vote for it.
  const candidate = group.members.get(change.proposal.primary)
  if (!candidate || candidate.gone) return undefined
  const owner = group.primary === undefined ? undefined : group.members.get(group.primary)
  const isReplaced = change.proposal.primary !== group.primary
  // It was lost, we thought, and it is not: nobody is to take its place.
  if (isReplaced && owner && isServing(group, owner, change, context.now)) return undefined
  // We have voted in this epoch before, in an earlier process: it takes a later one.
  if (!group.casting && change.proposal.epoch <= group.voted.epoch) return undefined
  return vote(group, change, context)
}

const isServing = (group: Group, owner: GroupMember, { votes, gone }: OpenChange, now: Mono): boolean =>
  !owner.gone &&
  owner.resigned < group.epoch &&
  !gone.includes(owner.instance) &&
  !votes.some(({ voter }) => voter === owner.instance) &&
  between(owner.heardAt, now) < 2 * group.policy.heartbeat

/** Tells the candidate that it has our vote; it counts its lease from its last heartbeat, we ours from now. */
export function offer(group: Group, change: OpenChange, { now }: GroupContext): GroupStep {
  const { proposal } = change
  const since = group.phase.kind === 'electing' ? group.phase.since : now
  const giveUpAt = group.phase.kind === 'electing' ? group.phase.giveUpAt : plus(now, PATIENCE)
  return quiet(
    {
      ...group,
      phase: { kind: 'electing', change, since, againAt: plus(now, AGAIN), giveUpAt },
      promise: { to: proposal.primary, until: promiseEnd(now, group.policy) },
    },
    { kind: 'tell', instance: proposal.primary, message: votesFor(group, change) },
  )
}

export function votesFor(group: Group, { proposal, votes, gone, then }: OpenChange) {
  const sentAt = group.members.get(proposal.primary)?.sentAt ?? null
  const open = then.kind === 'promote' ? then : undefined
  return {
    kind: 'votes' as const,
    proposal,
    base: group.certificate ?? null,
    votes: votes.map(
      (cast): CastVote =>
        cast.voter === COORDINATOR ? { ...cast, echo: sentAt, promise: group.policy.lease } : cast,
    ),
    gone,
    extras: { incident: open?.incident?.id ?? null, fresh: open?.fresh ?? false },
  }
}

/** Whose vote was asked for has given it. */
export function onVoteOf(
  group: Group,
  instance: InstanceId,
  proposal: Proposal,
  cast: CastVote,
  context: GroupContext,
): GroupStep {
  const { phase } = group
  if (phase.kind !== 'asking' || phase.of !== instance || cast.voter !== instance) return quiet(group)
  if (context.digest(proposal) !== context.digest(phase.change.proposal)) return quiet(group)
  return vote(group, { ...phase.change, votes: [...phase.change.votes, cast] }, context)
}

/** It has voted in a later epoch than we knew of: the same question again, with a later one. */
export function onDeclined(
  group: Group,
  instance: InstanceId,
  { epoch, voted }: { epoch: number; voted: number },
  context: GroupContext,
): GroupStep {
  const { phase, certificate } = group
  if (phase.kind !== 'asking' || phase.of !== instance || phase.change.proposal.epoch !== epoch)
    return quiet(group)
  if (voted < epoch || !certificate) return quiet(group)
  const later = nextEpoch(group)
  const { proposal } = phase.change
  const change = {
    ...phase.change,
    proposal: { ...proposal, epoch: later, term: proposal.term === proposal.epoch ? later : proposal.term },
  }
  const asked = ask(group, instance, change, context)
  return asked.group.phase.kind === 'asking'
    ? { ...asked, group: { ...asked.group, phase: { ...asked.group.phase, giveUpAt: phase.giveUpAt } } }
    : asked
}
