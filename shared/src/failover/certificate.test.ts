import { expect, test } from 'vitest'
import { agentId, type InstanceId, instanceId } from '../core/ids.ts'
import { AGENT, certificateOf, digestOf, keyOf, keysOf, P, Q, R } from '../testkit/certificates.ts'
import {
  type Certificate,
  COORDINATOR,
  firstProposal,
  forcedChange,
  isElected,
  kindOfChange,
  type Proposal,
  proposalText,
  renewal,
  succession,
  turnover,
  type VoterId,
  votersOf,
} from './certificate.ts'

const FIRST = firstProposal(AGENT, 1, P, keysOf(P))
const ALONE = certificateOf(FIRST, COORDINATOR)
const WITH_R = certificateOf(succession(ALONE, 2, { instance: R, key: keyOf(R) }), P, COORDINATOR)
const FORCED = forcedChange(WITH_R, 3, { instance: Q, key: keyOf(Q) })

const taken = (proposal: Proposal | undefined): Proposal => {
  if (!proposal) throw new Error('there is no such change')
  return proposal
}

test('every kind of change is what its maker says it is', () => {
  expect(kindOfChange(FIRST, undefined)).toBe('first')
  expect(kindOfChange(taken(turnover(WITH_R, 3)), WITH_R)).toBe('turnover')
  expect(kindOfChange(renewal(WITH_R, 3), WITH_R)).toBe('renewal')
  expect(kindOfChange(renewal(ALONE, 2), ALONE)).toBe('renewal')
  expect(kindOfChange(WITH_R.proposal, ALONE)).toBe('succession')
  expect(kindOfChange(succession(WITH_R, 9, { instance: Q, key: keyOf(Q) }), WITH_R)).toBe('succession')
  expect(kindOfChange(succession(WITH_R, 3, undefined), WITH_R)).toBe('succession')
  expect(kindOfChange(FORCED, WITH_R)).toBe('forced')
  expect(turnover(ALONE, 2)).toBeUndefined()
})

test('a succession keeps the term, every other change begins one', () => {
  expect(WITH_R.proposal.term).toBe(1)
  expect(taken(turnover(WITH_R, 7)).term).toBe(7)
  expect(renewal(WITH_R, 7).term).toBe(7)
  expect(FORCED.term).toBe(3)
})

test('the keys are those of the voters, and of nobody else', () => {
  const next = succession(WITH_R, 3, { instance: Q, key: keyOf(Q) })
  expect(next.keys).toEqual(keysOf(P, Q))
  expect(succession(WITH_R, 3, undefined).keys).toEqual(keysOf(P))
  expect(FORCED.keys).toEqual(keysOf(Q))
  expect(taken(turnover(WITH_R, 3)).keys).toEqual(keysOf(P, R))
})

const TURNOVER = taken(turnover(WITH_R, 3))
const SUCCESSION = succession(WITH_R, 3, { instance: Q, key: keyOf(Q) })

test.each<[string, Proposal, Certificate | undefined]>([
  ['a first that follows something', { ...FIRST, previous: { epoch: 1, digest: '' } }, undefined],
  ['a first of another term', { ...FIRST, term: 0 }, undefined],
  ['a first with a successor', { ...FIRST, successor: R }, undefined],
  ['a first by force', { ...FIRST, forced: true }, undefined],
  ['a first where something is', FIRST, ALONE],
  ['another agent', { ...TURNOVER, agent: agentId('b') }, WITH_R],
  ['another epoch before it', { ...TURNOVER, previous: { ...TURNOVER.previous, epoch: 1 } }, WITH_R],
  ['another content before it', { ...TURNOVER, previous: { ...TURNOVER.previous, digest: 'x' } }, WITH_R],
  ['the same epoch again', { ...TURNOVER, epoch: 2, term: 2 }, WITH_R],
  ['an earlier epoch', { ...TURNOVER, epoch: 1, term: 1 }, WITH_R],
  ['a turnover of the old term', { ...TURNOVER, term: 1 }, WITH_R],
  ['a turnover that drops the old primary', { ...TURNOVER, successor: null }, WITH_R],
  ['a turnover to another successor', { ...TURNOVER, successor: Q }, WITH_R],
  ['somebody who has no vote as primary', { ...TURNOVER, primary: Q, successor: P }, WITH_R],
  ['a renewal of the old term', { ...renewal(WITH_R, 3), term: 1 }, WITH_R],
  ['a renewal of another term', { ...renewal(WITH_R, 4), term: 3 }, WITH_R],
  ['a succession that begins a term', { ...SUCCESSION, term: 3 }, WITH_R],
  ['the primary as its own successor', { ...SUCCESSION, successor: P }, WITH_R],
  ['a turnover under other keys', { ...TURNOVER, keys: { ...TURNOVER.keys, [R]: keyOf(Q) } }, WITH_R],
  ['a renewal with one more key', { ...renewal(WITH_R, 3), keys: keysOf(P, R, Q) }, WITH_R],
  [
    "a renewal under another coordinator's key",
    { ...renewal(WITH_R, 3), keys: { ...WITH_R.proposal.keys, [COORDINATOR]: keyOf(P) } },
    WITH_R,
  ],
  ['a forced one with a successor', { ...FORCED, successor: P }, WITH_R],
  ['a forced one of another term', { ...FORCED, term: 2 }, WITH_R],
])('nobody may propose %s', (_, proposal, base) => {
  expect(kindOfChange(proposal, base)).toBeUndefined()
  expect(isElected(proposal, base, new Set<VoterId>([P, R, Q, COORDINATOR]))).toBe(false)
})

test.each<[string, Proposal, Certificate | undefined, VoterId[][], VoterId[][]]>([
  ['first', FIRST, undefined, [[COORDINATOR]], [[], [P]]],
  [
    'turnover',
    TURNOVER,
    WITH_R,
    [
      [P, R],
      [P, COORDINATOR],
      [R, COORDINATOR],
    ],
    [[P], [R], [COORDINATOR], [R, Q]],
  ],
  [
    'renewal',
    renewal(WITH_R, 3),
    WITH_R,
    [
      [P, R],
      [P, COORDINATOR],
      [R, COORDINATOR],
    ],
    [[P], [Q, P]],
  ],
  ['renewal of one alone', renewal(ALONE, 2), ALONE, [[P, COORDINATOR]], [[P], [COORDINATOR], [P, R]]],
  ['succession', SUCCESSION, WITH_R, [[P, COORDINATOR]], [[P, R], [R, COORDINATOR], [COORDINATOR], [P, Q]]],
  ['forced', FORCED, WITH_R, [[COORDINATOR]], [[P, R], [Q]]],
])('what elects a %s', (_, proposal, base, enough, tooFew) => {
  for (const voters of enough) expect(isElected(proposal, base, new Set(voters)), `${voters}`).toBe(true)
  for (const voters of tooFew) expect(isElected(proposal, base, new Set(voters)), `${voters}`).toBe(false)
})

test('the same content has the same text, in whatever order it was put together', () => {
  const { keys } = TURNOVER
  const turned = Object.fromEntries(Object.entries(keys).reverse())
  expect(Object.keys(turned)).not.toEqual(Object.keys(keys))
  const other: Proposal = { ...TURNOVER, keys: turned }
  const reversed = Object.fromEntries(Object.entries(other).reverse()) as unknown as Proposal
  expect(proposalText(other)).toBe(proposalText(TURNOVER))
  expect(proposalText(reversed)).toBe(proposalText(TURNOVER))
})

test('every field is in the text that is signed', () => {
  const others: Proposal[] = [
    { ...TURNOVER, agent: agentId('b') },
    { ...TURNOVER, epoch: 4 },
    { ...TURNOVER, previous: { epoch: 1, digest: TURNOVER.previous.digest } },
    { ...TURNOVER, previous: { epoch: 2, digest: '' } },
    { ...TURNOVER, primary: Q },
    { ...TURNOVER, successor: null },
    { ...TURNOVER, term: 4 },
    { ...TURNOVER, forced: true },
    { ...TURNOVER, keys: keysOf(P) },
    { ...TURNOVER, keys: { ...TURNOVER.keys, [P]: keyOf(Q) } },
  ]
  const digests = new Set([TURNOVER, ...others].map(digestOf))
  expect(digests.size).toBe(others.length + 1)
})

const D = instanceId('i-d')
const INSTANCES: readonly InstanceId[] = [P, R, Q, D]
const EVERYBODY: readonly VoterId[] = [...INSTANCES, COORDINATOR]
const SETS = Array.from({ length: 1 << EVERYBODY.length }, (_, bits) =>
  EVERYBODY.filter((_voter, index) => (bits & (1 << index)) !== 0),
)

/** Everything but what is forced: that rests on the word of the cloud, not on votes in common. */
const changesOf = (base: Certificate): Proposal[] =>
  INSTANCES.flatMap((primary) =>
    [null, ...INSTANCES].flatMap((successor) =>
      [base.proposal.term, base.proposal.epoch + 1].map(
        (term): Proposal => ({
          agent: AGENT,
          epoch: base.proposal.epoch + 1,
          previous: { epoch: base.proposal.epoch, digest: base.digest },
          primary,
          successor,
          term,
          forced: false,
          keys: keysOf(primary, ...(successor ? [successor] : [])),
        }),
      ),
    ),
  ).filter((proposal) => kindOfChange(proposal, base) !== undefined)

const majorities = (proposal: Proposal, base: Certificate): VoterId[][] =>
  SETS.filter((voters) => isElected(proposal, base, new Set(voters)))

const disjoint = (some: VoterId[][], others: VoterId[][]): VoterId[][][] =>
  some.flatMap((a) => others.filter((b) => !a.some((voter) => b.includes(voter))).map((b) => [a, b]))

test('any two majorities of one epoch, and of neighbouring epochs, have a voter in common', () => {
  const bases = [ALONE, WITH_R]
  let pairs = 0
  for (const base of bases) {
    const changes = changesOf(base)
    for (const change of changes) {
      const before = majorities(change, base)
      expect(before.length).toBeGreaterThan(0)
      for (const rival of changes) expect(disjoint(before, majorities(rival, base))).toEqual([])
      const next = certificateOf(change, ...(before[0] ?? []))
      for (const following of changesOf(next)) {
        pairs += 1
        expect(disjoint(before, majorities(following, next))).toEqual([])
      }
    }
  }
  expect(pairs).toBeGreaterThan(30)
})

test('without a successor two vote, with one three', () => {
  expect(votersOf(FIRST)).toEqual([P, COORDINATOR])
  expect(votersOf(WITH_R.proposal)).toEqual([P, R, COORDINATOR])
})
