import { agentId, instanceId } from '@understudy/shared/core/ids'
import { mono } from '@understudy/shared/core/time'
import {
  type CastVote,
  COORDINATOR,
  firstProposal,
  forcedChange,
  type Proposal,
  renewal,
  succession,
  turnover,
  type VoterId,
} from '@understudy/shared/failover/certificate'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { startVoter, type VoterMessage, type VoterRecord } from '@understudy/shared/failover/voter'
import { signProposal } from '@understudy/shared/protocol/vote-signing'
import { signers } from '@understudy/shared/testkit/signers'
import { describe, expect, test } from 'vitest'
import { type CampaignFacts, mayCampaign } from './campaign.ts'
import { checkMessage, type Known } from './checked-messages.ts'
import { clockDoubt } from './clock-watch.ts'
import { createOnceAMinute } from './once-a-minute.ts'

const A = instanceId('i-aaaa')
const B = instanceId('i-bbbb')
const D = instanceId('i-dddd')
const { keyOf, publicKeys, certify: signedBy } = signers(A, B, D)

const first = signedBy(firstProposal(agentId('one'), 1, A, publicKeys(A, COORDINATOR)), COORDINATOR)
const base = signedBy(succession(first, 2, { instance: B, key: keyOf(B).publicKey }), A, COORDINATOR)
const turned = turnover(base, 3) as Proposal

describe('clock', () => {
  const at = (now: number, boot: number) => ({ mono: mono(now), boot: mono(boot) })
  const doubt = (elapsed: number, booted: number) =>
    clockDoubt(at(1000, 5000), at(1000 + elapsed, 5000 + booted), defaultLeasePolicy)

  test('is believed while both clocks go on together and the thread runs', () => {
    expect(doubt(150, 150)).toBeUndefined()
    expect(doubt(150, 340)).toBeUndefined()
    expect(doubt(1100, 1090)).toBeUndefined()
  })

  test('is doubted when they part, or the thread did not run for a whole lease', () => {
    expect(doubt(150, 360)).toMatch(/disagree by 210 ms/)
    expect(doubt(400, 150)).toMatch(/disagree by 250 ms/)
    expect(doubt(1160, 1160)).toMatch(/stood still for 1010 ms/)
  })
})

describe('campaign', () => {
  const record: VoterRecord = {
    certificate: base,
    chain: [base],
    voted: { epoch: 2, primary: A, digest: base.digest },
    pending: undefined,
    resigned: 0,
  }
  const restarted = startVoter(A, record, defaultLeasePolicy, mono(0))
  const facts: CampaignFacts = {
    now: mono(5000),
    coordinatorLostAt: mono(2900),
    peers: new Set([B]),
    triedAt: undefined,
  }

  test('a restarted primary asks its connected successor when the coordinator is away for two seconds', () => {
    expect(mayCampaign(restarted, facts)).toBe(true)
    expect(mayCampaign(restarted, { ...facts, triedAt: mono(4001) })).toBe(false)
    expect(mayCampaign(restarted, { ...facts, triedAt: mono(4000) })).toBe(true)
    expect(mayCampaign(restarted, { ...facts, coordinatorLostAt: mono(3001) })).toBe(false)
    expect(mayCampaign(restarted, { ...facts, coordinatorLostAt: undefined })).toBe(false)
    expect(mayCampaign(restarted, { ...facts, peers: new Set([D]) })).toBe(false)
  })

  test('nobody else does', () => {
    const fresh = startVoter(A, undefined, defaultLeasePolicy, mono(0))
    const inOffice = { ...restarted, record }
    const other = startVoter(B, record, defaultLeasePolicy, mono(0))
    const alone = startVoter(A, { ...record, certificate: first }, defaultLeasePolicy, mono(0))
    for (const voter of [fresh, inOffice, other, alone]) expect(mayCampaign(voter, facts)).toBe(false)
  })
})

describe('messages', () => {
  const known: Known = {
    agent: agentId('one'),
    certificate: base,
    coordinatorKey: keyOf(COORDINATOR).publicKey,
    candidate: undefined,
  }
  const check = (message: VoterMessage, from: VoterId, what: Partial<Known> = {}) => {
    const checked = checkMessage(JSON.stringify(message), from, { ...known, ...what })
    return checked.ok ? 'ok' : checked.why
  }
  const votes = (
    proposal: Proposal,
    voter: VoterId,
    more: Partial<VoterMessage & { kind: 'votes' }> = {},
  ) => ({
    kind: 'votes' as const,
    proposal,
    base: null,
    votes: [{ voter, signature: signProposal(keyOf(voter), proposal), echo: null }],
    gone: [],
    extras: { incident: null, fresh: false },
    ...more,
  })

  test('what is no message is refused, whatever it is', () => {
    for (const text of ['', '{', 'null', '[]', '{"kind":"beat"}', '{"kind":"__proto__"}', '"'.repeat(1000)])
      expect(checkMessage(text, A, known)).toMatchObject({ ok: false, kind: 'malformed' })
  })

  test('certificates are checked when they are later than the one that is known', () => {
    const next = signedBy(turned, A, B)
    expect(check({ kind: 'certificate', certificate: next }, A)).toBe('ok')
    expect(check({ kind: 'behind', voted: 1, certificate: next }, A)).toBe('ok')
    expect(check({ kind: 'certificate', certificate: signedBy(turned, A) }, A)).toMatch(/votes/)
    expect(check({ kind: 'behind', voted: 3, certificate: signedBy(turned, A) }, A)).toMatch(/votes/)
    // Older ones change nothing; the answer to them is the newer one.
    expect(check({ kind: 'behind', voted: 1, certificate: first }, A)).toBe('ok')
    expect(check({ kind: 'behind', voted: 0, certificate: null }, A)).toBe('ok')
  })

  test('votes must be signed by whose they are', () => {
    expect(check(votes(turned, A), A)).toBe('ok')
    const byD = { ...votes(turned, D), votes: votes(turned, D).votes.map((vote) => ({ ...vote, voter: A })) }
    expect(check(byD, A)).toMatch(/signature/)
    expect(check(votes(turned, D), A)).toMatch(/signature/)
    expect(check({ ...votes(turned, A), proposal: { ...turned, epoch: 4, term: 4 } }, A)).toMatch(/signature/)
    expect(check(votes(turned, A, { extras: { incident: null, fresh: true } }), A)).toMatch(
      /only the coordinator/,
    )
  })

  test('an instance that knows nothing believes the coordinator that it was told of, and nobody else', () => {
    const nothing = { certificate: undefined }
    expect(check(votes(first.proposal, COORDINATOR), COORDINATOR, nothing)).toBe('ok')
    expect(check(votes(first.proposal, A), A, nothing)).toMatch(/signature/)
    const other = { ...nothing, coordinatorKey: keyOf(D).publicKey }
    expect(check(votes(first.proposal, COORDINATOR), COORDINATOR, other)).toMatch(/signature/)
  })

  test('the coordinator vouches for what its vote follows', () => {
    const unknown = signedBy(renewal(signedBy(turnover(base, 5) as Proposal, A, B), 6), A, B)
    const forced = forcedChange(unknown, 7, { instance: D, key: keyOf(D).publicKey })
    const message = votes(forced, COORDINATOR, { base: unknown })
    expect(check(message, COORDINATOR, { certificate: first })).toBe('ok')
    expect(check(votes(forced, A, { base: unknown }), A, { certificate: first })).toMatch(/not known/)
    const swapped = { ...unknown, proposal: { ...unknown.proposal, primary: D } }
    expect(check({ ...message, base: swapped }, COORDINATOR, { certificate: first })).toMatch(/digest/)
  })

  test('an answer counts for what is asked, from whom it comes', () => {
    const own = renewal(base, 3)
    const answer = (by: VoterId, proposal = own) => ({
      kind: 'vote' as const,
      proposal,
      vote: { voter: by as typeof A, signature: signProposal(keyOf(by), proposal), echo: null },
    })
    expect(check(answer(B), B, { candidate: own })).toBe('ok')
    expect(check(answer(B), A, { candidate: own })).toMatch(/somebody else/)
    expect(check(answer(B), B)).toMatch(/nothing that is asked/)
    expect(check(answer(B, turned), B, { candidate: own })).toMatch(/nothing that is asked/)
    const forged = { ...answer(B), vote: { ...answer(D).vote, voter: B } }
    expect(check(forged, B, { candidate: own })).toMatch(/signature/)
  })

  test('a question is passed on, unless it is about another agent or follows what is not believed', () => {
    const ask = { kind: 'ask' as const, proposal: turned, base: null, gone: [], sentAt: null }
    expect(check(ask, B)).toBe('ok')
    expect(check({ ...ask, proposal: { ...turned, agent: agentId('two') } }, B)).toMatch(/another agent/)
    const false3 = signedBy(turned, D)
    expect(check({ ...ask, proposal: renewal(false3, 4), base: false3 }, B)).toMatch(/votes/)
  })
})

describe('who has ended', () => {
  const signature = (by: VoterId) => ({
    voter: by as typeof A,
    signature: signProposal(keyOf(by), turned),
    echo: null,
  })
  const extras = { incident: null, fresh: false }
  const messages = (by: VoterId): VoterMessage[] => [
    { kind: 'votes', proposal: turned, base: null, votes: [signature(by)], gone: [D], extras },
    { kind: 'ask', proposal: turned, base: null, gone: [D], sentAt: null },
  ]
  const known: Known = {
    agent: agentId('one'),
    certificate: base,
    coordinatorKey: keyOf(COORDINATOR).publicKey,
    candidate: undefined,
  }

  test('is believed from the coordinator, and from nobody else', () => {
    for (const message of messages(COORDINATOR))
      expect(checkMessage(JSON.stringify(message), COORDINATOR, known)).toMatchObject({ ok: true })
    for (const message of messages(A))
      expect(checkMessage(JSON.stringify(message), A, known)).toMatchObject({
        ok: false,
        kind: message.kind,
        why: 'only the coordinator can say who has ended',
      })
  })
})

describe('messages about another agent', () => {
  const two = agentId('two')
  const ofTwo = signedBy(
    firstProposal(two, 1, A, { [A]: keyOf(A).publicKey, [COORDINATOR]: keyOf(COORDINATOR).publicKey }),
    COORDINATOR,
  )
  const next = signedBy(renewal(ofTwo, 2), A, COORDINATOR)
  const voted = (proposal: Proposal): CastVote => ({
    voter: COORDINATOR,
    signature: signProposal(keyOf(COORDINATOR), proposal),
    echo: null,
  })
  const given = { gone: [], extras: { incident: null, fresh: false } }
  const { proposal } = ofTwo
  const own = renewal(base, 3)

  test.each<[string, VoterMessage]>([
    ['behind', { kind: 'behind', voted: 1, certificate: ofTwo }],
    ['certificate', { kind: 'certificate', certificate: ofTwo }],
    ['votes', { kind: 'votes', proposal, base: null, votes: [voted(proposal)], ...given }],
    [
      'votes, vouched for',
      {
        kind: 'votes',
        proposal: renewal(next, 3),
        base: next,
        votes: [voted(renewal(next, 3))],
        ...given,
      },
    ],
    ['votes, only the base', { kind: 'votes', proposal: own, base: next, votes: [voted(own)], ...given }],
    ['ask', { kind: 'ask', proposal, base: null, gone: [], sentAt: null }],
    ['ask, only the base', { kind: 'ask', proposal: own, base: ofTwo, gone: [], sentAt: null }],
    ['vote', { kind: 'vote', proposal, vote: voted(proposal) }],
  ])('%s: refused, whoever signed it and whether or not a certificate is known', (_, message) => {
    const coordinatorKey = keyOf(COORDINATOR).publicKey
    for (const certificate of [undefined, base, ofTwo]) {
      const known = { agent: agentId('one'), certificate, coordinatorKey, candidate: proposal }
      expect(checkMessage(JSON.stringify(message), COORDINATOR, known)).toMatchObject({
        ok: false,
        why: 'it is about another agent',
      })
    }
  })
})

test('one line per kind and minute', () => {
  const isWorthALine = createOnceAMinute()
  expect(isWorthALine('votes', mono(0))).toBe(true)
  expect(isWorthALine('votes', mono(59_999))).toBe(false)
  expect(isWorthALine('ask', mono(59_999))).toBe(true)
  expect(isWorthALine('votes', mono(60_000))).toBe(true)
})
