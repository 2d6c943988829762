import { expect, test } from 'vitest'
import { millis } from '../core/time.ts'
import { groupBench as bench, P, Q, R } from '../testkit/group-bench.ts'
import { mayRemove } from './group-removal.ts'
import { defaultLeasePolicy } from './lease.ts'

const { lease } = defaultLeasePolicy
type Bench = ReturnType<typeof bench>
const why = (g: Bench, instance = R) => mayRemove(g.group, instance, g.now)

test('a standby may be removed while all is well, and the primary never', () => {
  const g = bench([P, R, Q]).settle()
  expect(why(g)).toBeUndefined()
  expect(why(g, Q)).toBeUndefined()
  expect(why(g, P)).toBe(`${P} is the primary`)
})

test('who is being elected is not removed, from the vote until it is up', () => {
  const g = bench([P, R, Q]).settle()
  g.wait(lease + 1, R, Q)
  expect(g.group.phase.kind).toBe('voting')
  expect(why(g)).toBe(`${R} is about to become primary`)
  g.write()
  expect(g.group.phase.kind).toBe('electing')
  expect(why(g)).toBe(`${R} is about to become primary`)
  expect(why(g, Q)).toBeUndefined()
  g.win()
  expect(g.group.phase.kind).toBe('promoting')
  expect(why(g)).toBe(`${R} is the primary`)
  expect(why(g, Q)).toBeUndefined()
})

test('who is to get the epoch by a hand-over is not removed, also before it has a vote', () => {
  const g = bench([P, R, Q]).settle()
  g.send({ kind: 'sync', instance: Q, sync: 'ready' })
  g.send({ kind: 'status', instance: P, epoch: g.group.epoch, replicas: [attached(Q)] })
  g.send({ kind: 'notice', instance: P, left: millis(120_000) })
  expect(g.group.phase.kind).toBe('asking')
  expect(why(g, Q)).toBe(`${Q} is about to become primary`)
  expect(why(g)).toBeUndefined()
  g.agree()
  g.write()
  expect(g.group.phase.kind).toBe('handing-over')
  expect(why(g, Q)).toBe(`${Q} is about to become primary`)
})

test('the successor of a primary that has fallen silent is not removed while it is there', () => {
  const g = bench().settle()
  g.wait(lease / 2, R)
  expect(why(g)).toBeUndefined()
  g.wait(1, R)
  expect(why(g)).toBe(`nothing was heard from the primary ${P} for 501 ms, and ${R} is to take its place`)
  g.send({ kind: 'disconnected', instance: R })
  expect(why(g)).toBeUndefined()
})

const attached = (instance: typeof P) => ({ instance, attached: true, lagBytes: 0 })
