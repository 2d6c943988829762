import { expect, test } from 'vitest'
import type { IncidentId } from '../core/ids.ts'
import { millis, mono } from '../core/time.ts'
import { certificateOf, keyOf, Q } from '../testkit/certificates.ts'
import { groupBench as bench, P, R, turnoverOf } from '../testkit/group-bench.ts'
import { FIRST, PAIR } from '../testkit/voter-bench.ts'
import { type Certificate, COORDINATOR, succession, turnover } from './certificate.ts'
import type { OpenMove, Trigger } from './group.ts'
import { defaultLeasePolicy } from './lease.ts'

const { lease, drift } = defaultLeasePolicy
/** R took over from P in epoch 3. */
const TAKEN: Certificate = (() => {
  const proposal = turnover(PAIR, 3)
  if (!proposal) throw new Error('no successor')
  return certificateOf(proposal, P, COORDINATOR)
})()

const incidentOf = (trigger: Trigger) => ({
  id: 'open' as IncidentId,
  trigger,
  instance: P,
  by: trigger === 'silence' ? undefined : mono(60_000),
  keepOld: true,
})

/** A coordinator that was restarted in the middle of a move. */
const restarted = (at: OpenMove['at'], trigger: Trigger = 'planned') =>
  bench().restore({
    certificate: at.kind === 'promoting' ? TAKEN : PAIR,
    move: { incident: incidentOf(trigger), at },
  })

/** R is ready by the word of P, and hears it no more. */
function ready(g: ReturnType<typeof bench>) {
  g.connect(R, 'replica')
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.attach(R)
}

test('G2: after a restart nobody is voted for before every old promise has run out', () => {
  const g = bench().restore({ certificate: PAIR })
  ready(g)
  g.wait(lease * (1 + 2 * drift) - 1, R)
  expect(g.find('vote')).toBeUndefined()
  expect(g.kinds()).toContain('check-instance')
  g.wait(2, R)
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 3, primary: R })
})

test('G2: after a restart a primary that gives its epoch away is not waited for', () => {
  const g = restarted({ kind: 'handing-over', target: R })
  g.released()
  expect(g.find('vote')).toMatchObject({ votes: [{ voter: P }] })
})

test('G2: but for whom we had voted before it counts like the primary', () => {
  const g = bench().restore({ certificate: PAIR, voted: { epoch: 3, primary: R } })
  g.connect(P, 'idle', { resigned: 2 })
  g.agree()
  // R may have won with our vote of epoch 3.
  expect(g.find('vote')).toBeUndefined()
  g.wait(lease * (1 + 2 * drift), P)
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 4, primary: P })
})

test('G2: nor is the primary, once it has voted in an epoch that is not known here', () => {
  const g = bench().restore({ certificate: PAIR })
  // It gave epoch 3 to R, which we may have promised to before the certificate was written.
  g.connect(P, 'idle', { resigned: 2, voted: 3 })
  g.agree()
  expect(g.find('vote')).toBeUndefined()
  g.wait(lease * (1 + 2 * drift), P)
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 4, primary: P })
})

test('G1: a vote that was written before the restart is never given again', () => {
  const g = bench().restore({ certificate: PAIR, voted: { epoch: 7, primary: R } })
  g.send({ kind: 'gone', instance: P })
  ready(g)
  expect(g.group.casting).toEqual({ epoch: 8, primary: R })
})

test('after a restart a hand-over goes on to the same target, whatever the primary has done meanwhile', () => {
  const g = restarted({ kind: 'handing-over', target: R })
  g.connect(P, 'handing-over')
  expect(g.find('order')).toMatchObject({ instance: P, order: { kind: 'hand-over', target: R } })
  g.released()
  expect(g.find('vote')).toMatchObject({
    proposal: { epoch: 3, primary: R },
    record: { incident: { id: 'open' } },
  })
})

test('after a restart a primary that has given its epoch away is not told to do so again', () => {
  const g = restarted({ kind: 'handing-over', target: R })
  g.connect(P, 'released', { resigned: 2 })
  expect(g.effects).toEqual([])
  g.released()
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R })
})

test('after a restart a promotion that was certified is offered again, and its incident is closed once', () => {
  const g = restarted({ kind: 'promoting', fresh: false })
  g.connect(R, 'replica')
  expect(g.told('votes')).toMatchObject({
    instance: R,
    message: { proposal: { epoch: 3, primary: R }, extras: { incident: 'open', fresh: false } },
  })
  g.promoted()
  expect(g.find('point-address')).toMatchObject({ epoch: 3, instance: R })
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.find('incident-closed')).toMatchObject({ incident: { id: 'open' }, outcome: 'promoted' })
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.effects).toEqual([])
})

test('what was offered before the restart gives no lease after it', () => {
  const g = restarted({ kind: 'promoting', fresh: false })
  g.connect(R, 'replica')
  const { votes = [] } = g.told('votes')?.message ?? {}
  expect(votes.map(({ voter, echo }) => [voter, echo])).toEqual([
    [P, null],
    [COORDINATOR, null],
  ])
})

test('after a restart a primary that is up already is not asked to begin', () => {
  const g = restarted({ kind: 'promoting', fresh: true })
  g.connect(R, 'primary')
  expect(g.told('votes')).toBeUndefined()
  expect(g.find('point-address')).toMatchObject({ epoch: 3, instance: R })
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'relaunched' })
})

test('after a restart a notice is still known: it waits for a replica and never moves to the noticed instance', () => {
  const g = restarted({ kind: 'waiting' }, 'notice')
  expect(g.group.waiting?.id).toBe('open')
  expect(g.group.members.get(P)?.noticedBy).toBe(60_000)
  g.connect(P, 'primary')
  g.beat(P)
  ready(g)
  expect(g.find('order')).toMatchObject({ instance: P, order: { kind: 'hand-over', target: R } })
})

test('a move that the members have finished while the coordinator was away belongs to the same incident', () => {
  const g = restarted({ kind: 'handing-over', target: R }, 'notice')
  const certificate = certificateOf(turnoverOf(g.group), P, R)
  g.connect(R, 'primary', { chain: [FIRST, PAIR, certificate] })
  expect(g.find('incident-opened')).toBeUndefined()
  expect(g.effects).toContainEqual(
    expect.objectContaining({
      kind: 'record',
      certificate,
      facts: expect.objectContaining({ previous: P, incident: incidentOf('notice') }),
    }),
  )
  expect(g.find('point-address')).toMatchObject({ epoch: 3, instance: R })
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.find('incident-closed')).toMatchObject({ incident: { id: 'open' }, outcome: 'promoted' })
})

test('a hand-over that was open at the restart is called off when its time is over', () => {
  const g = restarted({ kind: 'handing-over', target: R })
  g.connect(P, 'primary')
  const effects = g.wait(millis(11_100), P, R)
  expect(effects).toContainEqual({
    kind: 'order',
    instance: P,
    order: { kind: 'abort-hand-over', epoch: 2 },
  })
  expect(effects).toContainEqual(expect.objectContaining({ kind: 'incident-closed', outcome: 'failed' }))
})

test('a silence that was open at the restart is taken up again: who takes over does so in the same incident', () => {
  const g = restarted({ kind: 'waiting' }, 'silence')
  g.connect(R, 'replica')
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  const effects = g.wait(2 * lease + 200, R)
  expect(effects.filter(({ kind }) => kind === 'incident-opened')).toEqual([])
  g.write()
  g.win()
  expect(g.find('record')).toMatchObject({ facts: { incident: { id: 'open' } } })
  g.promoted()
  g.send({ kind: 'routed', epoch: g.group.epoch })
  expect(g.find('incident-closed')).toMatchObject({ incident: { id: 'open' }, outcome: 'promoted' })
})

test('a candidate that won by our vote before the restart closes the same incident', () => {
  const g = restarted({ kind: 'waiting' }, 'silence')
  g.connect(R, 'primary', { chain: [FIRST, PAIR, certificateOf(turnoverOf(g.group), COORDINATOR, R)] })
  expect(g.find('incident-opened')).toBeUndefined()
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.find('incident-closed')).toMatchObject({ incident: { id: 'open' }, outcome: 'promoted' })
  expect(g.group.waiting).toBeUndefined()
})

test('a silence that was open at the restart ends when its primary is heard again, and nothing is handed over', () => {
  const g = restarted({ kind: 'waiting' }, 'silence')
  g.connect(P, 'primary')
  ready(g)
  expect(g.find('order')).toBeUndefined()
  g.wait(100, P, R)
  expect(g.find('incident-closed')).toMatchObject({
    incident: { id: 'open' },
    outcome: 'failed',
    why: `${P} is heard again and goes on at epoch 2: nobody took over`,
  })
  g.rounds()
  expect(g.group.phase.kind).toBe('steady')
  expect(g.group.waiting).toBeUndefined()
})

test('what waited for a replica is over with the promotion that others have brought about', () => {
  const g = restarted({ kind: 'waiting' }, 'notice')
  g.connect(R, 'primary', { chain: [FIRST, PAIR, certificateOf(turnoverOf(g.group), P, R)] })
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.find('incident-closed')).toMatchObject({ incident: { id: 'open' } })
  expect(g.group.waiting).toBeUndefined()
})

test('what is offered again after a restart comes with the certificate that it follows', () => {
  const g = bench().restore({
    certificate: TAKEN,
    base: PAIR,
    move: { incident: incidentOf('silence'), at: { kind: 'promoting', fresh: true } },
  })
  g.connect(R, 'idle', { chain: [] })
  expect(g.told('votes')?.message.base).toEqual(PAIR)
})

/** The database is from before the move to R; P follows R since, and says that its copy is whole. */
function outdated() {
  const g = bench().restore({ certificate: PAIR })
  const chain = [FIRST, PAIR, TAKEN]
  g.send({ kind: 'outdated', voted: 1000 })
  g.connect(P, 'replica', { chain, voted: 3, resigned: 2 })
  g.send({ kind: 'sync', instance: P, sync: 'ready' })
  g.beat(P)
  g.connect(R, 'primary', { chain, voted: 3 })
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.group).toMatchObject({ epoch: 3, primary: R, phase: { kind: 'steady' } })
  return g
}

/** R gets an epoch that no lost vote can have been given in, and goes on. */
function renewed() {
  const g = outdated()
  g.wait(100, P, R)
  expect(g.group.phase).toMatchObject({ kind: 'asking', of: R, change: { proposal: { epoch: 1001 } } })
  g.agree()
  g.write()
  expect(g.group).toMatchObject({ epoch: 1001, primary: R, phase: { kind: 'promoting' } })
  return g
}

test('after a restored database a primary that stands still for some seconds is not replaced by who was it before', () => {
  const g = outdated()
  g.wait(8000, P)
  expect(g.group.casting).toBeUndefined()
  g.wait(1500, P, R)
  expect(g.group.phase).toMatchObject({ kind: 'asking', of: R })
})

test('but at once when its instance has ended', () => {
  const g = outdated()
  g.wait(100, P)
  g.send({ kind: 'gone', instance: R })
  g.wait(lease + 200, P)
  expect(g.group.casting).toEqual({ epoch: 1001, primary: P })
})

test('and after a while by the best copy that is left', () => {
  const g = outdated()
  g.wait(16_000, P)
  expect(g.group.casting).toMatchObject({ primary: P })
})

test('who handed the state over before the primary was up has not what was written since', () => {
  const g = renewed()
  g.promoted()
  g.wait(100, P, R)
  g.send({ kind: 'promotion-failed', instance: R, epoch: 1001, why: 'the start hook failed' })
  expect(g.group.casting).toBeUndefined()
  expect(g.group.phase).toMatchObject({ kind: 'failed' })
  g.wait(1000, P, R)
  expect(g.group.phase).toMatchObject({ kind: 'asking', of: R })
})

test('a primary that is renewed while it runs is replaced only like one that runs: when its successor does not hear it', () => {
  const g = renewed()
  g.wait(12_000, R)
  for (let passed = 0; passed < 3000; passed += 100) {
    g.pass(100)
    g.beat(P, { hears: true })
    g.send({ kind: 'tick' })
  }
  expect(g.group.phase).toMatchObject({ kind: 'promoting', target: R })
})

test('what a primary has vouched for before it was renewed still counts', () => {
  const g = outdated()
  g.attach()
  g.wait(100, P, R)
  g.agree()
  g.write()
  g.promoted()
  g.wait(12_000, P, R)
  // P is whole by its own word only, and R has said that it does not follow.
  g.wait(3 * lease, P)
  expect(g.group.casting).toBeUndefined()
})

test('a primary that was let go before its epoch was heard of is known again, and passed over once it has ended', () => {
  const named = certificateOf(succession(PAIR, 3, { instance: Q, key: keyOf(Q) }), P, COORDINATOR)
  const proposal = turnover(named, 4)
  if (!proposal) throw new Error('no successor')
  const g = bench().restore({ certificate: PAIR })
  g.send({ kind: 'gone', instance: P })
  g.connect(R, 'replica', { chain: [named, certificateOf(proposal, P, Q)] })
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  expect(g.group).toMatchObject({ epoch: 4, primary: Q })
  g.wait(5 * lease, R)
  expect(g.effects).toContainEqual({ kind: 'check-instance', instance: Q })
  g.send({ kind: 'gone', instance: Q })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R, forced: true })
})
