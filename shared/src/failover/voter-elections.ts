import type { InstanceId } from '../core/ids.ts'
import type { Mono } from '../core/time.ts'
import {
  type CastVote,
  type Certificate,
  COORDINATOR,
  isElected,
  kindOfChange,
  type Proposal,
  type VoterId,
  votersOf,
} from './certificate.ts'
import { beatOf, behind, inOffice, promiseTo, step, tell, withLease } from './voter-leases.ts'
import type { Voter, VoterContext, VoterMessage, VoterRecord, VoterStep } from './voter-types.ts'

/** How votes are asked for, given and counted. */

type Adopt = (voter: Voter, certificate: Certificate, context: VoterContext) => VoterStep

/** First what the message builds on, then the message. */
function onBase(
  voter: Voter,
  base: Certificate | null,
  context: VoterContext,
  adopt: Adopt,
  then: (voter: Voter) => VoterStep,
): VoterStep {
  const known = base ? adopt(voter, base, context) : step(voter)
  const next = then(known.voter)
  return { voter: next.voter, effects: [...known.effects, ...next.effects] }
}

export const onVotes = (
  voter: Voter,
  from: VoterId,
  message: VoterMessage & { kind: 'votes' },
  context: VoterContext,
  adopt: Adopt,
): VoterStep =>
  onBase(voter, message.base, context, adopt, (known) => {
    const { proposal, votes, gone, extras } = message
    const { certificate } = known.record
    if (proposal.primary !== known.self) return step(known)
    // The certificate came another way before; what to do with it did not.
    if (certificate && proposal.epoch === certificate.proposal.epoch)
      return step(known.announced < certificate.proposal.term ? { ...known, extras } : known)
    const kind = kindOfChange(proposal, certificate)
    // A primary votes on its successor when it is asked, and for nothing else.
    const isForced = isForcedOver(proposal, certificate)
    // It follows a certificate that others have outrun: whoever sends it has not heard of ours.
    if (
      kind === undefined &&
      !isForced &&
      certificate &&
      certificate.proposal.epoch > proposal.previous.epoch
    )
      return step(known, { kind: 'send', to: from, message: behind(known) })
    if ((kind === undefined && !isForced) || kind === 'succession') return step(known)
    const { digest } = context
    const isSame = known.candidate && digest(known.candidate.proposal) === digest(proposal)
    const before = isSame ? known.candidate : undefined
    const candidate = {
      proposal,
      votes: merge(before?.votes ?? [], votes),
      gone: [...new Set([...(before?.gone ?? []), ...gone])],
      extras,
    }
    return tryCandidate({ ...known, candidate }, context)
  })

/** The latest echo of each voter counts. */
function merge(known: readonly CastVote[], more: readonly CastVote[]): readonly CastVote[] {
  const votes = new Map(known.map((vote) => [vote.voter, vote]))
  for (const vote of more)
    if ((vote.echo ?? -1) >= (votes.get(vote.voter)?.echo ?? -1)) votes.set(vote.voter, vote)
  return [...votes.values()]
}

/**
 * A forced change that follows an earlier certificate than ours: the voters of that one, who alone can have made what we
 * know, have ended or agreed, so it counts as it would have there.
 */
const isForcedOver = (proposal: Proposal, certificate: Certificate | undefined): boolean =>
  certificate !== undefined &&
  proposal.forced &&
  proposal.successor === null &&
  proposal.term === proposal.epoch &&
  proposal.previous.epoch < certificate.proposal.epoch &&
  proposal.epoch > certificate.proposal.epoch

/** Adds our own vote to those for us as soon as we may give it, and takes office when they are enough. */
export function tryCandidate(voter: Voter, context: VoterContext): VoterStep {
  const { candidate, record, self } = voter
  if (!candidate) return step(voter)
  const { proposal, votes } = candidate
  const { certificate, voted } = record
  const isForced = isForcedOver(proposal, certificate)
  if ((kindOfChange(proposal, certificate) === undefined && !isForced) || record.resigned >= proposal.epoch)
    return step({ ...voter, candidate: undefined })
  const voters = new Set<VoterId>(votes.map((vote) => vote.voter))
  // A vote that was asked for and came late: we may have voted for somebody else since. Votes of the others are enough
  // where our own of this epoch went to another change that would have elected us.
  if (voted.epoch > proposal.epoch || (voted.epoch === proposal.epoch && voted.primary !== self))
    return step({ ...voter, candidate: undefined })
  if (isElected(proposal, certificate, voters) || (isForced && voters.has(COORDINATOR)))
    return win(voter, context)
  const isVoter = certificate !== undefined && votersOf(certificate.proposal).includes(self)
  if (!isVoter || voters.has(self) || !mayVote(voter, proposal, voters, candidate.gone, context.now))
    return step(voter)
  const own: CastVote = { voter: self, signature: context.sign(proposal), echo: null }
  const next: VoterRecord = {
    ...record,
    voted: { epoch: proposal.epoch, primary: self, digest: context.digest(proposal) },
  }
  const cast: Voter = {
    ...voter,
    record: next,
    candidate: { ...candidate, votes: [...votes, own] },
  }
  if (isElected(proposal, certificate, new Set([...voters, self]))) return win(cast, context)
  return step(cast, { kind: 'persist', record: next })
}

/** V1 and V2. The vote of whom we have promised to is its release. */
export function mayVote(
  { record: { voted, certificate }, promise, quietUntil }: Voter,
  proposal: Proposal,
  voters: ReadonlySet<VoterId>,
  gone: readonly InstanceId[],
  now: Mono,
): boolean {
  if (proposal.epoch <= voted.epoch || now < quietUntil) return false
  if (promise === undefined || promise.to === proposal.primary || now >= promise.until) return true
  // What it resigned from is not the epoch that we voted for since.
  const isLater = voted.primary === promise.to && voted.epoch > (certificate?.proposal.epoch ?? 0)
  return voters.has(promise.to) || (gone.includes(promise.to) && !isLater)
}

/** Called with a candidate whose votes are enough. */
function win(voter: Voter, { digest, now }: VoterContext): VoterStep {
  const { candidate, record } = voter
  if (!candidate) return step(voter)
  const { proposal, votes, extras } = candidate
  const certificate: Certificate = {
    proposal,
    digest: digest(proposal),
    votes: votes.map(({ voter: id, signature }) => ({ voter: id, signature })),
  }
  const next: VoterRecord = {
    ...record,
    certificate,
    chain: lengthen(record.chain, certificate),
    voted: { epoch: proposal.epoch, primary: voter.self, digest: digest(proposal) },
    pending: undefined,
  }
  const office: Voter = {
    ...voter,
    record: next,
    candidate: undefined,
    promise: undefined,
    released: undefined,
    leases: new Map(),
    extras,
  }
  // While the clock is in doubt, when something was sent says nothing.
  const echoes = now < voter.quietUntil ? [] : votes
  const leased = echoes.reduce(
    (owner, { voter: from, echo, promise }) =>
      echo === null || echo > now || from === voter.self ? owner : withLease(owner, from, echo, promise),
    office,
  )
  const spread: VoterMessage = { kind: 'certificate', certificate }
  return step(
    leased,
    { kind: 'persist', record: next },
    { kind: 'broadcast', message: spread },
    { kind: 'certified', certificate, extras },
    // What was handed on with the epoch may be old, and the next heartbeat come after its end.
    ...beatOf(leased, now),
  )
}

/** More epochs than this are not kept by a member; the coordinator keeps all. */
const CHAIN = 16

export const lengthen = (chain: readonly Certificate[], next: Certificate): readonly Certificate[] => [
  ...chain.slice(-(CHAIN - 1)),
  next,
]

const isNewer = (own: Certificate | undefined, base: Certificate | null): boolean =>
  own !== undefined && base !== null && own.proposal.epoch > base.proposal.epoch

/** Somebody collects votes for a change that is not about electing us. */
export const onAsk = (
  voter: Voter,
  from: VoterId,
  message: VoterMessage & { kind: 'ask' },
  context: VoterContext,
  adopt: Adopt,
): VoterStep =>
  onBase(voter, message.base, context, adopt, (known) => {
    const { proposal } = message
    const { voted, certificate } = known.record
    // The same question twice gets the same answer.
    const again = voted.epoch === proposal.epoch && voted.digest === context.digest(proposal)
    const why = again ? undefined : refusal(known, from, message, context.now)
    if (why !== undefined)
      return step(
        known,
        // Who asks on an older one has missed what we know.
        ...(isNewer(certificate, message.base) ? [tell(from, certificate)] : []),
        {
          kind: 'send',
          to: from,
          message: {
            kind: 'declined',
            epoch: proposal.epoch,
            voted: Math.max(voted.epoch, known.record.resigned),
            why,
          },
        },
      )
    return cast(known, from, message, certificate, context)
  })

function cast(
  voter: Voter,
  from: VoterId,
  { proposal, sentAt }: VoterMessage & { kind: 'ask' },
  certificate: Certificate | undefined,
  { now, sign, digest }: VoterContext,
): VoterStep {
  const { self, record } = voter
  const isSuccession = kindOfChange(proposal, certificate) === 'succession'
  const next: VoterRecord = {
    ...record,
    voted: { epoch: proposal.epoch, primary: proposal.primary, digest: digest(proposal) },
    // The coordinator asks anew only if it did not take, and never will take, what it asked before.
    pending: isSuccession ? proposal : undefined,
  }
  const bound = proposal.primary === self ? voter : promiseTo(voter, proposal.primary, now)
  return step(
    { ...bound, record: next },
    { kind: 'persist', record: next },
    {
      kind: 'send',
      to: from,
      message: {
        kind: 'vote',
        proposal,
        vote: {
          ...{ voter: self, signature: sign(proposal), promise: voter.policy.lease },
          echo: from === proposal.primary ? sentAt : null,
        },
      },
    },
  )
}

/** Why not, in one sentence; undefined when nothing speaks against it. */
function refusal(
  voter: Voter,
  from: VoterId,
  { proposal, gone }: VoterMessage & { kind: 'ask' },
  now: Mono,
): string | undefined {
  const { self, record } = voter
  const { certificate } = record
  const kind = kindOfChange(proposal, certificate)
  if (!certificate || kind === undefined) return 'it does not follow the newest certificate here'
  if (proposal.epoch <= record.voted.epoch) return `this instance has voted in epoch ${record.voted.epoch}`
  if (proposal.epoch <= record.resigned)
    return `this instance has given up every epoch up to ${record.resigned}`
  if (record.pending && from !== COORDINATOR) return 'a change of successor is open'
  if (!votersOf(certificate.proposal).includes(self)) return 'this instance has no vote'
  switch (kind) {
    case 'succession':
      return refusalOfSuccession(voter, from, proposal, now)
    case 'renewal':
      if (proposal.primary !== self && from !== proposal.primary)
        return 'only the primary asks for its renewal'
      return mayVote(voter, proposal, new Set(), gone, now)
        ? undefined
        : 'a promise to somebody else still runs'
    case 'forced':
      if (from !== COORDINATOR) return 'only the coordinator can force a change'
      if (inOffice(voter)) return 'this instance is in office'
      return mayVote(voter, proposal, new Set(), gone, now)
        ? undefined
        : 'a promise to somebody else still runs'
    case 'first':
    case 'turnover':
      return 'a primary gives its epoch up by its own decision only'
  }
}

/** From this vote on the primary needs a lease that counts whatever becomes of it. */
function refusalOfSuccession(voter: Voter, from: VoterId, proposal: Proposal, now: Mono): string | undefined {
  const { self, policy, leases } = voter
  if (from !== COORDINATOR || proposal.primary !== self || !inOffice(voter))
    return 'only the primary in office votes on its successor'
  const end = leases.get(COORDINATOR)
  return end === undefined || now >= end - policy.fenceBudget ? 'no lease from the coordinator' : undefined
}

/** An answer to our own campaign. */
export function onVote(
  voter: Voter,
  from: VoterId,
  { proposal, vote }: VoterMessage & { kind: 'vote' },
  context: VoterContext,
): VoterStep {
  const { candidate } = voter
  if (!candidate || vote.voter !== from || context.digest(candidate.proposal) !== context.digest(proposal))
    return step(voter)
  return tryCandidate(
    { ...voter, candidate: { ...candidate, votes: merge(candidate.votes, [vote]) } },
    context,
  )
}
