import { expect, test } from 'vitest'
import { millis, mono } from '../core/time.ts'
import { certificateOf, digestOf, keyOf, P, Q, R, signatureOf } from '../testkit/certificates.ts'
import {
  askFor,
  castBy,
  FIRST,
  inOfficeBench,
  PAIR,
  voterBench,
  votesOf,
  WINNING,
} from '../testkit/voter-bench.ts'
import {
  type Certificate,
  COORDINATOR,
  forcedChange,
  type Proposal,
  renewal,
  succession,
  turnover,
} from './certificate.ts'
import { defaultLeasePolicy } from './lease.ts'
import { inOffice, type VoterMessage } from './voter.ts'

const { lease } = defaultLeasePolicy

const turnoverOf = (base: Certificate, epoch: number): Proposal => {
  const proposal = turnover(base, epoch)
  if (!proposal) throw new Error('no successor')
  return proposal
}
const OVER = turnoverOf(PAIR, 3)
const SWAP = succession(PAIR, 3, { instance: Q, key: keyOf(Q) })
const successor = () => voterBench(R).learn(FIRST, PAIR)

test('a winner writes its certificate, spreads it, and says so before it begins', () => {
  const v = successor()
  v.hear(P, votesOf(OVER, [P], { echo: v.now }))
  expect(v.kinds()).toEqual([...WINNING, 'elected'])
  const { certificate } = v.voter.record
  expect(certificate).toEqual(certificateOf(OVER, P, R))
  expect(v.find('persist')?.record.certificate).toEqual(certificate)
  expect(v.said('certificate')?.certificate).toEqual(certificate)
})

test('votes that follow a certificate which was outrun are answered with the later one', () => {
  const v = successor().learn(certificateOf(renewal(PAIR, 11), P, R))
  v.hear(COORDINATOR, votesOf(turnoverOf(certificateOf(renewal(PAIR, 8), P, COORDINATOR), 12), [COORDINATOR]))
  expect(v.said('behind')).toMatchObject({ certificate: { proposal: { epoch: 11 } } })
  expect(v.voter.candidate).toBeUndefined()
})

test('a winner without a lease waits for one, and begins once', () => {
  const v = successor()
  v.hear(P, votesOf(OVER, [P]))
  expect(v.find('elected')).toBeUndefined()
  v.ack(P)
  expect(v.find('elected')?.certificate.proposal.epoch).toBe(3)
  v.wait(100).ack(P)
  expect(v.effects).toEqual([])
})

test('votes from two that reach the candidate apart are counted together, the latest echo of each', () => {
  const v = successor()
  v.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  v.hear(COORDINATOR, votesOf(OVER, [COORDINATOR], { echo: mono(9_900) }))
  v.hear(COORDINATOR, votesOf(OVER, [COORDINATOR], { echo: mono(9_950) }))
  v.hear(COORDINATOR, votesOf(OVER, [COORDINATOR], { echo: mono(9_800) }))
  expect(v.voter.candidate?.votes).toEqual([castBy(COORDINATOR, OVER, mono(9_950))])
  v.hear(P, votesOf(OVER, [P]))
  expect(v.find('certified')?.certificate.votes.map(({ voter }) => voter)).toEqual([COORDINATOR, P])
  expect(v.lease()).toEqual({ kind: 'until', at: 9_950 + lease * 0.98 })
})

test('a vote gives no longer lease than its giver keeps to it: terms may have been changed, and not be known to both yet', () => {
  const v = successor()
  const votes = votesOf(OVER, [P], { echo: v.now }) as VoterMessage & { kind: 'votes' }
  v.hear(P, { ...votes, votes: votes.votes.map((vote) => ({ ...vote, promise: millis(lease / 2) })) })
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + (lease / 2) * 0.98 })
})

test('an echo from the future gives no lease', () => {
  const v = successor()
  v.hear(P, votesOf(OVER, [P], { echo: mono(v.now + 1) }))
  expect(v.find('certified')).toBeDefined()
  expect(v.lease()).toEqual({ kind: 'none' })
})

test('votes for two contents of one epoch are never added up', () => {
  const v = successor()
  v.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  v.hear(COORDINATOR, votesOf(OVER, [COORDINATOR]))
  const forced = forcedChange(PAIR, 3, { instance: R, key: keyOf(R) })
  v.hear(Q, votesOf(forced, [Q]))
  expect(v.voter.candidate?.votes.map(({ voter }) => voter)).toEqual([Q])
  expect(v.voter.record.certificate).toEqual(PAIR)
})

test('a late vote does not elect a candidate that has voted for somebody else since', () => {
  const v = successor()
  v.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  v.hear(COORDINATOR, votesOf(OVER, [COORDINATOR]))
  v.hear(P, askFor(renewal(PAIR, 4)))
  expect(v.said('vote')).toBeDefined()
  v.hear(P, votesOf(OVER, [P]))
  expect(v.find('certified')).toBeUndefined()
  v.wait(lease * 3).pulse()
  expect(v.voter.candidate).toBeUndefined()
  expect(v.voter.record.certificate).toEqual(PAIR)
})

test('nor one that has voted for another content of the same epoch', () => {
  const v = successor()
  v.hear(P, askFor(renewal(PAIR, 3)))
  v.hear(P, votesOf(OVER, [P, COORDINATOR]))
  expect(v.find('certified')).toBeUndefined()
  expect(v.voter.record.voted.digest).toBe(digestOf(renewal(PAIR, 3)))
})

test('nor one that has resigned that epoch', () => {
  const v = successor()
  v.send({ kind: 'resign', epoch: 3 })
  v.hear(P, votesOf(OVER, [P, COORDINATOR]))
  expect(v.voter.candidate).toBeUndefined()
  expect(v.find('certified')).toBeUndefined()
})

test('votes for somebody else, and for what does not follow, are dropped', () => {
  const q = voterBench(Q).learn(FIRST, PAIR)
  q.hear(P, votesOf(OVER, [P, COORDINATOR]))
  expect(q.voter.candidate).toBeUndefined()
  const v = voterBench(R).learn(FIRST)
  v.hear(P, votesOf(OVER, [P, COORDINATOR]))
  expect(v.effects).toEqual([])
  v.hear(P, votesOf(OVER, [P], { base: PAIR }))
  expect(v.find('certified')).toBeDefined()
})

test('who has no vote is elected by the others, and adds none', () => {
  const v = voterBench(Q).learn(FIRST, PAIR)
  const forced = forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) })
  v.hear(COORDINATOR, votesOf(forced, [COORDINATOR], { gone: [P, R] }))
  expect(v.find('certified')?.certificate.votes.map(({ voter }) => voter)).toEqual([COORDINATOR])
  expect(v.lease()).toEqual({ kind: 'solo' })
})

test('what is to be done with an epoch may come after its certificate', () => {
  const v = successor()
  v.learn(certificateOf(OVER, P, COORDINATOR))
  expect(v.find('elected')).toBeUndefined()
  v.hear(COORDINATOR, votesOf(OVER, [P, COORDINATOR], { fresh: true }))
  v.ack(P)
  expect(v.find('elected')?.extras).toEqual({ incident: null, fresh: true })
  v.hear(COORDINATOR, votesOf(OVER, [P, COORDINATOR], { fresh: false }))
  expect(v.voter.extras.fresh).toBe(true)
})

test('a primary gives its epoch up by its own decision only', () => {
  const v = inOfficeBench()
  v.hear(COORDINATOR, askFor(OVER))
  expect(v.said('declined')?.why).toContain('own decision')
  v.hear(COORDINATOR, askFor(forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) })))
  expect(v.said('declined')?.why).toContain('in office')
})

test.each<[string, () => ReturnType<typeof voterBench>, typeof P | typeof COORDINATOR, Proposal, string]>([
  ['a change of successor by another member', inOfficeBench, R, SWAP, 'only the primary in office'],
  ['a change of successor of somebody else', successor, COORDINATOR, SWAP, 'only the primary in office'],
  [
    'force by a member',
    successor,
    P,
    forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) }),
    'only the coordinator',
  ],
  [
    'a renewal that its primary did not ask for',
    successor,
    COORDINATOR,
    renewal(PAIR, 3),
    'only the primary asks',
  ],
  ['what does not follow', () => voterBench(R).learn(FIRST), P, renewal(PAIR, 3), 'does not follow'],
  ['an instance without a vote', () => voterBench(Q).learn(FIRST, PAIR), P, renewal(PAIR, 3), 'has no vote'],
])('%s is declined, with the reason', (_, make, from, proposal, why) => {
  const v = make()
  const { voted } = v.voter.record
  v.hear(from, askFor(proposal))
  expect(v.kinds()).toEqual(['send:declined'])
  expect(v.said('declined')?.why).toContain(why)
  expect(v.voter.record.voted).toEqual(voted)
})

test('while a change of successor is open nobody but the coordinator gets a vote', () => {
  const v = inOfficeBench()
  v.hear(COORDINATOR, askFor(SWAP))
  v.hear(R, askFor(renewal(PAIR, 4)))
  expect(v.said('declined')?.why).toContain('is open')
  v.release(R)
  expect(v.find('released')).toMatchObject({ ok: false, why: expect.stringContaining('is open') })
  v.hear(COORDINATOR, askFor({ ...succession(PAIR, 4, undefined) }))
  expect(v.said('vote')?.proposal.epoch).toBe(4)
  expect(v.voter.record.pending?.epoch).toBe(4)
})

test('a release to somebody who is not the successor is refused', () => {
  const v = inOfficeBench()
  v.release(Q)
  expect(v.find('released')).toMatchObject({ ok: false, why: 'i-q is not the successor' })
  expect(inOffice(v.voter)).toBe(true)
})

test('a vote for the successor is repeated until its result is known', () => {
  const v = inOfficeBench()
  v.release(R)
  const first = v.said('votes')
  v.wait(150).pulse()
  expect(v.effects).toContainEqual({ kind: 'send', to: R, message: first })
  v.learn(certificateOf(OVER, P, R))
  expect(v.kinds()).toEqual(['persist', 'deposed'])
  v.wait(150).pulse()
  expect(v.said('votes')).toBeUndefined()
})

test('heartbeats go to the coordinator from everybody, and to the others only from who is in office', () => {
  const p = inOfficeBench()
  p.pulse()
  expect(p.kinds()).toEqual(['send:beat', 'broadcast:beat'])
  expect(p.said('beat')).toEqual({ kind: 'beat', epoch: 2, sentAt: p.now, hears: false, office: true })
  const r = successor()
  r.pulse()
  expect(r.effects).toEqual([
    {
      kind: 'send',
      to: COORDINATOR,
      message: { kind: 'beat', epoch: 2, sentAt: r.now, hears: true, office: false },
    },
  ])
  r.wait(lease).pulse()
  expect(r.said('beat')?.hears).toBe(false)
})

test('after a restart a primary asks its successor for another epoch, when it may', () => {
  const v = inOfficeBench().restart()
  expect(v.send({ kind: 'campaign' })).toEqual([])
  v.wait(lease * 1.02)
  v.send({ kind: 'campaign' })
  expect(v.kinds()).toEqual(['persist', 'send:ask'])
  const ask = v.said('ask')
  expect(ask).toMatchObject({ proposal: { primary: P, successor: R, epoch: 3, term: 3 }, sentAt: v.now })
  if (!ask) return
  const r = successor()
  r.hear(P, ask)
  const vote = r.said('vote')
  if (vote) v.hear(R, vote)
  expect(v.find('certified')?.certificate.votes.map(({ voter }) => voter)).toEqual([P, R])
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + lease * 0.98 })
  expect(v.find('elected')).toBeDefined()
})

test('a vote for a candidacy counts only from who has signed it, and for what was asked', () => {
  const v = inOfficeBench()
    .restart()
    .wait(lease * 1.02)
  v.send({ kind: 'campaign' })
  const proposal = renewal(PAIR, 3)
  v.hear(Q, { kind: 'vote', proposal, vote: castBy(R, proposal) })
  expect(v.find('certified')).toBeUndefined()
  v.hear(R, { kind: 'vote', proposal: OVER, vote: castBy(R, OVER) })
  expect(v.find('certified')).toBeUndefined()
  v.hear(R, { kind: 'vote', proposal, vote: { voter: R, signature: signatureOf(R, proposal), echo: null } })
  expect(v.find('certified')).toBeDefined()
})

test('nobody asks for an epoch that has one, has no successor, or has a change open', () => {
  expect(inOfficeBench().send({ kind: 'campaign' })).toEqual([])
  expect(successor().send({ kind: 'campaign' })).toEqual([])
  const alone = voterBench(P)
  alone.hear(COORDINATOR, votesOf(FIRST.proposal, [COORDINATOR]))
  alone.restart().wait(lease * 1.02)
  expect(alone.send({ kind: 'campaign' })).toEqual([])
  const open = inOfficeBench()
  open.hear(COORDINATOR, askFor(SWAP))
  open.restart().wait(lease * 1.02)
  expect(open.send({ kind: 'campaign' })).toEqual([])
})

test('a primary that is not one any more is told what it has missed', () => {
  const r = successor()
  r.hear(P, votesOf(OVER, [P], { echo: r.now }))
  r.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  expect(r.kinds()).toEqual(['send:behind'])
  const behind = r.said('behind')
  const p = inOfficeBench()
  if (behind) p.hear(R, behind)
  expect(p.kinds()).toEqual(['persist', 'deposed'])
  expect(p.lease()).toEqual({ kind: 'none' })
})

test('who has missed a certificate is told it by the primary that it does not know yet', () => {
  const r = voterBench(R).learn(FIRST)
  r.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  const behind = r.said('behind')
  expect(behind).toEqual({ kind: 'behind', voted: 1, certificate: FIRST })
  const p = inOfficeBench()
  if (behind) p.hear(R, behind)
  expect(p.kinds()).toEqual(['send:certificate'])
  expect(p.said('certificate')?.certificate).toEqual(PAIR)
})

test('a primary that has missed a change of its successor keeps its lease and learns of it', () => {
  const r = successor()
  r.hear(P, { kind: 'beat', epoch: 1, sentAt: mono(1), hears: false, office: true })
  expect(r.kinds()).toEqual(['send:certificate', 'send:ack'])
})

test('who has voted in a later epoch promises nothing to the primary of this one', () => {
  const r = successor().wait(lease)
  r.hear(COORDINATOR, askFor(forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) })))
  expect(r.said('vote')).toBeDefined()
  r.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  expect(r.kinds()).toEqual(['send:behind'])
  expect(r.said('behind')).toMatchObject({ voted: 3, certificate: PAIR })
})

test('an older certificate changes nothing, a later one counts whoever brings it', () => {
  const v = successor()
  expect(v.learn(FIRST, PAIR).effects).toEqual([])
  v.hear(Q, { kind: 'certificate', certificate: certificateOf(OVER, P, R) })
  expect(v.epoch).toBe(3)
})

test('the last sixteen certificates are kept, the newest at the end', () => {
  const v = successor()
  let base = PAIR
  for (let epoch = 3; epoch < 30; epoch += 1) {
    base = certificateOf(renewal(base, epoch), P, COORDINATOR)
    v.learn(base)
  }
  const { chain } = v.voter.record
  expect(chain.map(({ proposal }) => proposal.epoch)).toEqual(Array.from({ length: 16 }, (_, n) => 14 + n))
  expect(chain.at(-1)).toEqual(v.voter.record.certificate)
})
