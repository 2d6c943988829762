import { expect, test } from 'vitest'
import { instanceId } from '../core/ids.ts'
import { millis, mono } from '../core/time.ts'
import { groupBench as bench, P, Q, R } from '../testkit/group-bench.ts'
import { mayPromote } from './group.ts'

const thenOf = ({ group: { phase } }: ReturnType<typeof bench>) =>
  'change' in phase ? phase.change.then : undefined

test('the first instance gets epoch 1, by the coordinator alone, once its vote is written', () => {
  const g = bench()
  g.send({ kind: 'joined', instance: P })
  g.connect(P)
  expect(g.kinds()).toEqual(['vote'])
  expect(g.find('vote')).toMatchObject({
    proposal: { epoch: 1, primary: P, successor: null, term: 1 },
    votes: [],
    record: { previous: undefined, incident: undefined, fresh: false },
  })
  expect(g.group.primary).toBeUndefined()
  g.write()
  expect(g.kinds()).toEqual(['tell:votes'])
  expect(g.told('votes')).toMatchObject({ instance: P, message: { votes: [{ voter: 'coordinator' }] } })
  g.promoted()
  expect(g.find('point-address')).toEqual({ kind: 'point-address', epoch: 1, instance: P })
})

test('an instance that never joined is told to stop', () => {
  const g = bench().settle()
  g.connect(instanceId('i-stranger'), 'primary')
  expect(g.kinds()).toEqual(['order:fence'])
  g.beat(instanceId('i-stranger'))
  expect(g.kinds()).toEqual(['order:fence'])
})

test('with a notice a ready replica takes over, and every step waits for the one before', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  expect(g.kinds()).toEqual(['incident-opened', 'order:hand-over', 'incident-step'])
  expect(g.find('order')?.order).toMatchObject({ kind: 'hand-over', target: R, urgent: true })
  g.released()
  expect(g.kinds()).toEqual(['vote'])
  expect(g.find('vote')).toMatchObject({
    proposal: { epoch: 3, primary: R, successor: P },
    votes: [{ voter: P }],
  })
  expect(g.group.epoch).toBe(2)
  g.write()
  expect(g.kinds()).toEqual(['tell:votes', 'tell:certificate', 'order:fence', 'drain-address'])
  g.promoted()
  expect(g.kinds()).toEqual(['point-address', 'order:fence'])
  g.send({ kind: 'routed', epoch: 3 })
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

test('a promotion by hand over a silent primary is refused with what it takes to replace it', () => {
  const g = bench().settle()
  g.wait(1100)
  expect(mayPromote(g.group, R, g.now)).toContain('once its lease has run out')
  const alone = bench([P]).settle()
  alone.wait(4000)
  expect(mayPromote(alone.group, R, alone.now)).toContain('only once its instance is known to have ended')
})

test('a replica that the primary does not name any more cannot take over, but for the time of a promotion', () => {
  const g = bench([P, R, Q]).settle()
  g.attach(Q)
  expect(g.group.members.get(R)?.attached).toBe(false)
  expect(g.group.members.get(Q)?.attached).toBe(true)
  g.attach(R, Q)
  g.send({ kind: 'gone', instance: P })
  g.write()
  g.win()
  expect(g.group.phase).toMatchObject({ kind: 'promoting', target: R })
  g.send({ kind: 'status', instance: R, epoch: 3, replicas: [] })
  expect(g.group.members.get(Q)?.attached).toBe(true)
  g.promoted()
  expect(g.group.members.get(Q)?.attached).toBe(false)
})

test('G4: a replica with a notice of its own never takes over', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'notice', instance: R, left: millis(60_000) })
  expect(g.kinds()).toEqual(['replica-wanted'])
  expect(mayPromote(g.group, R, g.now)).toContain('interruption notice of its own')
  g.send({ kind: 'notice', instance: P, left: millis(60_000) })
  // R is the successor: Q has to be made it first.
  expect(g.told('ask')).toMatchObject({ instance: P, message: { proposal: { primary: P, successor: Q } } })
  g.agree()
  g.write()
  expect(g.find('order')?.order).toMatchObject({ kind: 'hand-over', target: Q })
})

test('a standby whose notice was withdrawn is told to follow again', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: R, left: millis(60_000) })
  g.connect(R, 'replica')
  expect(g.find('order')?.order).toEqual({ kind: 'fence', epoch: 2 })
  g.send({ kind: 'notice-withdrawn', instance: R })
  expect(g.find('order')?.order).toEqual({ kind: 'follow', epoch: 2, term: 1, primary: P })
})

test('without a ready replica a notice waits for one, and takes it as soon as it is ready', () => {
  const g = bench([P]).settle()
  g.send({ kind: 'notice', instance: P, left: millis(60_000) })
  expect(g.find('replica-wanted')).toMatchObject({ why: 'notice' })
  g.send({ kind: 'joined', instance: R })
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  expect(g.told('ask')).toBeUndefined()
  g.beat(R)
  g.attach(R)
  expect(g.told('ask')).toMatchObject({ instance: P, message: { proposal: { successor: R } } })
  g.agree()
  g.write()
  expect(g.find('order')?.order).toMatchObject({ kind: 'hand-over', target: R })
})

test('G5: nothing starts from nothing while a member that had a copy may still come back', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'disconnected', instance: R })
  g.send({ kind: 'sync', instance: Q, sync: 'syncing' })
  g.send({ kind: 'gone', instance: P })
  expect(g.group.phase.kind).toBe('relaunching')
  expect(g.kinds()).toContain('check-instance')
  g.wait(1000, Q)
  expect(g.find('vote')).toBeUndefined()
  g.send({ kind: 'gone', instance: R })
  expect(g.find('vote')).toMatchObject({ proposal: { primary: Q, forced: true }, record: { fresh: true } })
})

test('a copy that nobody can vouch for is still better than none', () => {
  const g = bench().settle()
  // As after a restart of the coordinator: the primary's word is not known.
  g.attach()
  g.wait(5100, P, R)
  g.send({ kind: 'gone', instance: P })
  expect(g.find('incident-step')).toMatchObject({ step: 'copy-of-unknown-age' })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R, forced: false })
  g.write()
  expect(g.told('votes')?.message.extras.fresh).toBe(false)
})

test('when the new primary cannot start, the old one takes its state up again', () => {
  const g = bench().settle()
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  g.released()
  g.write()
  g.send({ kind: 'promotion-failed', instance: R, epoch: 3, why: 'start hook: status 1' })
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 4, primary: P, successor: R })
  g.write()
  expect(g.told('votes')).toMatchObject({ instance: P })
  g.win()
  g.promoted()
  g.send({ kind: 'routed', epoch: 4 })
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'failed' })
})

test('after a second move it is the last primary whose state is taken up again, not one from before it', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  g.released()
  g.write()
  g.promoted()
  g.send({ kind: 'routed', epoch: g.group.epoch })
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.attach(Q)
  g.send({ kind: 'promote', target: Q, budget: millis(5000), keepOld: true })
  expect(g.group.phase.kind).toBe('asking')
  g.agree()
  g.write()
  g.released()
  g.write()
  expect(g.group).toMatchObject({ primary: Q, phase: { kind: 'promoting' } })
  g.send({ kind: 'promotion-failed', instance: Q, epoch: g.group.epoch, why: 'start hook: status 1' })
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R })
})

test('a former primary of whose copy only a part is there any more does not take its state up again', () => {
  const g = bench().settle()
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  g.released()
  g.write()
  g.promoted()
  g.send({ kind: 'routed', epoch: 3 })
  g.send({ kind: 'sync', instance: P, sync: 'syncing' })
  g.send({ kind: 'gone', instance: R })
  expect(g.find('incident-step')).toMatchObject({ step: 'no-copy-at-hand' })
  // Somebody may be about to say that it has more.
  g.wait(900, P)
  expect(g.find('incident-step')).toBeUndefined()
  g.wait(100, P)
  expect(g.find('incident-step')).toMatchObject({ step: 'state-lost' })
  expect(g.group.phase).toMatchObject({ change: { proposal: { primary: P } } })
  expect(thenOf(g)).toMatchObject({ fresh: true })
})

test('a part of a copy that nobody has more of makes room for a snapshot, or for nothing, in the same incident', () => {
  const g = bench().settle()
  g.send({ kind: 'gone', instance: P })
  g.write()
  g.win()
  g.send({ kind: 'promotion-failed', instance: R, epoch: 3, why: 'not complete', incomplete: true })
  const steps = g.effects.flatMap((effect) => (effect.kind === 'incident-step' ? [effect.step] : []))
  expect(steps).toEqual(['promotion-failed', 'state-lost'])
  expect(g.find('incident-closed')).toBeUndefined()
  g.agree()
  g.write()
  expect(g.told('votes')?.message.extras.fresh).toBe(true)
  g.promoted()
  g.send({ kind: 'routed', epoch: 4 })
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'relaunched' })
})

test('as long as somebody may have more, who has a part is only tried again, and the other takes over when it comes', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.send({ kind: 'disconnected', instance: Q })
  g.send({ kind: 'gone', instance: P })
  g.write()
  g.win()
  g.send({ kind: 'promotion-failed', instance: R, epoch: 3, why: 'not complete', incomplete: true })
  expect(g.effects).toContainEqual({ kind: 'check-instance', instance: Q })
  expect(g.group.phase.kind).toBe('failed')
  g.wait(1000, R)
  g.agree()
  g.write()
  expect(g.told('votes')?.message.extras.fresh).toBe(false)
  g.connect(Q)
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.send({ kind: 'promotion-failed', instance: R, epoch: 4, why: 'not complete', incomplete: true })
  expect(g.group.phase).toMatchObject({ change: { proposal: { primary: Q } } })
})

test('a primary that is up while another successor is voted on is followed by those who came meanwhile', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.attach(Q)
  g.wait(2600, P, Q)
  expect(g.group.phase.kind).toBe('asking')
  expect(thenOf(g)).toMatchObject({ kind: 'steady' })
  g.promoted()
  expect(g.group.phase.kind).toBe('asking')
  expect(g.effects).toContainEqual(
    expect.objectContaining({ instance: Q, order: expect.objectContaining({ kind: 'follow', primary: P }) }),
  )
})

test('that a primary is up counts also when it is told to hand over already', () => {
  const g = bench().settle()
  // Its report is late: this process has given the promotion up since, and found it in office.
  g.group = { ...g.group, wasUp: false }
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  expect(g.group.phase.kind).toBe('handing-over')
  g.promoted()
  expect(g.group).toMatchObject({ wasUp: true, phase: { kind: 'handing-over' } })
  expect(g.find('point-address')).toMatchObject({ instance: P })
})

test('who says that it is out of office is waited for a moment, so that the record has its own word for it', () => {
  const failing = () => {
    const g = bench().settle()
    g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
    g.released()
    g.write()
    g.beat(R, { office: false })
    g.wait(200)
    expect(g.group.phase.kind).toBe('promoting')
    return g
  }
  const told = failing()
  told.send({ kind: 'promotion-failed', instance: R, epoch: 3, why: 'health hook: status 1' })
  expect(told.find('incident-step')).toMatchObject({
    step: 'promotion-failed',
    detail: `${R}: health hook: status 1`,
  })
  const untold = failing()
  untold.wait(100)
  expect(untold.find('incident-step')?.detail).toBe(`${R}: it gave its epoch up`)
})

test('nothing starts from nothing while the machine of a primary that was given up may come back with its state', () => {
  const g = bench().settle()
  g.send({ kind: 'sync', instance: R, sync: 'syncing' })
  g.connect(P, 'idle', { resigned: 2 })
  expect(g.group.phase.kind).toBe('asking')
  g.wait(10_000, R)
  expect(g.group.phase.kind).toBe('relaunching')
  g.beat(P, { office: false })
  g.wait(0)
  expect(g.group.phase).toMatchObject({ kind: 'asking', of: P })
})

test('a notice while the primary is being started again is acted on as soon as it is up', () => {
  const g = bench([P]).begin()
  g.connect(P, 'idle', { resigned: 1 })
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  g.agree()
  g.write()
  expect(g.group.phase.kind).toBe('promoting')
  g.promoted()
  expect(g.find('incident-opened')).toMatchObject({ incident: { trigger: 'notice', instance: P } })
  expect(g.find('replica-wanted')).toMatchObject({ why: 'notice' })
})

test('a notice that is taken back while a replica is waited for moves nothing any more', () => {
  const g = bench().begin()
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  g.send({ kind: 'notice-withdrawn', instance: P })
  expect(g.find('incident-closed')).toMatchObject({
    outcome: 'failed',
    why: `AWS has taken the notice back: ${P} runs on`,
  })
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.beat(R)
  g.attach(R)
  expect(g.group.phase.kind).toBe('asking')
  expect(thenOf(g)).toMatchObject({ kind: 'steady' })
})

test('a hand-over that is reported as failed is called off, also where it was ordered again since', () => {
  const g = bench().settle()
  g.send({ kind: 'promote', target: R, budget: millis(5000), keepOld: true })
  g.send({ kind: 'hand-over-failed', instance: P, epoch: 2, why: 'the replica has gone' })
  expect(g.find('order')).toMatchObject({ instance: P, order: { kind: 'abort-hand-over', epoch: 2 } })
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'failed' })
})

test('the only copy is tried again and again, a little later each time', () => {
  const g = bench([P])
  g.send({ kind: 'joined', instance: P })
  g.connect(P)
  g.write()
  g.send({ kind: 'promotion-failed', instance: P, epoch: 1, why: 'no' })
  expect(g.group.phase).toMatchObject({ kind: 'failed', attempt: 1 })
  g.wait(999, P)
  expect(g.told('ask')).toBeUndefined()
  g.wait(1, P)
  expect(g.told('ask')).toMatchObject({
    instance: P,
    message: { proposal: { primary: P, epoch: 2, term: 2 } },
  })
  g.agree()
  g.write()
  expect(g.told('votes')).toMatchObject({ instance: P })
  g.send({ kind: 'promotion-failed', instance: P, epoch: 2, why: 'no' })
  expect(g.group.phase).toMatchObject({ kind: 'failed', attempt: 2 })
})

test('a released epoch is taken over even when the hand-over had been given up here', () => {
  const g = bench().settle()
  g.send({ kind: 'promote', target: R, budget: millis(2000), keepOld: true })
  expect(g.wait(1200, P, R)).toContainEqual(
    expect.objectContaining({ kind: 'order', order: { kind: 'abort-hand-over', epoch: 2 } }),
  )
  expect(g.find('incident-closed')).toMatchObject({ outcome: 'failed' })
  expect(g.group.phase.kind).toBe('steady')
  g.released()
  expect(g.find('incident-opened')).toBeDefined()
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R })
})

test.each([
  ['no primary yet', () => bench(), R, 'no primary yet'],
  ['the primary itself', () => bench().settle(), P, 'is the primary already'],
  ['a stranger', () => bench().settle(), instanceId('i-x'), 'is not a member'],
])('a promotion by hand is refused with the reason: %s', (_, make, target, reason) => {
  const g = make()
  expect(mayPromote(g.group, target, g.now)).toContain(reason)
  g.send({ kind: 'promote', target, budget: millis(5000), keepOld: true })
  expect(g.effects).toEqual([])
})

test('a promotion by hand is refused while another change is under way', () => {
  const g = bench().settle()
  expect(mayPromote(g.group, R, g.now)).toBeUndefined()
  g.send({ kind: 'notice', instance: P, left: millis(60_000) })
  expect(mayPromote(g.group, R, mono(g.now))).toContain('another change is under way')
})
