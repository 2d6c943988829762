import { mono, plus } from '../../core/time.ts'
import { COORDINATOR } from '../../failover/certificate.ts'
import type { VoterEvent } from '../../failover/voter.ts'
import { clockOf } from './instance.ts'
import type { Instance, World } from './world-parts.ts'

/** Deliberate bugs: what an implementation that got the point wrong would do. */

export function sabotageEvent(world: World, instance: Instance, event: VoterEvent): VoterEvent {
  if (event.kind !== 'message') return event
  const { from, message } = event
  const now = clockOf(world, instance)
  switch (world.sabotage) {
    // LiteFS counted from the reply: one delay of the network too long.
    case 'lease-from-reply':
      return message.kind === 'ack' ? { ...event, message: { ...message, sentAt: now } } : event
    case 'lease-from-hand-over-receipt':
      return message.kind === 'votes'
        ? { ...event, message: { ...message, votes: message.votes.map((vote) => ({ ...vote, echo: now })) } }
        : event
    default:
      return { kind: 'message', from, message }
  }
}

export function sabotageVoter(world: World, instance: Instance, event: VoterEvent): void {
  const { voter } = instance
  const { record, candidate } = voter
  switch (world.sabotage) {
    case 'no-wait-after-restart':
      instance.voter = { ...voter, quietUntil: mono(0) }
      return
    case 'one-lease-during-succession':
      if (record.pending) instance.voter = { ...voter, record: { ...record, pending: undefined } }
      return
    case 'new-successor-knows-no-promise':
      if (event.kind === 'pulse' && voter.promise && voter.promise.until - clockOf(world, instance) > 900)
        instance.voter = { ...voter, promise: undefined }
      return
    case 'late-vote':
      // It does not look whether it has voted for somebody else since.
      if (candidate && record.voted.epoch >= candidate.proposal.epoch)
        instance.voter = {
          ...voter,
          record: {
            ...record,
            voted: {
              epoch: candidate.proposal.epoch,
              primary: instance.id,
              digest: world.digest(candidate.proposal),
            },
          },
        }
      return
    case 'ignore-promise':
      instance.voter = { ...voter, promise: undefined }
      return
    case 'lease-in-doubt':
      if (event.kind === 'message' && event.message.kind === 'votes')
        instance.voter = { ...voter, quietUntil: mono(0) }
      return
    case 'two-of-two':
      // A coordinator that cannot be reached is taken to agree.
      if (event.kind === 'pulse') campaignAlone(world, instance)
      return
    default:
      return
  }
}

function campaignAlone(world: World, instance: Instance): void {
  const { voter } = instance
  const { certificate, voted } = voter.record
  const now = clockOf(world, instance)
  if (certificate?.proposal.successor !== instance.id || voter.candidate) return
  if (!voter.promise || now < plus(voter.promise.until, world.policy.lease) || world.random() > 0.2) return
  const { proposal, digest } = certificate
  const epoch = Math.max(voted.epoch, proposal.epoch) + 1
  instance.voter = {
    ...voter,
    candidate: {
      proposal: {
        ...proposal,
        epoch,
        previous: { epoch: proposal.epoch, digest },
        primary: instance.id,
        successor: proposal.primary,
        term: epoch,
        forced: false,
      },
      votes: [{ voter: COORDINATOR, signature: 'forged', echo: now }],
      gone: [],
      extras: { incident: null, fresh: false },
    },
  }
}
