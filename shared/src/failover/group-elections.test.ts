import { expect, test } from 'vitest'
import { millis, mono } from '../core/time.ts'
import { certificateOf, keyOf } from '../testkit/certificates.ts'
import { groupBench as bench, P, Q, R, turnoverOf } from '../testkit/group-bench.ts'
import { COORDINATOR, renewal, succession } from './certificate.ts'
import { nextLook } from './group.ts'
import { defaultLeasePolicy } from './lease.ts'

const { lease } = defaultLeasePolicy

test('G2: a silent primary is replaced once its lease has run out, and not a moment before', () => {
  const g = bench().settle()
  g.wait(lease, R)
  expect(g.find('vote')).toBeUndefined()
  expect(g.kinds()).toContain('check-instance')
  g.wait(1, R)
  expect(g.find('incident-opened')?.incident).toMatchObject({ trigger: 'silence', keepOld: true })
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 3, primary: R, successor: P })
})

test('G3: our vote alone elects nobody: the candidate adds its own', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  expect(g.find('vote')?.record).toBeUndefined()
  g.write()
  expect(g.kinds()).toEqual(['tell:votes'])
  expect(g.told('votes')).toMatchObject({
    instance: R,
    message: { votes: [{ voter: COORDINATOR, echo: g.now }] },
  })
  expect(g.group).toMatchObject({ epoch: 2, primary: P, phase: { kind: 'electing' } })
  g.win()
  expect(g.find('record')).toMatchObject({ facts: { previous: P, incident: { trigger: 'silence' } } })
  expect(g.group).toMatchObject({ epoch: 3, primary: R, phase: { kind: 'promoting', target: R } })
})

test('a successor that still hears the primary does not take its place', () => {
  const g = bench().settle()
  for (let round = 0; round < 20; round += 1) {
    g.beat(R, { hears: true })
    g.wait(100)
  }
  expect(g.group.phase.kind).toBe('steady')
  g.beat(R, { hears: false })
  g.wait(100)
  expect(g.group.phase.kind).toBe('voting')
})

test('the last word that is waited for is acted on when it comes, not at the next tick', () => {
  const g = bench().settle()
  g.beat(R, { hears: true })
  g.wait(lease + 1)
  expect(g.group.phase.kind).toBe('steady')
  g.beat(R, { hears: false })
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 3, primary: R })
})

test('the next look is right after the promise to the primary ends, and there is none without a promise', () => {
  const g = bench().settle()
  g.beat(P)
  const { until } = g.group.promise ?? { until: g.now }
  expect(nextLook(g.group, g.now)).toBe(until + 1)
  expect(nextLook(g.group, until)).toBeUndefined()
  g.wait(lease + 1, R)
  g.write()
  // It is promised to the candidate now.
  expect(nextLook(g.group, g.now)).toBeUndefined()
})

test('an election is given up when the candidate hears the primary, and the primary is heard', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  g.pass(1)
  g.beat(P)
  g.beat(R, { hears: true })
  g.wait(0)
  expect(g.group.phase.kind).toBe('steady')
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'failed' })
})

test('G2: a candidate that we have voted for is promised to, also when its election was given up', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  const until = g.now + lease
  expect(g.group.promise).toEqual({ to: R, until })
  g.pass(1)
  g.beat(P)
  g.beat(R, { hears: true })
  g.wait(0)
  g.connect(P, 'idle', { resigned: 2 })
  g.agree()
  expect(g.find('vote')).toBeUndefined()
  g.wait(until - g.now - 1, P, R)
  expect(g.find('vote')).toBeUndefined()
  g.wait(1, P, R)
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 4, primary: P })
})

test('G2: nor is it promised to once our vote for another is being written, though it wins with the one that it has', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  const until = g.now + lease
  g.pass(1)
  g.beat(P)
  g.beat(R, { hears: true })
  g.wait(0)
  g.connect(P, 'idle', { resigned: 2 })
  g.agree()
  g.wait(until - g.now, P, R)
  expect(g.group.casting).toEqual({ epoch: 4, primary: P })
  g.beat(R, { epoch: 3, office: true })
  expect(g.told('ack')).toBeUndefined()
  expect(g.group.promise).toEqual({ to: R, until })
})

test('a candidate is told again that it has our vote', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  g.wait(200, R)
  expect(g.told('votes')).toBeUndefined()
  g.wait(100, R)
  expect(g.told('votes')).toMatchObject({ instance: R })
})

test('a successor is not replaced by anybody while the machine of the primary may run', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'disconnected', instance: R })
  g.wait(5 * lease, Q)
  expect(g.group.phase.kind).toBe('steady')
  expect(g.find('vote')).toBeUndefined()
})

test("the cloud's word that the machine has ended saves the wait", () => {
  const g = bench().settle()
  g.send({ kind: 'gone', instance: P })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R })
  g.write()
  expect(g.told('votes')?.message.gone).toEqual([P])
})

test('a primary that runs alone is replaced only on the word of the cloud', () => {
  const g = bench().begin()
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.wait(20 * lease, R)
  expect(g.group.phase.kind).toBe('steady')
  expect(g.find('vote')).toBeUndefined()
  g.send({ kind: 'gone', instance: P })
  expect(g.find('vote')).toMatchObject({ proposal: { primary: R, successor: null, forced: true } })
})

test('G2: the vote of the holder frees us from our promise', () => {
  const g = bench().settle()
  g.beat(P)
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  g.released()
  expect(g.group.promise).toMatchObject({ to: P })
  expect(g.find('vote')).toMatchObject({ votes: [{ voter: P }], record: { previous: P } })
})

test('G1: a vote that is being written is nobody’s yet, and is counted against everybody else', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  expect(g.group.casting).toEqual({ epoch: 3, primary: R })
  expect(g.group.voted.epoch).toBe(2)
  // The primary is back: what we promise it now would not be kept.
  g.beat(P)
  expect(g.told('ack')).toBeUndefined()
  g.write()
  expect(g.group).toMatchObject({ casting: undefined, voted: { epoch: 3, primary: R } })
  g.beat(P)
  expect(g.told('ack')).toBeUndefined()
  g.beat(R, { epoch: 2 })
  expect(g.told('ack')).toBeUndefined()
})

test('a heartbeat of the primary is answered with a promise, one of anybody else is not', () => {
  const g = bench().settle()
  g.beat(P)
  expect(g.told('ack')).toEqual({
    instance: P,
    message: { kind: 'ack', epoch: 2, sentAt: g.now, at: g.now, promise: lease },
  })
  expect(g.group.promise).toEqual({ to: P, until: g.now + lease })
  g.beat(R)
  expect(g.effects).toEqual([])
})

test('who has won with our vote is promised to before its certificate has come', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  g.beat(R, { epoch: 3, office: true })
  expect(g.told('ack')).toMatchObject({ instance: R, message: { epoch: 3 } })
})

test('a stale member that believes it is primary gets no promise, and hears what it has missed', () => {
  const g = bench().settle()
  g.send({ kind: 'gone', instance: P })
  g.write()
  g.win()
  g.beat(P, { epoch: 2, office: true })
  expect(g.told('ack')).toBeUndefined()
  expect(g.told('certificate')).toMatchObject({
    instance: P,
    message: { certificate: { proposal: { epoch: 3 } } },
  })
})

test('a primary that was restarted is asked for its vote first, and gets another epoch', () => {
  const g = bench().settle()
  g.connect(P, 'idle', { resigned: 2 })
  expect(g.kinds()).toEqual(['tell:ask'])
  expect(g.told('ask')).toMatchObject({
    instance: P,
    message: { proposal: { epoch: 3, term: 3, primary: P, successor: R } },
  })
  g.agree()
  expect(g.find('vote')).toMatchObject({ votes: [{ voter: P }], record: { previous: P } })
  g.write()
  expect(g.told('votes')).toMatchObject({ instance: P })
  expect(g.kinds()).not.toContain('drain-address')
  expect(g.group).toMatchObject({ epoch: 3, phase: { kind: 'promoting', target: P } })
})

test('who has lost its office says so in its heartbeats, and is asked for another epoch', () => {
  const g = bench().settle()
  g.beat(P, { office: false })
  expect(g.group.members.get(P)?.resigned).toBe(2)
  g.wait(0)
  expect(g.told('ask')).toMatchObject({ instance: P, message: { proposal: { epoch: 3, primary: P } } })
})

test('who has voted in a later epoch than we knew is asked again, with a later one', () => {
  const g = bench().settle()
  g.connect(P, 'idle', { resigned: 2 })
  g.decline(7)
  expect(g.told('ask')).toMatchObject({ message: { proposal: { epoch: 8, term: 8 } } })
  g.decline(3)
  expect(g.effects).toEqual([])
})

test('a question is repeated, and given up when no answer comes', () => {
  const g = bench().settle()
  g.connect(P, 'idle', { resigned: 2 })
  g.wait(300, P, R)
  expect(g.told('ask')).toMatchObject({ instance: P })
  g.wait(5000, P, R)
  expect(g.group.phase).toMatchObject({ kind: 'failed', why: 'its vote did not come' })
})

test('a vote counts only from who was asked, and for what was asked', () => {
  const g = bench().settle()
  g.connect(P, 'idle', { resigned: 2 })
  const certificate = g.group.certificate
  if (!certificate) throw new Error('no certificate')
  const vote = { voter: P, signature: '', echo: null } as const
  const other = renewal(certificate, 9)
  g.send({ kind: 'voter', instance: P, message: { kind: 'vote', proposal: other, vote } })
  const { proposal } = g.group.phase.kind === 'asking' ? g.group.phase.change : { proposal: other }
  g.send({ kind: 'voter', instance: R, message: { kind: 'vote', proposal, vote } })
  expect(g.group.phase.kind).toBe('asking')
  expect(g.find('vote')).toBeUndefined()
})

test('G3: another replica is forced in only when every other voter has ended, has resigned or consents', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'sync', instance: R, sync: 'syncing' })
  g.send({ kind: 'gone', instance: P })
  // R has a vote and no whole copy: it consents to Q.
  expect(g.told('ask')).toMatchObject({
    instance: R,
    message: { proposal: { primary: Q, forced: true }, gone: [P] },
  })
  expect(g.find('vote')).toBeUndefined()
  g.agree()
  expect(g.find('vote')).toMatchObject({ votes: [{ voter: R }], record: { previous: P } })
  const proposal = g.find('vote')?.proposal
  // Beyond whatever the two others can have voted for without us.
  expect(proposal?.epoch).toBeGreaterThan(100)
})

test('a successor that cannot be asked and has not ended stands in the way of force', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'disconnected', instance: R })
  g.send({ kind: 'gone', instance: P })
  expect(g.find('vote')).toBeUndefined()
  expect(g.group.phase.kind).toBe('relaunching')
  g.wait(1000, Q)
  expect(g.effects).toContainEqual({ kind: 'check-instance', instance: R })
  g.send({ kind: 'gone', instance: R })
  expect(g.find('vote')).toMatchObject({ proposal: { primary: Q, forced: true }, record: { fresh: false } })
})

test('G2: when we stood still ourselves, that we heard nothing says nothing', () => {
  const g = bench().settle()
  g.pass(3000)
  g.beat(R)
  g.wait(0)
  expect(g.group.phase.kind).toBe('steady')
  g.wait(lease - 1, R)
  expect(g.group.phase.kind).toBe('steady')
  g.wait(2, R)
  expect(g.group.phase.kind).toBe('voting')
})

test('a primary that is heard again before we have voted keeps its office', () => {
  const g = bench().settle()
  g.group = { ...g.group, abstainFor: new Set([Q]) }
  g.wait(lease + 100, R)
  expect(g.group.phase).toMatchObject({ kind: 'voting', isBeingWritten: false })
  g.wait(100, P, R)
  expect(g.group.phase.kind).toBe('steady')
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'failed' })
})

test('a candidate that has ended is not waited for', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  g.write()
  g.send({ kind: 'gone', instance: R })
  g.wait(100)
  expect(g.group.phase.kind).toBe('steady')
  expect(g.group.waiting).toMatchObject({ trigger: 'silence' })
})

test('a primary that ends while its vote is asked for is replaced', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'promote', target: Q, budget: millis(5000), keepOld: true })
  expect(g.group.phase.kind).toBe('asking')
  g.send({ kind: 'gone', instance: P })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R })
})

test('G6: a hand-over that others have certified is recorded, and the incident that they name is opened', () => {
  const g = bench().settle()
  const certificate = certificateOf(turnoverOf(g.group), P, R)
  const incident = '00000000-0000-4000-8000-000000000009' as const
  g.send({
    kind: 'voter',
    instance: R,
    message: { kind: 'certificate', certificate },
    extras: { incident: incident as never, fresh: false },
  })
  expect(g.find('incident-opened')?.incident).toMatchObject({ id: incident, trigger: 'notice', instance: P })
  expect(g.find('record')).toMatchObject({ certificate, facts: { previous: P, incident: { id: incident } } })
  expect(g.group).toMatchObject({ epoch: 3, primary: R, phase: { kind: 'promoting', target: R } })
  expect(g.kinds()).toContain('drain-address')
  g.bring(certificate)
  expect(g.effects).toEqual([])
})

test('G6: what a member has kept is recorded, oldest first, and the newest counts', () => {
  const g = bench().settle()
  const base = g.group.certificate
  if (!base) throw new Error('no certificate')
  const third = certificateOf(turnoverOf(g.group), P, R)
  const fourth = certificateOf(renewal(third, 4), R, P)
  g.connect(R, 'primary', { chain: [base, third, fourth] })
  const recorded = g.effects.flatMap((effect) => (effect.kind === 'record' ? [effect] : []))
  expect(recorded.map(({ certificate }) => certificate.proposal.epoch)).toEqual([2, 3, 4])
  expect(recorded.map(({ facts }) => facts.previous)).toEqual([undefined, P, P])
  expect(g.group).toMatchObject({ epoch: 4, primary: R })
  expect(g.group.voted.epoch).toBe(4)
})

test('an older certificate is recorded and changes nothing', () => {
  const g = bench().settle()
  const older = g.group.certificate
  if (!older) throw new Error('no certificate')
  g.send({ kind: 'gone', instance: P })
  g.write()
  g.win()
  const before = g.group
  g.bring(older, R)
  expect(g.kinds()).toEqual(['record'])
  expect(g.group).toEqual(before)
})

test('a change that others have certified meanwhile makes ours void, but our vote stays cast', () => {
  const g = bench().settle()
  g.wait(lease + 1, R)
  const vote = g.find('vote')?.proposal
  const base = g.group.certificate
  if (!base || !vote) throw new Error('no vote')
  g.bring(certificateOf(renewal(base, 4), P, R))
  expect(g.group).toMatchObject({ epoch: 4, casting: { epoch: 3, primary: R } })
  g.send({ kind: 'voted', epoch: 3, signature: '' })
  expect(g.effects).toEqual([])
  expect(g.group).toMatchObject({ epoch: 4, primary: P, casting: undefined })
  // What was voted for in the later epoch is not forgotten over it.
  expect(g.group.voted.epoch).toBe(4)
})

test('with a database that is older than what a member remembers nobody is voted for before all have spoken', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'disconnected', instance: Q })
  g.send({ kind: 'outdated', voted: 3000 })
  expect([...g.group.abstainFor]).toEqual([Q])
  g.wait(100, P, R)
  expect(g.effects).toContainEqual({ kind: 'check-instance', instance: Q })
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  g.released({ ...turnoverOf(g.group), epoch: 3001, term: 3001 })
  expect(g.find('vote')).toBeUndefined()
  g.wait(100, R)
  expect(g.find('vote')).toBeUndefined()
  g.connect(Q, 'replica')
  expect(g.group.abstainFor.size).toBe(0)
  g.wait(0, R)
  expect(g.find('vote')).toMatchObject({ proposal: { epoch: 3001 } })
})

test('who has ended need not speak', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'disconnected', instance: Q })
  g.send({ kind: 'outdated', voted: 3000 })
  g.send({ kind: 'gone', instance: Q })
  expect(g.group.abstainFor.size).toBe(0)
  g.send({ kind: 'gone', instance: P })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R, epoch: 3001 })
})

test.each([
  ['planned', true],
  ['notice', false],
] as const)('an epoch that was given up without us is in the record as %s', (trigger, planned) => {
  const g = bench().settle()
  const certificate = certificateOf(turnoverOf(g.group), P, R)
  const extras = { incident: null, fresh: false, planned }
  g.send({ kind: 'voter', instance: R, message: { kind: 'certificate', certificate }, extras })
  expect(g.find('incident-opened')).toMatchObject({ incident: { trigger, instance: P } })
})

test('an unknown succession is learnt like any other certificate, and does not begin a term', () => {
  const g = bench([P, R, Q]).settle()
  const base = g.group.certificate
  if (!base) throw new Error('no certificate')
  g.bring(certificateOf(succession(base, 3, { instance: Q, key: keyOf(Q) }), P, COORDINATOR))
  expect(g.group).toMatchObject({ epoch: 3, primary: P, phase: { kind: 'steady' } })
  expect(g.group.promise).toEqual({ to: P, until: mono(g.now + lease) })
})

test.each([
  ['was let go', { kind: 'left', instance: R } as const],
  ['has ended', { kind: 'gone', instance: R } as const],
])('a candidate that %s before our vote for it is not waited for', (_, event) => {
  const g = bench([P, R, Q]).begin()
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  // No vote before the third has said what it knows.
  g.send({ kind: 'outdated', voted: 5 })
  g.send({ kind: 'gone', instance: P })
  expect(g.group.phase).toMatchObject({
    kind: 'voting',
    isBeingWritten: false,
    change: { proposal: { primary: R } },
  })
  g.send(event)
  g.wait(100)
  expect(g.group.phase.kind).toBe('relaunching')
  g.connect(Q)
  g.send({ kind: 'sync', instance: Q, sync: 'none' })
  // From nothing only once those had time to come whom a restored database does not know.
  g.wait(9000, Q)
  expect(g.find('vote')).toBeUndefined()
  g.wait(1000, Q)
  expect(g.find('vote')?.proposal).toMatchObject({ primary: Q, forced: true })
})

test('a first instance that was let go before our vote for it makes room for the next', () => {
  const g = bench([P, R])
  for (const instance of [P, R]) g.send({ kind: 'joined', instance })
  g.send({ kind: 'outdated', voted: 5 })
  g.connect(P)
  expect(g.group.phase).toMatchObject({ kind: 'voting', isBeingWritten: false })
  g.send({ kind: 'left', instance: P })
  g.wait(100)
  expect(g.group.phase.kind).toBe('vacant')
  g.connect(R)
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R, epoch: 6 })
})
