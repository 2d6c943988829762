import type { AgentId } from '@understudy/shared/core/ids'
import {
  type CastVote,
  type Certificate,
  COORDINATOR,
  type Proposal,
  type VoterId,
} from '@understudy/shared/failover/certificate'
import type { VoterMessage } from '@understudy/shared/failover/voter-types'
import { checkCertificate, proposalDigest, verifyVote } from '@understudy/shared/protocol/vote-signing'
import { readVoterMessage } from './plain-messages.ts'

/** A certificate has some 1,200 characters, and a message at most two of them. */
export const MAX_MESSAGE = 64 * 1024

/** What the receiver believes already. */
export interface Known {
  /** Whose instance it is: nothing about another agent is any business of it. */
  readonly agent: AgentId
  readonly certificate: Certificate | undefined
  readonly coordinatorKey: string | undefined
  /** What the receiver itself asks votes for. */
  readonly candidate: Proposal | undefined
}

export type Checked =
  | { readonly ok: true; readonly message: VoterMessage }
  /** `kind` is short and says which message; `why` what is wrong with it. Neither holds what a stranger wrote. */
  | { readonly ok: false; readonly kind: string; readonly why: string }

/**
 * A message as it came from the socket of `from`, with every signature in it checked: what the voter machine may be
 * told. Pure, never throws.
 */
export function checkMessage(data: string, from: VoterId, known: Known): Checked {
  const message = parse(data)
  if (!message) return { ok: false, kind: 'malformed', why: 'it is not a message of this protocol' }
  const why = faultOf(message, from, known)
  return why === undefined ? { ok: true, message } : { ok: false, kind: message.kind, why }
}

function parse(data: string): VoterMessage | undefined {
  try {
    return readVoterMessage(JSON.parse(data))
  } catch {
    return undefined
  }
}

function proposalsIn(message: VoterMessage): readonly Proposal[] {
  switch (message.kind) {
    case 'beat':
    case 'ack':
    case 'declined':
      return []
    case 'behind':
    case 'certificate':
      return message.certificate ? [message.certificate.proposal] : []
    case 'votes':
    case 'ask':
      return message.base ? [message.proposal, message.base.proposal] : [message.proposal]
    case 'vote':
      return [message.proposal]
  }
}

function faultOf(message: VoterMessage, from: VoterId, known: Known): string | undefined {
  if (proposalsIn(message).some(({ agent }) => agent !== known.agent)) return 'it is about another agent'
  // Only the coordinator sees the cloud: whoever else could say so would get votes past a promise.
  if ('gone' in message && message.gone.length > 0 && from !== COORDINATOR)
    return 'only the coordinator can say who has ended'
  switch (message.kind) {
    // Who says them is all that they are worth, and the socket knows that.
    case 'beat':
    case 'ack':
    case 'declined':
      return undefined
    case 'behind':
      return message.certificate ? faultOfCertificate(message.certificate, known) : undefined
    case 'certificate':
      return faultOfCertificate(message.certificate, known)
    case 'votes':
      return faultOfVotes(message, from, known)
    case 'ask':
      return faultOfBase(message.base, known)
    case 'vote':
      return faultOfVote(message, from, known)
  }
}

/** One that is not later than ours changes nothing. */
function faultOfCertificate(certificate: Certificate, { certificate: own, coordinatorKey }: Known) {
  if (own && certificate.proposal.epoch <= own.proposal.epoch) return undefined
  return checkCertificate(certificate, own, coordinatorKey)
}

const faultOfBase = (base: Certificate | null, known: Known): string | undefined =>
  base ? faultOfCertificate(base, known) : undefined

function faultOfVotes(
  { proposal, base, votes, extras }: VoterMessage & { kind: 'votes' },
  from: VoterId,
  known: Known,
): string | undefined {
  // Only the coordinator knows that no copy is left anywhere.
  if (extras.fresh && from !== COORDINATOR) return 'only the coordinator can order a fresh start'
  const own = known.certificate
  const fault = isVouchedFor(base, proposal, votes, known) ? undefined : faultOfBase(base, known)
  if (fault !== undefined) return fault
  if (own?.digest === proposalDigest(proposal)) return undefined
  const follows = base && base.proposal.epoch > (own?.proposal.epoch ?? 0) ? base : own
  const keys = follows?.proposal.keys ?? trusting(known.coordinatorKey)
  return votes.every((vote) => holds(vote, proposal, keys)) ? undefined : 'a signature in it does not hold'
}

/** The coordinator has voted for what names `base` by its digest: so it knows it, whoever else has signed it. */
function isVouchedFor(
  base: Certificate | null,
  proposal: Proposal,
  votes: readonly CastVote[],
  { coordinatorKey }: Known,
): boolean {
  if (!base || base.digest !== proposal.previous.digest || base.digest !== proposalDigest(base.proposal))
    return false
  const vote = votes.find(({ voter }) => voter === COORDINATOR)
  return vote !== undefined && holds(vote, proposal, trusting(coordinatorKey))
}

/** An answer to what we have asked, signed by whom it comes from. */
function faultOfVote(
  { proposal, vote }: VoterMessage & { kind: 'vote' },
  from: VoterId,
  { certificate, candidate }: Known,
): string | undefined {
  if (vote.voter !== from) return 'it is the vote of somebody else'
  if (!candidate || proposalDigest(candidate) !== proposalDigest(proposal))
    return 'it answers nothing that is asked here'
  return holds(vote, candidate, certificate?.proposal.keys ?? {})
    ? undefined
    : 'a signature in it does not hold'
}

function holds({ voter, signature }: CastVote, proposal: Proposal, keys: Readonly<Record<string, string>>) {
  const key = Object.hasOwn(keys, voter) ? keys[voter] : undefined
  return key !== undefined && verifyVote(key, proposal, signature)
}

const trusting = (coordinatorKey: string | undefined): Readonly<Record<string, string>> =>
  coordinatorKey === undefined ? {} : { [COORDINATOR]: coordinatorKey }
