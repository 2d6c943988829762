import type { InstanceId } from '../core/ids.ts'
import { type Mono, mono } from '../core/time.ts'
import {
  type Certificate,
  COORDINATOR,
  firstProposal,
  type Proposal,
  succession,
  type VoterId,
} from '../failover/certificate.ts'
import { defaultLeasePolicy } from '../failover/lease.ts'
import {
  leaseOf,
  NO_EXTRAS,
  startVoter,
  stepVoter,
  type Voter,
  type VoterEffect,
  type VoterEvent,
  type VoterMessage,
  type VoterRecord,
} from '../failover/voter.ts'
import { AGENT, certificateOf, digestOf, keyOf, keysOf, P, R, signatureOf } from './certificates.ts'

/** P alone, by the coordinator. */
export const FIRST = certificateOf(firstProposal(AGENT, 1, P, keysOf(P)), COORDINATOR)
/** P with R as its successor. */
export const PAIR = certificateOf(succession(FIRST, 2, { instance: R, key: keyOf(R) }), P, COORDINATOR)

/** What a voter does with an election that it has won, in order; with a lease it begins after it. */
export const WINNING = ['persist', 'broadcast:certificate', 'certified', 'send:beat', 'broadcast:beat']

export const castBy = (voter: VoterId, proposal: Proposal, echo: Mono | null = null) => ({
  voter,
  signature: signatureOf(voter, proposal),
  echo,
})

export const votesOf = (
  proposal: Proposal,
  voters: readonly VoterId[],
  options: { base?: Certificate | null; gone?: readonly InstanceId[]; echo?: Mono; fresh?: boolean } = {},
): VoterMessage => ({
  kind: 'votes',
  proposal,
  base: options.base ?? null,
  votes: voters.map((voter) => castBy(voter, proposal, options.echo ?? null)),
  gone: options.gone ?? [],
  extras: { ...NO_EXTRAS, fresh: options.fresh ?? false },
})

export const askFor = (
  proposal: Proposal,
  options: { base?: Certificate | null; gone?: readonly InstanceId[]; sentAt?: Mono } = {},
): VoterMessage => ({
  kind: 'ask',
  proposal,
  base: options.base ?? null,
  gone: options.gone ?? [],
  sentAt: options.sentAt ?? null,
})

/** One voter, driven by hand; time moves only with `wait`. */
export function voterBench(self: InstanceId, record?: VoterRecord) {
  let now: Mono = mono(10_000)
  let voter: Voter = startVoter(self, record, defaultLeasePolicy, now)
  let effects: readonly VoterEffect[] = []
  const context = () => ({ now, sign: (proposal: Proposal) => signatureOf(self, proposal), digest: digestOf })
  const send = (event: VoterEvent) => {
    const step = stepVoter(voter, event, context())
    voter = step.voter
    effects = step.effects
    return effects
  }
  const bench = {
    get voter() {
      return voter
    },
    get now() {
      return now
    },
    get effects() {
      return effects
    },
    get epoch() {
      return voter.record.certificate?.proposal.epoch ?? 0
    },
    lease: () => leaseOf(voter),
    send,
    hear: (from: VoterId, message: VoterMessage) => send({ kind: 'message', from, message }),
    learn: (...certificates: readonly Certificate[]) => {
      for (const certificate of certificates) bench.hear(COORDINATOR, { kind: 'certificate', certificate })
      return bench
    },
    kinds: () =>
      effects.map((effect) => ('message' in effect ? `${effect.kind}:${effect.message.kind}` : effect.kind)),
    find: <K extends VoterEffect['kind']>(kind: K) =>
      effects.find((effect): effect is VoterEffect & { kind: K } => effect.kind === kind),
    /** The first message of this kind that was sent in the last step. */
    said: <K extends VoterMessage['kind']>(kind: K) =>
      effects
        .flatMap((effect) => ('message' in effect ? [effect.message] : []))
        .find((message): message is VoterMessage & { kind: K } => message.kind === kind),
    wait: (length: number) => {
      now = mono(now + length)
      effects = []
      return bench
    },
    pulse: () => send({ kind: 'pulse' }),
    /** `from` answers what we sent at `sentAt`. */
    ack: (from: VoterId, sentAt = now, at = mono(0)) =>
      bench.hear(from, { kind: 'ack', epoch: bench.epoch, sentAt, at, promise: defaultLeasePolicy.lease }),
    release: (target: InstanceId) => send({ kind: 'release', turn: 1, target, extras: NO_EXTRAS }),
    /** The process ends and starts again, with what it had written. */
    restart: () => {
      voter = startVoter(self, voter.record, defaultLeasePolicy, now)
      effects = []
      return bench
    },
  }
  return bench
}

/** P in office with R as its successor, and a lease from each. */
export function inOfficeBench() {
  const bench = voterBench(P)
  bench.hear(COORDINATOR, votesOf(FIRST.proposal, [COORDINATOR]))
  bench.learn(PAIR)
  bench.ack(COORDINATOR)
  bench.ack(R)
  return bench
}
