import { expect, test } from 'vitest'
import { millis, mono } from '../core/time.ts'
import { certificateOf, digestOf, keyOf, P, Q, R } from '../testkit/certificates.ts'
import { askFor, FIRST, inOfficeBench, PAIR, voterBench, votesOf, WINNING } from '../testkit/voter-bench.ts'
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
import { inOffice } from './voter.ts'

const { lease, fenceBudget } = defaultLeasePolicy
/** What is left of a lease after the margin for drift. */
const LENGTH = lease * 0.98

const turnoverOf = (base: Certificate, epoch: number): Proposal => {
  const proposal = turnover(base, epoch)
  if (!proposal) throw new Error('no successor')
  return proposal
}
const SWAP = succession(PAIR, 3, { instance: Q, key: keyOf(Q) })
const DROP = succession(PAIR, 3, undefined)

test('V1: the same question twice gets the same answer, another one of the same epoch none', () => {
  const v = voterBench(R).learn(FIRST, PAIR)
  v.hear(P, askFor(renewal(PAIR, 3), { sentAt: mono(5) }))
  expect(v.kinds()).toEqual(['persist', 'send:vote'])
  const vote = v.said('vote')
  expect(vote).toMatchObject({ vote: { voter: R, echo: 5 } })
  v.hear(P, askFor(renewal(PAIR, 3), { sentAt: mono(5) }))
  expect(v.said('vote')).toEqual(vote)
  v.hear(COORDINATOR, askFor(forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) }), { gone: [P] }))
  expect(v.kinds()).toEqual(['send:declined'])
  expect(v.said('declined')).toMatchObject({ epoch: 3, voted: 3 })
  expect(v.voter.record.voted).toEqual({ epoch: 3, primary: P, digest: digestOf(renewal(PAIR, 3)) })
})

test('V1: what was voted is on disk before anybody hears of it, and holds after a restart', () => {
  const v = voterBench(R).learn(FIRST, PAIR)
  v.hear(P, askFor(renewal(PAIR, 3)))
  expect(v.find('persist')?.record).toEqual(v.voter.record)
  v.restart().wait(lease * 2)
  v.hear(COORDINATOR, askFor(forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) }), { gone: [P] }))
  expect(v.kinds()).toEqual(['send:declined'])
})

test('V2: nobody else gets a vote before a promise has run out', () => {
  const v = voterBench(R).learn(FIRST, PAIR)
  v.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  expect(v.said('ack')).toEqual({ kind: 'ack', epoch: 2, sentAt: 1, at: v.now, promise: lease })
  v.hear(COORDINATOR, votesOf(turnoverOf(PAIR, 3), [COORDINATOR]))
  expect(v.effects).toEqual([])
  v.wait(lease - 1).pulse()
  expect(v.find('certified')).toBeUndefined()
  v.wait(1).pulse()
  expect(v.find('certified')?.certificate.votes.map(({ voter }) => voter)).toEqual([COORDINATOR, R])
  expect(v.voter.record.voted).toMatchObject({ epoch: 3, primary: R })
})

test('V2: a promise ends with the vote of its holder', () => {
  const v = voterBench(R).learn(FIRST, PAIR)
  v.hear(P, votesOf(turnoverOf(PAIR, 3), [P]))
  expect(v.find('certified')?.certificate.votes.map(({ voter }) => voter)).toEqual([P, R])
})

test('V2: a promise is void when its holder has ended', () => {
  const v = voterBench(R).learn(FIRST, PAIR)
  v.hear(COORDINATOR, votesOf(turnoverOf(PAIR, 3), [COORDINATOR], { gone: [P] }))
  expect(v.find('certified')).toBeDefined()
  const w = voterBench(R).learn(FIRST, PAIR)
  const forced = forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) })
  w.hear(COORDINATOR, askFor(forced))
  expect(w.said('declined')?.why).toContain('promise')
  w.hear(COORDINATOR, askFor(forced, { gone: [P] }))
  expect(w.said('vote')).toMatchObject({ vote: { voter: R } })
})

test('V2: what its holder resigned from is not the epoch that it was voted into since', () => {
  const v = voterBench(R).learn(FIRST, PAIR)
  v.hear(P, askFor(renewal(PAIR, 3)))
  v.hear(COORDINATOR, askFor(forcedChange(PAIR, 4, { instance: Q, key: keyOf(Q) }), { gone: [P] }))
  expect(v.said('declined')?.why).toContain('promise')
})

test('V2: a promise is no hindrance to its own holder', () => {
  const v = voterBench(R).learn(FIRST, PAIR)
  v.hear(P, { kind: 'beat', epoch: 2, sentAt: mono(1), hears: false, office: true })
  v.hear(P, askFor(renewal(PAIR, 3)))
  expect(v.said('vote')).toBeDefined()
})

test('V2: a new successor binds itself to a primary that it has not heard', () => {
  const v = voterBench(R).learn(FIRST)
  expect(v.voter.promise).toBeUndefined()
  v.learn(PAIR)
  expect(v.voter.promise).toEqual({ to: P, until: v.now + lease })
})

test('V2: after a restart a voter is quiet until what it may have promised has run out', () => {
  const v = voterBench(R).learn(FIRST, PAIR).restart()
  v.hear(COORDINATOR, votesOf(turnoverOf(PAIR, 3), [COORDINATOR]))
  v.wait(lease * 1.02 - 1).pulse()
  expect(v.find('certified')).toBeUndefined()
  v.wait(1).pulse()
  expect(v.find('certified')).toBeDefined()
})

test('V3: a lease counts from when its holder sent what was answered, however late the answer', () => {
  const v = inOfficeBench()
  const sentAt = v.now
  v.wait(900).ack(COORDINATOR, sentAt)
  expect(v.lease()).toEqual({ kind: 'until', at: sentAt + LENGTH })
  v.wait(50)
  v.ack(R, mono(v.now - 20))
  expect(v.lease()).toEqual({ kind: 'until', at: v.now - 20 + LENGTH })
  v.ack(R, mono(v.now - 500))
  expect(v.lease()).toEqual({ kind: 'until', at: v.now - 20 + LENGTH })
})

test('V3: an answer to something that was never sent gives nothing', () => {
  const v = inOfficeBench()
  const before = v.lease()
  v.ack(COORDINATOR, mono(v.now + 1))
  v.wait(1)
  for (const epoch of [0, 3])
    v.hear(COORDINATOR, { kind: 'ack', epoch, sentAt: v.now, at: mono(0), promise: lease })
  expect(v.lease()).toEqual(before)
})

test('V3: what is handed on with an epoch counts from when its new holder last spoke', () => {
  const p = inOfficeBench()
  p.ack(R, p.now, mono(7_000))
  p.release(R)
  const votes = p.said('votes')
  expect(votes?.votes).toMatchObject([{ voter: P, echo: 7_000 }])
  if (!votes) return
  const r = voterBench(R).learn(FIRST, PAIR)
  r.hear(P, votes)
  // It said that long ago: the lease has run out already.
  expect(r.find('elected')).toBeUndefined()
  expect(r.lease()).toEqual({ kind: 'until', at: 7_000 + LENGTH })
  const other = voterBench(R).learn(FIRST, PAIR)
  other.hear(P, { ...votes, votes: votes.votes.map((vote) => ({ ...vote, echo: mono(other.now - 10) })) })
  expect(other.lease()).toEqual({ kind: 'until', at: other.now - 10 + LENGTH })
  expect(other.find('elected')).toBeDefined()
})

test('who has won asks for a lease of its own at once, and begins with one that lasts until the next heartbeat', () => {
  const p = inOfficeBench()
  p.ack(R)
  p.release(R)
  const votes = p.said('votes')
  if (!votes) throw new Error('no vote was given')
  /** The new primary spoke last so long ago. */
  const wonWith = (age: number) => {
    const r = voterBench(R).learn(FIRST, PAIR).wait(age)
    r.hear(P, { ...votes, votes: votes.votes.map((vote) => ({ ...vote, echo: mono(r.now - age) })) })
    return r
  }
  const { heartbeat } = defaultLeasePolicy
  const longest = LENGTH - fenceBudget - heartbeat
  expect(wonWith(longest - 1).find('elected')).toBeDefined()
  const late = wonWith(longest)
  expect(late.kinds()).toEqual(WINNING)
  expect(late.said('beat')).toMatchObject({ epoch: 3, sentAt: late.now, office: true })
  late.wait(5).hear(P, { kind: 'ack', epoch: 3, sentAt: mono(late.now - 5), at: mono(0), promise: lease })
  expect(late.find('elected')?.certificate.proposal).toMatchObject({ epoch: 3, primary: R })
})

test('V3: a shorter promise than was agreed gives a shorter lease, a longer one no longer', () => {
  const v = inOfficeBench()
  v.wait(LENGTH)
  const ack = { kind: 'ack', epoch: 2, sentAt: v.now, at: mono(0) } as const
  v.hear(R, { ...ack, promise: millis(600) })
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + 600 * 0.98 })
  v.hear(R, { ...ack, promise: millis(5000) })
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
})

test('either lease is enough, and none when both have run out', () => {
  const v = inOfficeBench()
  v.wait(500).ack(R)
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
  v.wait(100).ack(COORDINATOR)
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
})

test('without a successor a primary needs no lease', () => {
  const v = voterBench(P)
  v.hear(COORDINATOR, votesOf(FIRST.proposal, [COORDINATOR]))
  expect(v.lease()).toEqual({ kind: 'solo' })
  expect(v.kinds()).toEqual([...WINNING, 'elected'])
})

test('V4: who has given its epoch away is never again in office in it', () => {
  const v = inOfficeBench()
  v.release(R)
  expect(v.kinds()).toEqual(['persist', 'send:votes', 'released'])
  expect(v.find('released')).toMatchObject({ ok: true, vote: { vote: { voter: P } } })
  expect(inOffice(v.voter)).toBe(false)
  expect(v.find('persist')?.record).toMatchObject({ resigned: 2, voted: { epoch: 3, primary: R } })
  v.ack(COORDINATOR)
  v.ack(R)
  expect(v.lease()).toEqual({ kind: 'none' })
  v.release(R)
  expect(v.kinds()).toEqual(['released'])
  expect(v.find('released')).toMatchObject({ ok: false, vote: undefined })
})

test('V4: who has resigned is never again in office in that epoch, but may be in a later one', () => {
  const v = inOfficeBench()
  v.send({ kind: 'resign', epoch: 2 })
  expect(v.kinds()).toEqual(['persist'])
  expect(v.lease()).toEqual({ kind: 'none' })
  expect(v.send({ kind: 'resign', epoch: 1 })).toEqual([])
  expect(v.voter.record.resigned).toBe(2)
  v.hear(COORDINATOR, askFor(renewal(PAIR, 3)))
  v.hear(COORDINATOR, votesOf(renewal(PAIR, 3), [P, COORDINATOR], { echo: v.now }))
  expect(inOffice(v.voter)).toBe(true)
  expect(v.find('elected')?.certificate.proposal.epoch).toBe(3)
})

test('V4: a restart ends an office, and so does one with a change of successor open', () => {
  const v = inOfficeBench()
  v.hear(COORDINATOR, askFor(SWAP))
  expect(v.said('vote')).toBeDefined()
  v.restart()
  expect(v.voter.record.resigned).toBe(3)
  v.learn(certificateOf(SWAP, P, COORDINATOR))
  expect(v.epoch).toBe(3)
  expect(inOffice(v.voter)).toBe(false)
  const other = inOfficeBench()
  other.restart()
  other.ack(R)
  expect(other.lease()).toEqual({ kind: 'none' })
})

test('V4: a resignation covers a change of successor that is open', () => {
  const v = inOfficeBench()
  v.hear(COORDINATOR, askFor(SWAP))
  v.send({ kind: 'resign', epoch: 2 })
  expect(v.voter.record.resigned).toBe(3)
  v.learn(certificateOf(SWAP, P, COORDINATOR))
  expect(v.find('advanced')).toBeUndefined()
  expect(v.lease()).toEqual({ kind: 'none' })
})

test('V4: a change of successor never brings an office back', () => {
  const v = inOfficeBench().restart()
  v.learn(certificateOf(SWAP, P, COORDINATOR))
  v.ack(COORDINATOR)
  expect(v.epoch).toBe(3)
  expect(v.lease()).toEqual({ kind: 'none' })
  const other = inOfficeBench()
    .restart()
    .wait(lease * 1.02)
  other.hear(COORDINATOR, votesOf(DROP, [COORDINATOR]))
  expect(other.epoch).toBe(2)
  expect(other.voter.candidate).toBeUndefined()
})

test('V4: a vote for somebody else ends an office', () => {
  const v = inOfficeBench()
  v.send({ kind: 'resign', epoch: 2 })
  v.hear(COORDINATOR, askFor(forcedChange(PAIR, 3, { instance: Q, key: keyOf(Q) })))
  expect(v.said('vote')).toBeDefined()
  expect(inOffice(v.voter)).toBe(false)
  expect(v.voter.promise?.to).toBe(Q)
})

test('V5: while a change of successor is open a lease must count whatever becomes of it', () => {
  const v = inOfficeBench()
  const early = v.now
  v.hear(COORDINATOR, askFor(SWAP))
  v.wait(300).ack(R)
  // R gives one under the old certificate only.
  expect(v.lease()).toEqual({ kind: 'until', at: early + LENGTH })
  v.ack(Q)
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
  v.wait(100).ack(COORDINATOR)
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
})

test('V5: to run alone is not allowed before the coordinator has taken the change', () => {
  const v = inOfficeBench()
  v.hear(COORDINATOR, askFor(DROP))
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
  v.learn(certificateOf(DROP, P, COORDINATOR))
  expect(v.kinds()).toEqual(['persist', 'advanced'])
  expect(v.lease()).toEqual({ kind: 'solo' })
})

test('V5: a primary that ran alone needs the lease of the successor that it has voted for', () => {
  const v = voterBench(P)
  v.hear(COORDINATOR, votesOf(FIRST.proposal, [COORDINATOR]))
  v.ack(COORDINATOR)
  v.hear(COORDINATOR, askFor(PAIR.proposal))
  expect(v.said('vote')).toBeDefined()
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
  v.learn(PAIR)
  expect(v.voter.record.pending).toBeUndefined()
  expect(v.find('advanced')?.certificate).toEqual(PAIR)
})

test('V5: a change of successor is only voted for with a lease from the coordinator', () => {
  const v = inOfficeBench()
  v.wait(LENGTH - fenceBudget).ack(R)
  v.hear(COORDINATOR, askFor(SWAP))
  expect(v.said('declined')?.why).toContain('no lease from the coordinator')
  v.ack(COORDINATOR)
  v.hear(COORDINATOR, askFor(SWAP))
  expect(v.said('vote')).toBeDefined()
})

test('in doubt of its clock a voter has no lease, and gives neither vote nor lease until all has run out', () => {
  const v = inOfficeBench()
  const sentAt = v.now
  v.send({ kind: 'tilt' })
  expect(v.lease()).toEqual({ kind: 'none' })
  v.ack(R, sentAt)
  expect(v.lease()).toEqual({ kind: 'none' })
  v.wait(lease * 1.02)
  v.ack(R, sentAt)
  expect(v.lease()).toEqual({ kind: 'until', at: sentAt + LENGTH })
  v.ack(R)
  expect(v.lease()).toEqual({ kind: 'until', at: v.now + LENGTH })
  const r = voterBench(R).learn(FIRST, PAIR)
  r.wait(lease).send({ kind: 'tilt' })
  r.hear(P, votesOf(turnoverOf(PAIR, 3), [P]))
  expect(r.find('certified')).toBeUndefined()
  r.wait(lease * 1.02).pulse()
  expect(r.find('certified')).toBeDefined()
})
