import { expect, test } from 'vitest'
import { type InstanceId, instanceId } from '../core/ids.ts'
import { millis } from '../core/time.ts'
import { certificateOf, keysOf } from '../testkit/certificates.ts'
import { groupBench as bench, P, Q, R } from '../testkit/group-bench.ts'
import { COORDINATOR } from './certificate.ts'
import { handOverTargets, readyTargets } from './group-orders.ts'

type Bench = ReturnType<typeof bench>

const successorOf = (g: Bench): InstanceId | null | undefined => g.group.certificate?.proposal.successor
const asked = (g: Bench) => (g.group.phase.kind === 'asking' ? g.group.phase.change.proposal : undefined)

/** Time in which everybody but `silent` is heard, and the primary names `attached`. */
function live(g: Bench, length: number, attached: readonly InstanceId[], silent: readonly InstanceId[] = []) {
  const alive = [...g.group.members.keys()].filter((instance) => !silent.includes(instance))
  for (let left = length; left > 0 && g.group.phase.kind === 'steady'; left -= 100) {
    g.wait(Math.min(left, 100), ...alive)
    if (g.group.phase.kind === 'steady') g.attach(...attached)
  }
}

test('the first replica that is ready is made the successor: the primary votes first, we complete it', () => {
  const g = bench().begin()
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.beat(R)
  expect(g.group.phase.kind).toBe('steady')
  g.attach(R)
  expect(g.told('ask')).toMatchObject({
    instance: P,
    message: { proposal: { epoch: 2, primary: P, successor: R, term: 1, keys: keysOf(P, R) }, sentAt: null },
  })
  expect(g.find('vote')).toBeUndefined()
  g.agree()
  expect(g.find('vote')).toMatchObject({
    votes: [{ voter: P }],
    record: { previous: P, incident: undefined },
  })
  expect(successorOf(g)).toBeNull()
  g.write()
  expect(g.group).toMatchObject({ epoch: 2, primary: P, phase: { kind: 'steady' } })
  expect(successorOf(g)).toBe(R)
  const told = g.effects.flatMap((effect) => (effect.kind === 'tell' ? [effect.instance] : []))
  expect(told).toEqual([P, R])
})

test('a replica that says it is ready and that the primary does not vouch for is no successor', () => {
  const g = bench().begin()
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  live(g, 1000, [])
  expect(asked(g)).toBeUndefined()
})

test('a successor stays one as long as it could take over, however much better another is', () => {
  const g = bench([P, R, Q]).settle()
  g.send({
    kind: 'status',
    instance: P,
    epoch: 2,
    replicas: [
      { instance: R, attached: true, lagBytes: 1_000_000 },
      { instance: Q, attached: true, lagBytes: 0 },
    ],
  })
  live(g, 5000, [R, Q])
  expect(successorOf(g)).toBe(R)
  expect(asked(g)).toBeUndefined()
})

test('of replicas that are close behind the best by risk and price becomes successor, and is handed over to', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'appraised', order: [Q, R] })
  const says = (lagOfQ: number) =>
    g.send({
      kind: 'status',
      instance: P,
      epoch: 2,
      replicas: [
        { instance: R, attached: true, lagBytes: 0 },
        { instance: Q, attached: true, lagBytes: lagOfQ },
      ],
    })
  says(1024 * 1024 + 1)
  expect(handOverTargets(g.group, g.now).map(({ instance }) => instance)).toEqual([R, Q])
  says(1024 * 1024)
  expect(handOverTargets(g.group, g.now).map(({ instance }) => instance)).toEqual([Q, R])
  // After a loss every byte counts.
  expect(readyTargets(g.group, g.now).map(({ instance }) => instance)).toEqual([R, Q])
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  expect(asked(g)).toMatchObject({ primary: P, successor: Q })
})

test('a successor that could not take over for two seconds gives way to a replica that could', () => {
  const g = bench([P, R, Q]).settle()
  live(g, 1900, [Q])
  expect(asked(g)).toBeUndefined()
  live(g, 300, [Q])
  expect(asked(g)).toMatchObject({ primary: P, successor: Q, term: 1 })
})

test('and stays when nobody else could', () => {
  const g = bench().settle()
  live(g, 5000, [])
  expect(successorOf(g)).toBe(R)
  expect(asked(g)).toBeUndefined()
})

test('a successor that is silent for long has no vote any more: the primary runs alone', () => {
  const g = bench().settle()
  live(g, 9_900, [], [R])
  expect(asked(g)).toBeUndefined()
  live(g, 400, [], [R])
  expect(asked(g)).toMatchObject({ primary: P, successor: null, term: 1 })
  g.agree()
  g.write()
  expect(g.group.certificate?.proposal).toMatchObject({ successor: null, keys: keysOf(P) })
})

test.each<[string, (g: Bench) => void]>([
  ['has ended', (g) => g.send({ kind: 'gone', instance: R })],
  ['was deleted', (g) => g.send({ kind: 'left', instance: R })],
  ['has a notice', (g) => g.send({ kind: 'notice', instance: R, left: millis(60_000) })],
])('a successor that %s is replaced at once', (_, lose) => {
  const g = bench([P, R, Q]).settle()
  lose(g)
  live(g, 200, [Q])
  expect(asked(g)).toMatchObject({ primary: P, successor: Q })
})

test('nothing is asked of a primary that is away, or has lost its office', () => {
  const away = bench([P, R, Q]).settle()
  away.send({ kind: 'disconnected', instance: P })
  away.send({ kind: 'gone', instance: R })
  away.send({ kind: 'sync', instance: Q, sync: 'ready' })
  expect(away.group.phase.kind).toBe('steady')
  const out = bench([P, R, Q]).settle()
  out.beat(P, { office: false })
  out.send({ kind: 'gone', instance: R })
  out.wait(0)
  expect(asked(out)).toMatchObject({ primary: P, successor: R, term: 3 })
})

test('a primary that does not agree is left alone for a while', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'gone', instance: R })
  live(g, 200, [Q])
  expect(asked(g)).toMatchObject({ successor: Q })
  g.decline(0, 'no lease from the coordinator')
  expect(g.group.phase.kind).toBe('asking')
  const before = g.now
  while (g.group.phase.kind === 'asking') g.wait(100, P, Q)
  expect(g.now - before).toBeGreaterThan(4500)
  live(g, 800, [Q])
  expect(asked(g)).toBeUndefined()
  live(g, 400, [Q])
  expect(asked(g)).toMatchObject({ successor: Q })
})

test('every question has a number of its own, beyond what its voter has voted for', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'gone', instance: R })
  live(g, 200, [Q])
  const { epoch } = asked(g) ?? {}
  expect(epoch).toBe(3)
  g.decline(5)
  expect(asked(g)).toMatchObject({ epoch: 6, term: 1 })
})

test('a hand-over to a replica that is not the successor makes it the successor first', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'promote', target: Q, budget: millis(5000), keepOld: true })
  expect(g.kinds()).toEqual(['incident-opened', 'incident-step', 'tell:ask'])
  expect(g.find('incident-step')).toMatchObject({ step: 'successor-changed' })
  expect(asked(g)).toMatchObject({ primary: P, successor: Q, term: 1 })
  g.agree()
  expect(g.find('vote')).toMatchObject({
    proposal: { epoch: 3 },
    record: { incident: { trigger: 'planned' } },
  })
  g.write()
  expect(g.find('order')).toMatchObject({ instance: P, order: { kind: 'hand-over', epoch: 3, target: Q } })
  g.released()
  g.write()
  expect(g.group).toMatchObject({ epoch: 4, primary: Q, phase: { kind: 'promoting' } })
  expect(g.group.certificate?.proposal).toMatchObject({ successor: P, term: 4 })
})

test('when the primary does not agree the move has failed, and the primary goes on', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'promote', target: Q, budget: millis(5000), keepOld: true })
  const effects = g.wait(5100, P, R, Q)
  expect(effects).toContainEqual(
    expect.objectContaining({
      kind: 'incident-closed',
      outcome: 'failed',
      why: 'the primary did not agree to the change of successor',
    }),
  )
  expect(g.group).toMatchObject({ epoch: 2, primary: P, phase: { kind: 'steady' } })
})

test('a hand-over that the primary went through with while we asked for another successor counts', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'promote', target: Q, budget: millis(5000), keepOld: true })
  g.released()
  expect(g.find('vote')?.proposal).toMatchObject({ primary: R, successor: P })
})

test('a change of successor that was certified without us being told is learnt, and not asked for again', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'gone', instance: R })
  live(g, 200, [Q])
  const proposal = asked(g)
  if (!proposal) throw new Error('nothing was asked')
  g.bring(certificateOf(proposal, P, COORDINATOR))
  expect(g.group).toMatchObject({ epoch: 3, phase: { kind: 'steady' } })
  live(g, 1000, [Q])
  expect(asked(g)).toBeUndefined()
})

test('an instance whose key is not known yet cannot be made a voter', () => {
  const g = bench().begin()
  const stranger = instanceId('i-new')
  g.send({ kind: 'joined', instance: stranger })
  g.beat(stranger)
  g.send({ kind: 'sync', instance: stranger, sync: 'ready' })
  g.attach(stranger)
  expect(asked(g)).toBeUndefined()
  g.connect(stranger)
  g.send({ kind: 'sync', instance: stranger, sync: 'ready' })
  g.attach(stranger)
  expect(asked(g)).toMatchObject({ successor: stranger })
})
