import type { InstanceId } from '../core/ids.ts'
import type { Mono } from '../core/time.ts'
import {
  type Certificate,
  COORDINATOR,
  isElected,
  type Proposal,
  type VoterId,
  votersOf,
} from './certificate.ts'
import { considerNotice, handOver } from './group-change.ts'
import { offer, votesFor } from './group-election.ts'
import {
  after,
  fenceOrder,
  handOverTargets,
  openIncident,
  patchMember,
  quiet,
  released,
} from './group-orders.ts'
import { unheard } from './group-restore.ts'
import type {
  Group,
  GroupContext,
  GroupEffect,
  GroupEvent,
  GroupStep,
  OpenChange,
  OpenIncident,
  Then,
} from './group-types.ts'
import { promiseEnd } from './lease.ts'
import type { ElectionExtras } from './voter-types.ts'

/** What follows from a certificate, whether our vote completed it or others have made it without us. */

/** Our vote is in the database: it counts from now on. */
export function onVoted(
  group: Group,
  event: GroupEvent & { kind: 'voted' },
  context: GroupContext,
): GroupStep {
  const { phase, casting } = group
  if (casting?.epoch !== event.epoch) return quiet(group)
  const voted = group.voted.epoch > casting.epoch ? group.voted : casting
  const counted: Group = { ...group, voted, casting: undefined }
  // Meanwhile others have decided.
  if (phase.kind !== 'voting' || phase.change.proposal.epoch !== event.epoch) return quiet(counted)
  const { proposal } = phase.change
  const own = { voter: COORDINATOR, signature: event.signature, echo: null } as const
  const change: OpenChange = { ...phase.change, votes: [...phase.change.votes, own] }
  const promised: Group = {
    ...counted,
    promise: { to: proposal.primary, until: promiseEnd(context.now, group.policy) },
  }
  const voters = new Set<VoterId>(change.votes.map(({ voter }) => voter))
  if (!isElected(proposal, group.certificate, voters)) return offer(promised, change, context)
  const certificate: Certificate = {
    proposal,
    digest: context.digest(proposal),
    votes: change.votes.map(({ voter, signature }) => ({ voter, signature })),
  }
  const message = votesFor(promised, change)
  const isNew = change.then.kind === 'promote'
  const told: GroupEffect[] = isNew ? [{ kind: 'tell', instance: proposal.primary, message }] : []
  const next = certified(promised, certificate, change.then, context)
  const { phase: now } = next.group
  const offered: Group =
    now.kind === 'promoting' ? { ...next.group, phase: { ...now, offer: message } } : next.group
  return after(told, { group: offered, effects: next.effects })
}

/** What a member has kept: all but the newest is only for the records. */
export function learnChain(group: Group, chain: readonly Certificate[], context: GroupContext): GroupStep {
  const newest = chain.at(-1)
  if (!newest) return quiet(group)
  const older = chain.slice(0, -1).map((certificate, index): GroupEffect => {
    const previous = chain[index - 1]?.proposal.primary
    return { kind: 'record', certificate, facts: { previous, incident: undefined, fresh: false } }
  })
  return after(older, learn(group, newest, undefined, context))
}

/** G6: others have made it, or it is from before our database was restored. */
export function learn(
  group: Group,
  certificate: Certificate,
  extras: ElectionExtras | undefined,
  context: GroupContext,
): GroupStep {
  const { proposal } = certificate
  if (certificate.digest === group.certificate?.digest) return quiet(group)
  // Of the same epoch with other content: whoever records it finds that out.
  if (proposal.epoch <= group.epoch) {
    const facts = { previous: undefined, incident: undefined, fresh: false }
    return quiet(group, { kind: 'record', certificate, facts })
  }
  const moves = proposal.primary !== group.primary
  const isNewTerm = proposal.term !== group.certificate?.proposal.term
  const { incident, opened } = moves
    ? incidentOf(group, certificate, extras, context)
    : { incident: openIncident(group), opened: [] }
  const then: Then = isNewTerm
    ? { kind: 'promote', incident, fresh: extras?.fresh ?? false, attempt: 0 }
    : { kind: 'steady' }
  const facts = { previous: group.primary, incident, fresh: extras?.fresh ?? false }
  const known: Group = {
    ...group,
    members: withVoters(group, proposal, context.now),
    voted:
      group.voted.epoch >= proposal.epoch
        ? group.voted
        : { epoch: proposal.epoch, primary: proposal.primary },
    promise: hasVotedPast(group, proposal)
      ? group.promise
      : { to: proposal.primary, until: promiseEnd(context.now, group.policy) },
  }
  return after(
    [...opened, { kind: 'record', certificate, facts }],
    certified(known, certificate, then, context),
  )
}

/** Who may vote on what follows, also one that was let go before this was heard of: the cloud can be asked about it. */
function withVoters({ members }: Group, { primary, successor }: Proposal, now: Mono): Group['members'] {
  const strangers = [primary, successor].filter((id) => id !== null && !members.has(id)) as InstanceId[]
  if (strangers.length === 0) return members
  const met = strangers.map((id) => [id, { ...unheard(id, now), left: id !== primary }] as const)
  return new Map([...members, ...met])
}

/** We have voted for somebody else in a later epoch, and what we promised with that still holds. */
const hasVotedPast = ({ voted, promise }: Group, { epoch, primary }: Proposal): boolean =>
  voted.epoch > epoch && voted.primary !== primary && promise !== undefined && promise.to === voted.primary

/** The incident that a change belongs to which we did not bring about: ours if one is open, else its own. */
function incidentOf(
  group: Group,
  { votes }: Certificate,
  extras: ElectionExtras | undefined,
  { newIncident }: GroupContext,
): { incident: OpenIncident | undefined; opened: GroupEffect[] } {
  const open = openIncident(group)
  if (open || group.primary === undefined) return { incident: open, opened: [] }
  const gaveUp = votes.some(({ voter }) => voter === group.primary)
  const incident: OpenIncident = {
    id: extras?.incident ?? newIncident(),
    trigger: gaveUp ? (extras?.planned ? 'planned' : 'notice') : 'silence',
    instance: group.primary,
    by: undefined,
    keepOld: true,
  }
  return { incident, opened: [{ kind: 'incident-opened', incident }] }
}

/** The newest certificate is another one from now on. */
function certified(group: Group, certificate: Certificate, then: Then, context: GroupContext): GroupStep {
  const { primary: previous } = group
  const { epoch, primary } = certificate.proposal
  const owned: Group = { ...group, certificate, epoch, primary, members: withoutLeft(group, certificate) }
  const spread: GroupEffect[] = [...owned.members.values()]
    .filter(({ connected, instance }) => connected && (instance !== primary || then.kind !== 'promote'))
    .map(({ instance }) => ({ kind: 'tell', instance, message: { kind: 'certificate', certificate } }))
  switch (then.kind) {
    case 'steady':
      return after(spread, resume({ ...owned, phase: { kind: 'steady' } }, context))
    case 'hand-over':
      return after(
        spread,
        handOver({ ...owned, phase: { kind: 'steady' } }, then.incident, then.target, context),
      )
    case 'promote': {
      const { incident, fresh, attempt } = then
      const moves = previous !== undefined && previous !== primary
      // Its own report of it may come after the certificate, or never.
      const gaveUp = moves && certificate.votes.some(({ voter }) => voter === previous)
      const retired = moves && incident !== undefined && !incident.keepOld && previous === incident.instance
      const known = gaveUp ? released(owned, previous) : owned
      const promoting: Group = patchMember(
        patchMember(
          {
            ...known,
            phase: { kind: 'promoting', target: primary, fresh, incident, attempt, offer: undefined },
            ...(moves ? { wasUp: false } : stillVouched(group, certificate)),
            // It is what the promotion is about from now on, and ends with it.
            waiting: undefined,
          },
          moves ? previous : undefined,
          { retired, attached: false },
        ),
        primary,
        { sync: 'unknown', released: false, retired: false, hadCopy: true },
      )
      const moved: GroupEffect[] = moves
        ? [fenceOrder(promoting, previous), { kind: 'drain-address', epoch }]
        : []
      return quiet(promoting, ...spread, ...moved)
    }
  }
}

/** A primary that gets another term for itself has said what it has said. */
const stillVouched = ({ certificate: before, vouchedIn }: Group, { proposal }: Certificate) =>
  before !== undefined && vouchedIn >= before.proposal.term ? { vouchedIn: proposal.term } : {}

/** Who has left is forgotten once it has no vote any more. */
const withoutLeft = ({ members }: Group, { proposal }: Certificate): Group['members'] =>
  [...members.values()].some(({ left }) => left)
    ? new Map([...members].filter(([id, { left }]) => !left || votersOf(proposal).includes(id)))
    : members

/** What had to wait for the change. */
function resume(group: Group, context: GroupContext): GroupStep {
  const { waiting } = group
  if (!waiting) return considerNotice(group, context)
  if (waiting.trigger === 'silence') return quiet(group)
  const [target] = handOverTargets(group, context.now)
  return target ? handOver(group, waiting, target.instance, context) : quiet(group)
}
