import { expect, test } from 'vitest'
import { agentId, type IncidentId } from '../core/ids.ts'
import { mono } from '../core/time.ts'
import { groupBench as bench, P, R } from '../testkit/group-bench.ts'
import { type OpenMove, restoreGroup } from './group.ts'
import { defaultLeasePolicy } from './lease.ts'

test('after a restart nothing is promoted before every old promise has run out', () => {
  const g = bench()
  g.group = restoreGroup(
    {
      agent: agentId('a'),
      epoch: 4,
      primary: P,
      members: [P, R].map((instance) => ({ instance, retired: false, hadCopy: true })),
      policy: defaultLeasePolicy,
    },
    mono(0),
  )
  g.connect(R, 'replica', 4)
  g.send({ kind: 'sync', instance: R, sync: 'ready' })
  g.wait(defaultLeasePolicy.lease)
  expect(g.effects).toEqual([])
  g.wait(200)
  expect(g.kinds()).toEqual(['check-instance'])
})

/** A coordinator that was restarted in the middle of a move of epoch 4. */
function restarted(at: OpenMove['at'], trigger: 'notice' | 'planned' = 'planned') {
  const g = bench()
  const incident = { id: 'open' as IncidentId, trigger, instance: P, by: mono(60_000), keepOld: true }
  g.group = restoreGroup(
    {
      agent: agentId('a'),
      epoch: 4,
      primary: at.kind === 'promoting' ? R : P,
      members: [P, R].map((instance) => ({ instance, retired: false, hadCopy: true })),
      policy: defaultLeasePolicy,
      move: { incident, at },
    },
    mono(0),
  )
  return g
}

test('after a restart a hand-over goes on to the same target, whatever the primary has done meanwhile', () => {
  const g = restarted({ kind: 'handing-over', target: R })
  g.connect(P, 'handing-over', 4)
  expect(g.find('order')).toMatchObject({ instance: P, order: { kind: 'hand-over', target: R } })
  g.send({ kind: 'released', instance: P, epoch: 4, target: R })
  expect(g.find('commit')).toMatchObject({ to: 5, target: R, incident: { id: 'open' } })
})

test('after a restart a promotion that was committed is asked for again, and its incident is closed once', () => {
  const g = restarted({ kind: 'promoting', fresh: false })
  g.connect(R, 'primary', 4)
  expect(g.find('order')).toMatchObject({ instance: R, order: { kind: 'promote', epoch: 4 } })
  g.send({ kind: 'promoted', instance: R, epoch: 4 })
  expect(g.find('point-address')).toMatchObject({ epoch: 4, instance: R })
  g.send({ kind: 'routed', epoch: 4 })
  expect(g.find('incident-closed')).toMatchObject({ incident: { id: 'open' }, outcome: 'promoted' })
})

test('a lease that was given before the restart does not confirm what was said after it', () => {
  const g = restarted({ kind: 'promoting', fresh: false })
  g.connect(R, 'promoting', 4)
  const order = g.find('order')
  expect(order).toMatchObject({ order: { lease: { solo: true } } })
  const seq = order?.kind === 'order' && order.order.kind === 'promote' ? order.order.lease.seq : Number.NaN
  expect(g.group.soloSince).toBe(seq)
})

test('after a restart a notice is still known: it waits for a replica and never moves to the noticed instance', () => {
  const g = restarted({ kind: 'waiting' }, 'notice')
  expect(g.group.waiting?.id).toBe('open')
  expect(g.group.members.get(P)?.noticedBy).toBe(60_000)
})
