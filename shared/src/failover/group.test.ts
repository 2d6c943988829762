import { expect, test } from 'vitest'
import { instanceId } from '../core/ids.ts'
import { millis, mono } from '../core/time.ts'
import { groupBench as bench, P, Q, R } from '../testkit/group-bench.ts'
import { mayPromote } from './group.ts'
import { defaultLeasePolicy } from './lease.ts'

test('the first instance gets epoch 1', () => {
  const g = bench()
  g.send({ kind: 'joined', instance: P })
  g.connect(P)
  expect(g.find('commit')).toMatchObject({ from: 0, to: 1, target: P })
  g.commit()
  expect(g.kinds()).toEqual(['order:promote'])
})

test('an instance that never joined is told to stop', () => {
  const g = bench().settle()
  g.connect(instanceId('i-stranger'), 'primary', 1)
  expect(g.kinds()).toEqual(['order:fence'])
})

test('with a notice a ready replica takes over, and every step waits for the one before', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  expect(g.kinds()).toEqual(['incident-opened', 'order:hand-over', 'incident-step'])
  expect(g.find('order')?.order).toMatchObject({ kind: 'hand-over', target: R, urgent: true })
  g.send({ kind: 'released', instance: P, epoch: 1, target: R })
  expect(g.kinds()).toEqual(['drain-address', 'commit'])
  g.commit()
  expect(g.kinds()).toEqual(['order:fence', 'order:promote'])
  g.send({ kind: 'promoted', instance: R, epoch: 2 })
  expect(g.kinds()).toEqual(['point-address', 'order:fence'])
  g.send({ kind: 'routed', epoch: 2 })
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'promoted' })
  expect(g.find('replica-wanted')).toMatchObject({ why: 'replaced' })
  expect(g.group.primary).toBe(R)
})

test('the same notice again, a second one, and a rebalance in between change nothing', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  g.pass(10_000)
  expect(g.send({ kind: 'notice', instance: P, left: millis(110_000) })).toEqual([])
  expect(g.group.phase.kind).toBe('handing-over')
})

test.each([
  ['while it hands over', [P, R], 'handing-over'],
  ['while it waits for a replica', [P], 'steady'],
] as const)('a notice whose time has moved moves the end of the one incident %s', (_, members, phase) => {
  const g = bench([...members]).settle()
  g.send({ kind: 'notice', instance: P, left: millis(30_000) })
  const { id } = g.find('incident-opened')?.incident ?? {}
  g.send({ kind: 'notice', instance: P, left: millis(10_000) })
  expect(g.kinds()).toEqual(['incident-moved'])
  const { incident } = g.find('incident-moved') ?? {}
  expect(incident).toMatchObject({ id, by: g.group.members.get(P)?.noticedBy })
  expect(g.group.phase.kind).toBe(phase)
  if (g.group.phase.kind === 'handing-over')
    expect(g.group.phase).toMatchObject({ incident, giveUpAt: (incident?.by ?? 0) - 1000 })
  else expect(g.group.waiting).toEqual(incident)
})

test('a silent primary is replaced once its lease has run out, and not a moment before', () => {
  const g = bench().settle()
  g.pass(defaultLeasePolicy.lease - 1)
  g.beat(R)
  g.wait(0)
  expect(g.find('commit')).toBeUndefined()
  expect(g.kinds()).toContain('check-instance')
  g.wait(1)
  expect(g.find('commit')).toMatchObject({ target: R })
  expect(g.find('incident-opened')?.incident).toMatchObject({ trigger: 'silence', keepOld: true })
})

test("the cloud's word that the machine has ended saves the wait", () => {
  const g = bench().settle()
  g.pass(600)
  g.beat(R)
  g.send({ kind: 'gone', instance: P })
  expect(g.find('commit')).toMatchObject({ target: R })
})

test('a primary that was told to run on alone is replaced only on the word of the cloud', () => {
  const g = bench().settle()
  // The replica is lost sight of, so the next grant is solo.
  g.send({ kind: 'disconnected', instance: R })
  g.pass(500)
  g.beat(P, { lease: 'until' })
  expect(g.find('lease')?.grant.solo).toBe(true)
  g.connect(R, 'replica', 1)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.pass(2900)
  g.beat(R)
  g.wait(400)
  expect(g.find('commit')).toBeUndefined()
  g.beat(R)
  g.send({ kind: 'gone', instance: P })
  expect(g.find('commit')).toMatchObject({ target: R })
})

test('a promotion by hand over a silent primary is refused with what it takes to replace it', () => {
  const g = bench().settle()
  g.pass(4000)
  g.beat(R)
  expect(mayPromote(g.group, R, mono(15_500))).toContain('once its lease has run out')
  const alone = { ...g.group, soloSince: 7 }
  expect(mayPromote(alone, R, mono(15_500))).toContain('only once its instance is known to have ended')
})

test('a replica that the primary does not name any more cannot take over, but for the time of a promotion', () => {
  const g = bench([P, R, Q]).settle()
  g.beat(P, { lease: 'until', attached: [Q] })
  expect(g.group.members.get(R)?.attached).toBe(false)
  expect(g.group.members.get(Q)?.attached).toBe(true)
  g.send({ kind: 'gone', instance: P })
  g.commit()
  g.beat(Q, { epoch: 2 })
  g.beat(R)
  expect(g.group.phase).toMatchObject({ kind: 'promoting', target: Q })
  expect(g.group.members.get(Q)?.attached).toBe(true)
})

test('a replica with a notice of its own never takes over', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'notice', instance: R, left: millis(60_000) })
  expect(g.kinds()).toEqual(['replica-wanted'])
  g.send({ kind: 'notice', instance: P, left: millis(60_000) })
  expect(g.find('order')?.order).toMatchObject({ target: Q })
})

test('a standby whose notice was withdrawn is told to follow again', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: R, left: millis(60_000) })
  g.connect(R, 'replica', 1)
  expect(g.find('order')?.order).toEqual({ kind: 'fence', epoch: 1 })
  g.send({ kind: 'notice-withdrawn', instance: R })
  expect(g.find('order')?.order).toEqual({ kind: 'follow', epoch: 1, primary: P })
})

test('without a ready replica a notice waits for one, and takes it as soon as it is ready', () => {
  const g = bench([P]).settle()
  g.send({ kind: 'notice', instance: P, left: millis(60_000) })
  expect(g.find('replica-wanted')).toMatchObject({ why: 'notice' })
  g.send({ kind: 'joined', instance: R })
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  expect(g.find('order')).toBeUndefined()
  g.beat(R)
  g.beat(P, { lease: 'solo', attached: [R] })
  expect(g.find('order')?.order).toMatchObject({ kind: 'hand-over', target: R })
})

test('nothing starts from nothing while a member that had a copy may still come back', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'disconnected', instance: R })
  g.send({ kind: 'sync', instance: Q, sync: 'syncing' })
  g.send({ kind: 'gone', instance: P })
  expect(g.group.phase.kind).toBe('relaunching')
  expect(g.kinds()).toContain('check-instance')
  g.wait(1000)
  expect(g.find('commit')).toBeUndefined()
  g.send({ kind: 'gone', instance: R })
  expect(g.find('commit')).toMatchObject({ target: Q })
  expect(g.group.phase).toMatchObject({ kind: 'committing', fresh: true })
})

test('a copy that nobody can vouch for is still better than none', () => {
  const g = bench().settle()
  const { group } = g
  // As after a restart of the coordinator: the primary's word is not known.
  const members = new Map([...group.members].map(([id, member]) => [id, { ...member, attached: false }]))
  g.group = { ...group, members }
  g.send({ kind: 'gone', instance: P })
  expect(g.group.phase).toMatchObject({ kind: 'committing', target: R, fresh: false })
})

test('when the new primary cannot start, the old one takes its state up again', () => {
  const g = bench().settle()
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  g.send({ kind: 'released', instance: P, epoch: 1, target: R })
  g.commit()
  g.send({ kind: 'promotion-failed', instance: R, epoch: 2, why: 'start hook: status 1' })
  expect(g.find('commit')).toMatchObject({ from: 2, to: 3, target: P })
  g.commit()
  g.send({ kind: 'promoted', instance: P, epoch: 3 })
  g.send({ kind: 'routed', epoch: 3 })
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'failed' })
})

test('the only copy is tried again and again, a little later each time', () => {
  const g = bench([P])
  g.send({ kind: 'joined', instance: P })
  g.connect(P)
  g.commit()
  g.pass(4000)
  g.send({ kind: 'promotion-failed', instance: P, epoch: 1, why: 'no' })
  expect(g.group.phase).toMatchObject({ kind: 'failed', attempt: 1 })
  g.wait(999)
  expect(g.find('commit')).toBeUndefined()
  g.wait(1)
  expect(g.find('commit')).toMatchObject({ to: 2, target: P })
  g.commit()
  g.send({ kind: 'promotion-failed', instance: P, epoch: 2, why: 'no' })
  expect(g.group.phase).toMatchObject({ kind: 'failed', attempt: 2 })
})

test('a daemon that was restarted gets a new epoch on the same instance', () => {
  const g = bench([P]).settle()
  g.connect(P, 'idle', 1)
  expect(g.find('commit')).toMatchObject({ from: 1, to: 2, target: P, previous: P })
  expect(g.kinds()).not.toContain('drain-address')
})

test('a stale member that believes it is primary is told to stop', () => {
  const g = bench().settle()
  g.pass(600)
  g.beat(R)
  g.send({ kind: 'gone', instance: P })
  g.commit()
  g.beat(P, { epoch: 1, lease: 'until' })
  expect(g.find('order')?.order).toEqual({ kind: 'fence', epoch: 2 })
})

test('a released epoch is taken over even when the hand-over had been given up here', () => {
  const g = bench().settle()
  g.send({ kind: 'promote', target: R, budget: millis(2000), keepOld: true })
  g.pass(2500)
  g.beat(R)
  g.beat(P, { lease: 'until', attached: [R] })
  g.wait(0)
  expect(g.group.phase.kind).toBe('steady')
  g.send({ kind: 'released', instance: P, epoch: 1, target: R })
  expect(g.find('commit')).toMatchObject({ target: R })
})

test.each([
  ['no primary yet', () => bench(), R, 'no primary yet'],
  ['the primary itself', () => bench().settle(), P, 'is the primary already'],
  ['a stranger', () => bench().settle(), instanceId('i-x'), 'is not a member'],
])('a promotion by hand is refused with the reason: %s', (_, make, target, reason) => {
  const g = make()
  expect(mayPromote(g.group, target, mono(11_600))).toContain(reason)
})

test('a promotion by hand is refused while another change is under way', () => {
  const g = bench().settle()
  expect(mayPromote(g.group, R, mono(11_600))).toBeUndefined()
  g.send({ kind: 'notice', instance: P, left: millis(60_000) })
  expect(mayPromote(g.group, R, mono(11_600))).toContain('another change is under way')
})
