import type { InstanceId } from '../core/ids.ts'
import { type Mono, plus } from '../core/time.ts'
import { type Certificate, renewal, turnover, type VoterId } from './certificate.ts'
import { type LeasePolicy, silenceAfterRestart } from './lease.ts'
import { lengthen, onAsk, onVote, onVotes, tryCandidate } from './voter-elections.ts'
import { beatOf, inOffice, isLive, onAck, onBeat, promiseTo, step, tell } from './voter-leases.ts'
import type {
  ElectionExtras,
  Voter,
  VoterContext,
  VoterEffect,
  VoterEvent,
  VoterMessage,
  VoterRecord,
  VoterStep,
} from './voter-types.ts'

export { inOffice, leaseOf } from './voter-leases.ts'
export type * from './voter-types.ts'

export const NO_EXTRAS: ElectionExtras = { incident: null, fresh: false }
const NOTHING: VoterRecord = {
  certificate: undefined,
  chain: [],
  voted: { epoch: 0, primary: undefined, digest: '' },
  pending: undefined,
  resigned: 0,
}

/**
 * A voter as it starts. With a record it has been one before: it is quiet until every promise that it may have given
 * has run out, and never goes on in an office that it held.
 */
export function startVoter(
  self: InstanceId,
  stored: VoterRecord | undefined,
  policy: LeasePolicy,
  now: Mono,
): Voter {
  const record = stored ?? NOTHING
  const held = record.certificate?.proposal.primary === self ? record.certificate.proposal.epoch : 0
  return {
    self,
    record: { ...record, resigned: Math.max(record.resigned, held, record.pending?.epoch ?? 0) },
    promise: undefined,
    quietUntil: stored ? plus(now, silenceAfterRestart(policy)) : now,
    leases: new Map(),
    echoes: new Map(),
    candidate: undefined,
    released: undefined,
    announced: 0,
    extras: NO_EXTRAS,
    policy,
  }
}

/** One event in, the new state and what to do out. Pure apart from signing. */
export function stepVoter(voter: Voter, event: VoterEvent, context: VoterContext): VoterStep {
  const { voter: next, effects } = onEvent(voter, event, context)
  return announce(next, effects, context.now)
}

/** Tells the role once per term that it may begin: as soon as there is a certificate and a lease with it. */
function announce(voter: Voter, effects: readonly VoterEffect[], now: Mono): VoterStep {
  const { certificate } = voter.record
  if (!certificate || !inOffice(voter) || voter.announced >= certificate.proposal.term || !isLive(voter, now))
    return { voter, effects }
  return {
    voter: { ...voter, announced: certificate.proposal.term },
    effects: [...effects, { kind: 'elected', certificate, extras: voter.extras }],
  }
}

function onEvent(voter: Voter, event: VoterEvent, context: VoterContext): VoterStep {
  switch (event.kind) {
    case 'message':
      return onMessage(voter, event.from, event.message, context)
    case 'pulse':
      return onPulse(voter, context)
    case 'release':
      return onRelease(voter, event, context)
    case 'resign':
      return onResign(voter, event.epoch)
    case 'campaign':
      return onCampaign(voter, context)
    case 'tilt':
      return step({
        ...voter,
        leases: new Map(),
        quietUntil: plus(context.now, silenceAfterRestart(voter.policy)),
      })
  }
}

function onMessage(voter: Voter, from: VoterId, message: VoterMessage, context: VoterContext): VoterStep {
  switch (message.kind) {
    case 'beat':
      return onBeat(voter, from, message, context.now)
    case 'ack':
      return step(onAck(voter, from, message, context.now))
    case 'behind':
      return onBehind(voter, from, message, context)
    case 'certificate':
      return adopt(voter, message.certificate, context)
    case 'votes':
      return onVotes(voter, from, message, context, adopt)
    case 'ask':
      return onAsk(voter, from, message, context, adopt)
    case 'vote':
      return onVote(voter, from, message, context)
    case 'declined':
      return step(voter)
  }
}

/** Whoever answers so knows a later certificate than we do, or an earlier one. */
function onBehind(
  voter: Voter,
  from: VoterId,
  { certificate }: VoterMessage & { kind: 'behind' },
  context: VoterContext,
): VoterStep {
  const own = voter.record.certificate
  if (certificate && certificate.proposal.epoch > (own?.proposal.epoch ?? 0))
    return adopt(voter, certificate, context)
  const older = own !== undefined && (certificate?.proposal.epoch ?? 0) < own.proposal.epoch
  return step(voter, ...(older ? [tell(from, own)] : []))
}

/** A later certificate than ours counts, whoever brings it. */
export function adopt(voter: Voter, certificate: Certificate, { now }: { now: Mono }): VoterStep {
  const { record, self } = voter
  const known = record.certificate?.proposal
  const { epoch, primary, term, successor } = certificate.proposal
  if (known && epoch <= known.epoch) return step(voter)
  const held = inOffice(voter)
  const isOpen = record.pending !== undefined && record.pending.epoch > epoch
  const next: VoterRecord = {
    ...record,
    certificate,
    chain: lengthen(record.chain, certificate),
    voted: record.voted.epoch >= epoch ? record.voted : { epoch, primary, digest: certificate.digest },
    pending: isOpen ? record.pending : undefined,
  }
  const adopted: Voter = {
    ...voter,
    record: next,
    candidate: undefined,
    released: undefined,
    // Who has just learned that it votes knows nothing of earlier promises.
    ...(successor === self ? { promise: promiseTo(voter, primary, now).promise } : {}),
    leases: primary === self ? voter.leases : new Map(),
  }
  const kept: VoterEffect = { kind: 'persist', record: next }
  if (held && primary === self && known?.term === term)
    return step(adopted, kept, { kind: 'advanced', certificate })
  const lost: VoterEffect[] =
    known?.primary === self && primary !== self ? [{ kind: 'deposed', certificate }] : []
  return step({ ...adopted, leases: new Map(), extras: NO_EXTRAS }, kept, ...lost)
}

/** Heartbeats, votes that were not taken yet, and another look at a candidacy. */
function onPulse(voter: Voter, context: VoterContext): VoterStep {
  const { released } = voter
  const effects = beatOf(voter, context.now)
  if (released) effects.push({ kind: 'send', to: released.proposal.primary, message: released })
  const tried = tryCandidate(voter, context)
  return { voter: tried.voter, effects: [...effects, ...tried.effects] }
}

/** The vote of a frozen primary for its successor; there is no way back from it. */
function onRelease(
  voter: Voter,
  { turn, target, extras }: VoterEvent & { kind: 'release' },
  { now, sign, digest }: VoterContext,
): VoterStep {
  const { certificate, voted, pending } = voter.record
  const refuse = (why: string): VoterStep =>
    step(voter, { kind: 'released', turn, ok: false, why, vote: undefined })
  if (!certificate || !inOffice(voter)) return refuse('this instance does not have the epoch any more')
  if (pending) return refuse('a change of successor is open: the coordinator has not said whether it took it')
  if (certificate.proposal.successor !== target) return refuse(`${target} is not the successor`)
  const proposal = turnover(certificate, Math.max(voted.epoch, certificate.proposal.epoch) + 1)
  if (!proposal) return refuse('there is no successor')
  const echo = voter.echoes.get(target) ?? null
  const vote = { voter: voter.self, signature: sign(proposal), echo, promise: voter.policy.lease }
  const record: VoterRecord = {
    ...voter.record,
    voted: { epoch: proposal.epoch, primary: target, digest: digest(proposal) },
    resigned: Math.max(voter.record.resigned, certificate.proposal.epoch),
  }
  const message = {
    kind: 'votes' as const,
    proposal,
    base: certificate,
    votes: [vote],
    gone: [],
    extras,
  }
  return step(
    promiseTo({ ...voter, record, released: message, leases: new Map() }, target, now),
    { kind: 'persist', record },
    { kind: 'send', to: target, message },
    { kind: 'released', turn, ok: true, why: '', vote: { proposal, vote } },
  )
}

function onResign(voter: Voter, epoch: number): VoterStep {
  const { pending } = voter.record
  // A change of successor that is still open would be the same office under another number.
  const resigned = Math.max(epoch, pending?.epoch ?? 0)
  if (resigned <= voter.record.resigned) return step(voter)
  const record = { ...voter.record, resigned }
  return step({ ...voter, record, candidate: undefined }, { kind: 'persist', record })
}

/** Only for a primary that has lost its office by a restart: it has the state, and asks the successor for another epoch. */
function onCampaign(voter: Voter, { now, sign, digest }: VoterContext): VoterStep {
  const { certificate, voted } = voter.record
  if (!certificate || certificate.proposal.primary !== voter.self || inOffice(voter)) return step(voter)
  const { successor } = certificate.proposal
  if (successor === null || now < voter.quietUntil || voter.record.pending) return step(voter)
  if (voter.promise && voter.promise.to !== voter.self && now < voter.promise.until) return step(voter)
  const proposal = renewal(certificate, Math.max(voted.epoch, certificate.proposal.epoch) + 1)
  const vote = { voter: voter.self, signature: sign(proposal), echo: null }
  const record: VoterRecord = {
    ...voter.record,
    voted: { epoch: proposal.epoch, primary: voter.self, digest: digest(proposal) },
  }
  return step(
    { ...voter, record, candidate: { proposal, votes: [vote], gone: [], extras: NO_EXTRAS } },
    { kind: 'persist', record },
    {
      kind: 'send',
      to: successor,
      message: { kind: 'ask', proposal, base: certificate, gone: [], sentAt: now },
    },
  )
}
