import { expect, test } from 'vitest'
import { millis } from '../core/time.ts'
import { groupBench as bench, P, Q, R } from '../testkit/group-bench.ts'

test('a move whose vote the database refuses is made in a later epoch', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  g.released()
  expect(g.group.casting).toEqual({ epoch: 3, primary: R })
  g.send({ kind: 'vote-refused', epoch: 3, voted: 40 })
  expect(g.group.voted).toEqual({ epoch: 40, primary: undefined })
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 41, primary: R })
  expect(g.group.casting).toEqual({ epoch: 41, primary: R })
})

test('the first vote of all is cast again, too', () => {
  const g = bench()
  g.send({ kind: 'joined', instance: P })
  g.connect(P)
  g.send({ kind: 'vote-refused', epoch: 1, voted: 7 })
  expect(g.find('vote')?.proposal).toMatchObject({ epoch: 8, primary: P })
  g.write()
  expect(g.group).toMatchObject({ epoch: 8, primary: P, casting: undefined })
})

test('a refusal of another epoch than is being written changes nothing', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  g.released()
  const before = g.group
  g.send({ kind: 'vote-refused', epoch: 2, voted: 40 })
  expect(g.group).toBe(before)
})

test('nobody is promised anything by a vote of which only the epoch is known', () => {
  const g = bench().settle()
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  g.released()
  g.send({ kind: 'vote-refused', epoch: 3, voted: 40 })
  g.beat(P)
  g.beat(R, { epoch: 40 })
  expect(g.told('ack')).toBeUndefined()
})

test('a primary that can have no lease from us is renewed before it is asked about a successor', () => {
  const g = bench().begin()
  g.connect(R)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.beat(R)
  g.attach(R)
  g.agree()
  g.send({ kind: 'vote-refused', epoch: 2, voted: 40 })
  expect(g.group.phase.kind).toBe('steady')
  for (let passed = 0; passed < 1000; passed += 100) {
    g.pass(100)
    g.beat(P)
    g.beat(R)
  }
  // What the primary says comes before the next tick.
  g.attach(R)
  expect(g.told('ask')).toBeUndefined()
  g.wait(100, P, R)
  expect(g.told('ask')).toMatchObject({
    instance: P,
    message: { proposal: { epoch: 41, term: 41, primary: P, successor: null } },
  })
})

test('and before its epoch is to go to another replica than the successor', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.attach(Q)
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  g.agree()
  g.send({ kind: 'vote-refused', epoch: 3, voted: 40 })
  g.attach(Q)
  expect(g.told('ask')).toBeUndefined()
  g.wait(1100, P, R, Q)
  expect(g.group.phase).toMatchObject({
    kind: 'asking',
    of: P,
    change: { proposal: { epoch: 41, term: 41 } },
  })
})
