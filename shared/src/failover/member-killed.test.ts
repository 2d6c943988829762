import { expect, test } from 'vitest'
import { LENGTH, memberBench, primaryAt } from '../testkit/member-bench.ts'
import { defaultLeasePolicy } from './lease.ts'

test('what the guard has killed is started again under the same office', () => {
  const m = primaryAt(1)
  m.send({ kind: 'killed', left: false })
  expect(m.kinds()).toEqual(['start'])
  const late = primaryAt(1)
  late.wait(LENGTH - defaultLeasePolicy.fenceBudget)
  late.send({ kind: 'killed', left: false })
  expect(late.effects).toEqual([])
  expect(late.member).toMatchObject({ workload: 'stopped', exposed: false, suspended: true })
  late.lease()
  expect(late.kinds()).toEqual(['start'])
})

test('what the guard has killed in a hand-over is sealed as it is', () => {
  const m = primaryAt(1)
  m.handOver(1)
  m.done('drained')
  m.send({ kind: 'killed', left: false })
  expect(m.kinds()).toEqual(['seal'])
  m.sealed()
  m.send({ kind: 'killed', left: false })
  m.done('released')
  expect(m.reports()).toContain('released')
})

test('what the guard has killed and has not ended is killed until it has, and is not taken for stopped before', () => {
  const killed = { kind: 'killed', left: true } as const
  const m = primaryAt(1, true)
  m.send(killed)
  expect(m.kinds()).toEqual(['kill'])
  expect(m.member).toMatchObject({ workload: 'killing', exposed: true })
  m.ended('kill', false)
  expect(m.send(killed)).toEqual([])
  m.ended('kill')
  expect(m.kinds()).toEqual(['start'])

  const fenced = primaryAt(1)
  fenced.send(killed)
  fenced.order({ kind: 'fence', epoch: 2 })
  expect(fenced.reports()).toEqual([])
  fenced.ended('kill')
  expect(fenced.reports()).toEqual(['fenced'])

  const moving = primaryAt(1)
  moving.handOver(1)
  moving.done('drained')
  moving.ended('freeze')
  const { turn } = moving.member
  moving.send(killed)
  expect(moving.kinds()).toEqual(['kill'])
  expect(moving.send({ kind: 'sealed', turn, ok: true, seq: 7 })).toEqual([])
  moving.ended('kill')
  expect(moving.kinds()).toEqual(['seal'])

  const promoting = memberBench()
  promoting.elected(1)
  promoting.done('applied')
  promoting.send(killed)
  promoting.ended('kill')
  expect(promoting.reports()).toEqual(['promotion-failed'])
})

test('what was started again after the guard had killed it is a primary as any other', () => {
  const m = primaryAt(1)
  m.send({ kind: 'killed', left: false })
  m.ended('start')
  expect(m.member).toMatchObject({ workload: 'running', suspended: false })
})

test('a promotion whose workload the guard has killed has failed', () => {
  const m = memberBench()
  m.elected(1)
  m.done('applied')
  m.send({ kind: 'killed', left: false })
  expect(m.reports()).toEqual(['promotion-failed'])
  expect(m.kinds()).toContain('resign')
})
