import type { InstanceId } from '../core/ids.ts'
import { type Mono, millis } from '../core/time.ts'
import { type Certificate, COORDINATOR, type Proposal, type VoterId } from './certificate.ts'
import { leaseEnd, promiseEnd } from './lease.ts'
import type { Lease } from './member-types.ts'
import type { Voter, VoterEffect, VoterMessage, VoterStep } from './voter-types.ts'

/** Promises that are given, and leases that are had from them. */

export const step = (voter: Voter, ...effects: VoterEffect[]): VoterStep => ({ voter, effects })

/** Primary by the newest certificate, and not resigned: an office lasts for a term, under whatever epochs. */
export const inOffice = ({ self, record: { certificate, resigned, voted } }: Voter): boolean =>
  certificate !== undefined &&
  certificate.proposal.primary === self &&
  resigned < certificate.proposal.term &&
  (voted.epoch <= certificate.proposal.epoch || voted.primary === self)

/**
 * What allows the workload to run. With a successor, the longer of the two leases; without one, nobody could be
 * elected in our place. While a change of successor is open, the shorter of what each of both outcomes would give.
 */
export function leaseOf(voter: Voter): Lease {
  const { certificate, pending } = voter.record
  if (!certificate || !inOffice(voter)) return { kind: 'none' }
  const ends = [certificate.proposal, ...(pending ? [pending] : [])].map((configuration) =>
    leaseUnder(voter, configuration),
  )
  const end = Math.min(...ends)
  if (end === Number.POSITIVE_INFINITY) return { kind: 'solo' }
  return end === Number.NEGATIVE_INFINITY ? { kind: 'none' } : { kind: 'until', at: end as Mono }
}

function leaseUnder({ leases }: Voter, { successor }: Proposal): number {
  if (successor === null) return Number.POSITIVE_INFINITY
  return Math.max(
    leases.get(COORDINATOR) ?? Number.NEGATIVE_INFINITY,
    leases.get(successor) ?? Number.NEGATIVE_INFINITY,
  )
}

/**
 * Enough of it is left to begin something: until another heartbeat could be answered. What is begun with less is ended
 * again as soon as one answer is late.
 */
export const isLive = (voter: Voter, now: Mono): boolean => {
  const lease = leaseOf(voter)
  const { heartbeat, fenceBudget, lease: whole } = voter.policy
  const enough = fenceBudget + Math.min(heartbeat, Math.max(0, whole - fenceBudget) / 2)
  return lease.kind === 'solo' || (lease.kind === 'until' && now < lease.at - enough)
}

/** To everybody, and so a lease for whoever of them answers. */
export function beatOf(voter: Voter, now: Mono): VoterEffect[] {
  const { record, promise, self } = voter
  const epoch = record.certificate?.proposal.epoch ?? 0
  const hears = promise !== undefined && now < promise.until && promise.to !== self
  const office = inOffice(voter)
  const message: VoterMessage = { kind: 'beat', epoch, sentAt: now, hears, office }
  const all: VoterEffect[] = office ? [{ kind: 'broadcast', message }] : []
  return [{ kind: 'send', to: COORDINATOR, message }, ...all]
}

/** `promise` is what its giver counts, which may have been told other terms than we. */
export function withLease(voter: Voter, from: VoterId, sentAt: Mono, promise = voter.policy.lease): Voter {
  const { lease, drift } = voter.policy
  const end = leaseEnd(sentAt, millis(Math.min(lease, promise)), drift)
  if (end <= (voter.leases.get(from) ?? Number.NEGATIVE_INFINITY)) return voter
  return { ...voter, leases: new Map(voter.leases).set(from, end) }
}

export const promiseTo = (voter: Voter, to: InstanceId, now: Mono): Voter => ({
  ...voter,
  promise: { to, until: promiseEnd(now, voter.policy) },
})

/** Somebody says that it is primary: a promise, unless we know better. */
export function onBeat(
  voter: Voter,
  from: VoterId,
  beat: VoterMessage & { kind: 'beat' },
  now: Mono,
): VoterStep {
  if (from === COORDINATOR) return step(voter)
  const { certificate, voted } = voter.record
  const current = certificate?.proposal
  const isPrimary = current?.primary === from && beat.epoch >= current.term && beat.epoch <= current.epoch
  if (!isPrimary || (voted.epoch > current.epoch && voted.primary !== from))
    return step(voter, { kind: 'send', to: from, message: behind(voter) })
  const late = beat.epoch < current.epoch ? [tell(from, certificate)] : []
  return step(promiseTo(voter, from, now), ...late, {
    kind: 'send',
    to: from,
    message: { kind: 'ack', epoch: beat.epoch, sentAt: beat.sentAt, at: now, promise: voter.policy.lease },
  })
}

export const behind = ({ record }: Voter): VoterMessage => ({
  kind: 'behind',
  voted: record.voted.epoch,
  certificate: record.certificate ?? null,
})

export const tell = (to: VoterId, certificate: Certificate | undefined): VoterEffect => ({
  kind: 'send',
  to,
  message: certificate
    ? { kind: 'certificate', certificate }
    : { kind: 'behind', voted: 0, certificate: null },
})

/** The answer to a heartbeat of ours of this term. What was sent before a doubt of the clock counts no more. */
export function onAck(voter: Voter, from: VoterId, ack: VoterMessage & { kind: 'ack' }, now: Mono): Voter {
  const { certificate } = voter.record
  const known = { ...voter, echoes: new Map(voter.echoes).set(from, ack.at) }
  if (!certificate || !inOffice(voter) || now < voter.quietUntil || ack.sentAt > now) return known
  const { term, epoch } = certificate.proposal
  if (ack.epoch < term || ack.epoch > epoch) return known
  return withLease(known, from, ack.sentAt, ack.promise)
}
