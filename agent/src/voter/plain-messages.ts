import {
  AGENT_ID_PATTERN,
  type AgentId,
  INSTANCE_ID_PATTERN,
  type IncidentId,
  type InstanceId,
} from '@understudy/shared/core/ids'
import type { Millis, Mono } from '@understudy/shared/core/time'
import {
  type CastVote,
  type Certificate,
  COORDINATOR,
  type Proposal,
  type Vote,
  type VoterId,
} from '@understudy/shared/failover/certificate'
import type { ElectionExtras, VoterMessage } from '@understudy/shared/failover/voter-types'

/**
 * Reads what voters say exactly as `voterMessageSchema` does (shared/src/protocol/voter-messages.ts; the tests compare
 * them), without the library: in a thread of its own that would cost every instance 12 MiB.
 */

/** undefined for what is no message. */
export function readVoterMessage(value: unknown): VoterMessage | undefined {
  try {
    return message(record(value))
  } catch (error) {
    if (error instanceof NotOne) return undefined
    throw error
  }
}

/** @throws NotOne */
export function readCertificate(value: unknown): Certificate {
  const { proposal, digest, votes } = record(value)
  return { proposal: readProposal(proposal), digest: text(digest, DIGEST), votes: list(votes, 1, 3, vote) }
}

/** @throws NotOne */
export function readProposal(value: unknown): Proposal {
  const { agent, epoch, previous, primary, successor, term, forced, keys } = record(value)
  const before = record(previous)
  return {
    agent: text(agent, AGENT_ID_PATTERN) as AgentId,
    epoch: whole(epoch),
    previous: {
      epoch: whole(before.epoch),
      digest: before.digest === '' ? '' : text(before.digest, DIGEST),
    },
    primary: readInstance(primary),
    successor: successor === null ? null : readInstance(successor),
    term: whole(term),
    forced: bool(forced),
    keys: readKeys(keys),
  }
}

/** @throws NotOne */
export const readInstance = (value: unknown): InstanceId => text(value, INSTANCE_ID_PATTERN) as InstanceId

/** @throws NotOne */
export const readKey = (value: unknown): string => text(value, KEY)

/** A whole number that is not negative. @throws NotOne */
export const whole = (value: unknown): number =>
  Number.isSafeInteger(value) && Number(value) >= 0 ? Number(value) : fail()

/** A number that is not negative. @throws NotOne */
export const positive = (value: unknown): number =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : fail()

/** @throws NotOne */
export const record = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : fail()

/** @throws NotOne */
export const list = <T>(value: unknown, min: number, max: number, read: (item: unknown) => T): T[] =>
  Array.isArray(value) && value.length >= min && value.length <= max ? value.map(read) : fail()

/** It is not what it should be. */
class NotOne extends Error {
  override readonly name = 'NotOne'
}

const DIGEST = /^[0-9a-f]{64}$/
/** 32 bytes in base64url, and 64 in base64. */
const KEY = /^[A-Za-z0-9_-]{43}$/
const SIGNATURE = /^[0-9A-Za-z+/]{86}==$/
const UUID =
  /^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$/

function fail(): never {
  throw new NotOne('not a message of this protocol')
}

const text = (value: unknown, pattern: RegExp): string =>
  typeof value === 'string' && pattern.test(value) ? value : fail()

const bool = (value: unknown): boolean => (typeof value === 'boolean' ? value : fail())

const mono = (value: unknown): Mono => positive(value) as Mono

const voter = (value: unknown): VoterId => (value === COORDINATOR ? COORDINATOR : readInstance(value))

function readKeys(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(record(value))
  if (entries.length > 3) fail()
  return Object.fromEntries(entries.map(([name, key]) => [voter(name), readKey(key)]))
}

function vote(value: unknown): Vote {
  const { voter: by, signature } = record(value)
  return { voter: voter(by), signature: text(signature, SIGNATURE) }
}

function castVote(value: unknown): CastVote {
  const { echo, promise } = record(value)
  return {
    ...vote(value),
    echo: echo === null ? null : mono(echo),
    ...(promise === undefined ? {} : { promise: positive(promise) as Millis }),
  }
}

function extras(value: unknown): ElectionExtras {
  const { incident, fresh, planned, left } = record(value)
  return {
    incident: incident === null ? null : (text(incident, UUID) as IncidentId),
    fresh: bool(fresh),
    ...(planned === undefined ? {} : { planned: bool(planned) }),
    ...(left === undefined ? {} : { left: rest(left) }),
  }
}

function rest(value: unknown): ElectionExtras['left'] {
  const { bytes, names } = record(value)
  return { bytes: whole(bytes), names: whole(names) }
}

const orNull = (value: unknown): Certificate | null => (value === null ? null : readCertificate(value))

function message(from: Readonly<Record<string, unknown>>): VoterMessage {
  switch (from.kind) {
    case 'beat':
      return {
        kind: 'beat',
        epoch: whole(from.epoch),
        sentAt: mono(from.sentAt),
        hears: bool(from.hears),
        office: bool(from.office),
      }
    case 'ack':
      return {
        kind: 'ack',
        epoch: whole(from.epoch),
        sentAt: mono(from.sentAt),
        at: mono(from.at),
        promise: positive(from.promise) as Millis,
      }
    case 'behind':
      return { kind: 'behind', voted: whole(from.voted), certificate: orNull(from.certificate) }
    case 'certificate':
      return { kind: 'certificate', certificate: readCertificate(from.certificate) }
    case 'votes':
      return {
        kind: 'votes',
        proposal: readProposal(from.proposal),
        base: orNull(from.base),
        votes: list(from.votes, 1, 3, castVote),
        gone: list(from.gone, 0, 3, readInstance),
        extras: extras(from.extras),
      }
    case 'ask':
      return {
        kind: 'ask',
        proposal: readProposal(from.proposal),
        base: orNull(from.base),
        gone: list(from.gone, 0, 3, readInstance),
        sentAt: from.sentAt === null ? null : mono(from.sentAt),
      }
    case 'vote':
      return { kind: 'vote', proposal: readProposal(from.proposal), vote: castVote(from.vote) }
    case 'declined':
      return {
        kind: 'declined',
        epoch: whole(from.epoch),
        voted: whole(from.voted),
        why: typeof from.why === 'string' && from.why.length <= 500 ? from.why : fail(),
      }
    default:
      return fail()
  }
}
