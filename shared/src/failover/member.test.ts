import { expect, test } from 'vitest'
import { millis, plus } from '../core/time.ts'
import { INCIDENT, LENGTH, memberBench, PRIMARY, primaryAt, REPLICA } from '../testkit/member-bench.ts'
import { defaultLeasePolicy } from './lease.ts'
import { mayRun } from './member.ts'
import type { Order } from './orders.ts'

test('the first primary starts its workload only after its epoch is on disk', () => {
  const m = memberBench()
  m.elected(1)
  expect(m.kinds()).toEqual(['persist', 'finish-receiving'])
  m.done('applied')
  expect(m.effects).toEqual([
    { kind: 'persist', epoch: 1, active: true },
    { kind: 'hook', hook: 'start', turn: m.member.turn },
  ])
  expect(m.ended('start') && m.kinds()).toEqual(['health'])
  m.ended('health')
  expect(m.kinds()).toEqual(['serve', 'report'])
  expect(m.reports()).toEqual(['promoted'])
})

test('a replica puts everything in place before it starts, and runs nothing before that', () => {
  const m = memberBench()
  m.order({ kind: 'follow', epoch: 3, term: 2, primary: PRIMARY })
  expect(m.kinds()).toEqual(['persist', 'receive'])
  expect(m.member.exposed).toBe(false)
  m.elected(4)
  // A daemon that is started again meanwhile has nothing to look after, and is not taken for one that has all of it.
  expect(m.effects).toEqual([
    { kind: 'persist', epoch: 4, active: false },
    { kind: 'finish-receiving', turn: m.member.turn, discard: false },
  ])
  expect(m.member.exposed).toBe(false)
  m.done('applied')
  expect(m.kinds()).toEqual(['persist', 'start'])
})

test('what was refused as a part of a copy is looked at again at every further try, and never just started', () => {
  const m = memberBench()
  m.order({ kind: 'follow', epoch: 3, term: 2, primary: PRIMARY })
  m.elected(4)
  m.done('applied', false)
  expect(m.reports()).toEqual(['promotion-failed'])
  m.elected(5)
  expect(m.kinds()).toEqual(['persist', 'finish-receiving'])
  m.done('applied', false)
  m.elected(6)
  expect(m.kinds()).toEqual(['persist', 'finish-receiving'])
})

test('an epoch that is renewed while the state is put in place takes up what is under way', () => {
  const m = memberBench()
  m.order({ kind: 'follow', epoch: 3, term: 2, primary: PRIMARY })
  m.elected(4)
  m.elected(5)
  expect(m.effects).toEqual([{ kind: 'persist', epoch: 5, active: false }])
  m.done('applied')
  expect(m.kinds()).toEqual(['persist', 'start'])
  m.elected(6, { fresh: true })
  m.ended('stop')
  expect(m.effects).toContainEqual({ kind: 'finish-receiving', turn: m.member.turn, discard: true })
})

test('a hand-over freezes, seals, gives the epoch up, and only then stops', () => {
  const m = primaryAt(1)
  m.handOver(1)
  expect(m.kinds()).toEqual(['drain'])
  m.done('drained')
  expect(m.kinds()).toEqual(['freeze'])
  m.ended('freeze')
  expect(m.kinds()).toEqual(['seal'])
  m.sealed()
  expect(m.effects).toEqual([{ kind: 'release', turn: m.member.turn, target: REPLICA }])
  m.done('released')
  expect(m.kinds()).toEqual(['persist', 'report', 'stop-serving', 'stop'])
  expect(m.reports()).toEqual(['released'])
  expect(m.member.role.kind).toBe('released')
  m.ended('stop')
  expect(m.kinds()).toEqual(['persist', 'resign', 'report'])
  expect(m.reports()).toEqual(['fenced'])
})

test('a primary that runs and gets another epoch goes on with it: nothing is stopped, started or checked', () => {
  const m = primaryAt(1)
  m.elected(3)
  expect(m.kinds()).toEqual(['persist', 'serve', 'report'])
  expect(m.reports()).toEqual(['promoted'])
  expect(m.member).toMatchObject({ role: { kind: 'primary' }, workload: 'running', epoch: 3, term: 3 })
})

test('what was released is never taken up again in that epoch', () => {
  const m = primaryAt(1)
  m.handOver(1)
  m.done('drained')
  m.ended('freeze')
  m.sealed()
  m.done('released')
  expect(m.lease()).toEqual([])
  expect(m.order({ kind: 'abort-hand-over', epoch: 1 })).toEqual([])
  expect(m.handOver(1)).toEqual([])
  expect(mayRun(m.member, m.now)).toBe(false)
})

test.each([
  ['the replica does not catch up', (m: ReturnType<typeof memberBench>) => m.done('drained', false), []],
  [
    'the freeze hook fails on a planned move',
    (m: ReturnType<typeof memberBench>) => {
      m.done('drained')
      m.ended('freeze', false)
    },
    ['thaw'],
  ],
  [
    'the replica does not confirm',
    (m: ReturnType<typeof memberBench>) => {
      m.done('drained')
      m.ended('freeze')
      m.sealed(false)
    },
    ['thaw'],
  ],
  [
    'its voter cannot give the epoch away',
    (m: ReturnType<typeof memberBench>) => {
      m.done('drained')
      m.ended('freeze')
      m.sealed()
      m.done('released', false)
    },
    ['thaw'],
  ],
  [
    'the coordinator calls it off',
    (m: ReturnType<typeof memberBench>) => {
      m.done('drained')
      m.ended('freeze')
      m.order({ kind: 'abort-hand-over', epoch: 1 })
    },
    ['thaw'],
  ],
] as const)('when %s the old primary goes on', (_, spoil, hooks) => {
  const m = primaryAt(1)
  m.handOver(1)
  spoil(m)
  expect(m.reports()).toEqual(['hand-over-failed'])
  expect(m.kinds().filter((kind) => kind !== 'report')).toEqual(hooks)
  expect(m.member.role.kind).toBe('primary')
})

test.each(['stop', 'kill', 'freeze'] as const)(
  'a hand-over that is called off during %s waits for its end, and then goes on, also without another lease',
  (way) => {
    const m = primaryAt(1, way !== 'kill')
    m.handOver(1, true)
    if (way !== 'kill') m.done('drained')
    if (way === 'stop') m.ended('freeze', false)
    if (way === 'kill') m.wait(LENGTH - defaultLeasePolicy.fenceBudget / 2)
    expect(m.kinds()).toEqual([way])
    m.lease(m.member.lease.kind === 'solo' ? { kind: 'solo' } : undefined)
    m.order({ kind: 'abort-hand-over', epoch: 1 })
    expect(m.kinds()).toEqual(['report'])
    m.ended(way)
    expect(m.kinds()).toEqual([way === 'freeze' ? 'thaw' : 'start'])
    expect(m.member).toMatchObject({ role: { kind: 'primary' }, suspended: false })
  },
)

test('a freeze that fails after the hand-over was called off ends nothing', () => {
  const m = primaryAt(1, true)
  m.handOver(1)
  m.done('drained')
  m.order({ kind: 'abort-hand-over', epoch: 1 })
  m.ended('freeze', false)
  expect(m.kinds()).toEqual(['thaw'])
})

test('a suspended primary whose hand-over fails goes on at once if its lease came meanwhile', () => {
  for (const solo of [true, false]) {
    const m = primaryAt(1)
    m.wait(LENGTH - defaultLeasePolicy.fenceBudget)
    m.ended('freeze')
    m.handOver(1)
    expect(m.kinds()).toEqual(['seal'])
    if (solo) m.lease({ kind: 'solo' })
    m.sealed(false)
    expect(m.kinds()).toEqual(solo ? ['report', 'thaw'] : ['report'])
    expect(m.member.suspended).toBe(!solo)
    if (!solo) expect(m.lease() && m.kinds()).toEqual(['thaw'])
  }
})

test('with a notice running, a workload that cannot be frozen is stopped instead', () => {
  const m = primaryAt(1)
  m.handOver(1, true)
  m.done('drained')
  m.ended('freeze', false)
  expect(m.kinds()).toEqual(['stop'])
  m.ended('stop')
  expect(m.kinds()).toEqual(['seal'])
})

test('without a renewed lease the workload is frozen before the lease ends, and goes on when it is renewed', () => {
  const m = primaryAt(1)
  m.lease()
  m.wait(LENGTH - defaultLeasePolicy.fenceBudget - 1)
  expect(m.effects).toEqual([])
  m.wait(2)
  expect(m.kinds()).toEqual(['freeze'])
  m.ended('freeze')
  expect(m.member.exposed).toBe(false)
  m.lease()
  expect(m.kinds()).toEqual(['thaw'])
})

test('a freeze hook that hangs is not waited for: nothing is left when the lease ends', () => {
  const m = primaryAt(1)
  m.lease()
  m.wait(LENGTH - defaultLeasePolicy.fenceBudget)
  expect(m.kinds()).toEqual(['freeze'])
  m.wait(defaultLeasePolicy.fenceBudget / 2)
  expect(m.kinds()).toEqual(['kill'])
  m.ended('kill')
  expect(m.member.exposed).toBe(false)
  m.lease()
  expect(m.kinds()).toEqual(['start'])
})

test('what does not end when it is killed is killed again, and nothing is said or begun before it has', () => {
  const m = primaryAt(1)
  m.lease()
  m.order({ kind: 'fence', epoch: 2 })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'stop'])
  m.ended('stop', false)
  for (let times = 0; times < 3; times += 1) {
    expect(m.kinds()).toEqual(['kill'])
    m.ended('kill', false)
    expect(m.member).toMatchObject({ workload: 'killing', exposed: true })
  }
  m.ended('kill')
  expect(m.member).toMatchObject({ workload: 'stopped', exposed: false })
  expect(m.kinds()).toEqual(['persist', 'resign', 'report'])
})

test('in solo mode the coordinator may be away for as long as it likes', () => {
  const m = primaryAt(1, true)
  m.wait(3_600_000)
  expect(m.effects).toEqual([])
  expect(mayRun(m.member, m.now)).toBe(true)
})

test('an office without a lease is left at once, and what does not stop in time is killed', () => {
  const m = primaryAt(1, true)
  m.lease({ kind: 'none' })
  expect(m.kinds()).toEqual(['kill'])
  m.ended('kill')
  expect(m.member).toMatchObject({ exposed: false, suspended: true, role: { kind: 'primary' } })
  m.lease()
  expect(m.kinds()).toEqual(['start'])
})

test('another successor changes the epoch and nothing else', () => {
  const m = primaryAt(1)
  const { role, workload, term } = m.member
  m.send({ kind: 'advanced', epoch: 2 })
  expect(m.effects).toEqual([{ kind: 'persist', epoch: 2, active: true }])
  expect(m.member).toMatchObject({ epoch: 2, role, workload, term })
  expect(m.send({ kind: 'advanced', epoch: 2 })).toEqual([])
  expect(m.handOver(1)).toEqual([])
  // Links are not in step: the order may come before the voter has heard of the epoch that it names.
  expect(m.handOver(3)).not.toEqual([])
})

test('another successor while the state is put in place does not make the record say that a workload is there', () => {
  const m = memberBench()
  m.elected(1)
  m.send({ kind: 'advanced', epoch: 2 })
  expect(m.effects).toEqual([{ kind: 'persist', epoch: 2, active: false }])
  m.done('applied')
  m.send({ kind: 'advanced', epoch: 3 })
  expect(m.effects).toEqual([{ kind: 'persist', epoch: 3, active: true }])
})

test('an office that was won while the last one is being stopped is not lost to an order from before it', () => {
  const m = primaryAt(1)
  m.order({ kind: 'fence', epoch: 2 })
  m.elected(3)
  m.order({ kind: 'follow', epoch: 2, term: 2, primary: PRIMARY })
  m.order({ kind: 'fence', epoch: 2 })
  m.ended('stop')
  expect(m.kinds()).toContain('finish-receiving')
  expect(m.member).toMatchObject({ epoch: 3, role: { kind: 'promoting' } })
})

test('a failed promotion is reported only when nothing of the workload is left', () => {
  const m = memberBench()
  m.elected(1)
  m.done('applied')
  m.ended('start', false)
  expect(m.reports()).toEqual([])
  expect(m.kinds()).toContain('stop')
  m.ended('stop', false)
  expect(m.kinds()).toEqual(['kill'])
  m.ended('kill')
  expect(m.reports()).toEqual(['promotion-failed'])
})

test('a promotion whose lease has run out before it began starts nothing, and gives the epoch up', () => {
  const m = memberBench()
  m.elected(1, { lease: { kind: 'until', at: plus(m.now, defaultLeasePolicy.fenceBudget) } })
  expect(m.kinds()).not.toContain('start')
  expect(m.kinds()).toContain('resign')
  expect(m.reports()).toEqual(['promotion-failed'])
})

test('the next office is not given up with the last one, and keeps its lease while the workload stops', () => {
  const m = memberBench()
  m.elected(1)
  m.done('applied')
  m.elected(2, { fresh: true })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'stop'])
  m.wait(300)
  m.lease()
  const end = m.now + LENGTH
  m.ended('stop')
  expect(m.kinds()).toEqual(['persist', 'report', 'persist', 'finish-receiving'])
  expect(m.member).toMatchObject({ epoch: 2, term: 2, lease: { kind: 'until', at: end } })
})

test('a daemon that was restarted under its workload freezes it first and asks for a new epoch', () => {
  const m = memberBench()
  m.send({ kind: 'booted', epoch: 4, active: true })
  expect(m.kinds()).toEqual(['freeze'])
  m.ended('freeze')
  expect(m.lease()).toEqual([])
  m.elected(5)
  expect(m.kinds()).toEqual(['persist', 'thaw'])
})

test('until the workload of an office that was given up has ended, the record says that it is there', () => {
  const given = primaryAt(1)
  given.handOver(1)
  given.done('drained')
  given.ended('freeze')
  given.sealed()
  expect(given.done('released')).toContainEqual({ kind: 'persist', epoch: 1, active: true })
  expect(given.ended('stop')[0]).toEqual({ kind: 'persist', epoch: 1, active: false })

  const taken = primaryAt(1)
  expect(taken.order({ kind: 'fence', epoch: 2 })).toContainEqual({ kind: 'persist', epoch: 2, active: true })
  taken.ended('stop', false)
  expect(taken.ended('kill')[0]).toEqual({ kind: 'persist', epoch: 2, active: false })

  const ending = primaryAt(1)
  ending.order({ kind: 'fence', epoch: 2 })
  ending.send({ kind: 'ending' })
  ending.ended('stop')
  expect(ending.kinds()).toEqual(['report'])
})

test('a daemon that was restarted under a workload that was to be stopped freezes it, and stops it before it follows', () => {
  const m = memberBench()
  m.send({ kind: 'booted', epoch: 2, active: true })
  m.order({ kind: 'follow', epoch: 2, term: 2, primary: REPLICA })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'stop'])
  expect(m.effects).toContainEqual({ kind: 'persist', epoch: 2, active: true })
  m.ended('stop')
  expect(m.kinds()).toEqual(['persist', 'resign', 'report', 'persist', 'receive'])
})

test('a higher epoch fences whatever role it meets, and a lower one changes nothing', () => {
  const m = primaryAt(5)
  expect(m.order({ kind: 'fence', epoch: 4 })).toEqual([])
  expect(m.order({ kind: 'fence', epoch: 5 })).toEqual([])
  m.order({ kind: 'fence', epoch: 6 })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'stop'])
  m.ended('stop')
  expect(m.reports()).toEqual(['fenced'])
  expect(m.member.epoch).toBe(6)
})

test('a replica that is let go stops receiving, and follows again in the same epoch when it is told to', () => {
  const m = memberBench()
  const follow: Order = { kind: 'follow', epoch: 3, term: 2, primary: PRIMARY }
  m.order(follow)
  m.order({ kind: 'fence', epoch: 3 })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'resign', 'report'])
  expect(m.order({ kind: 'fence', epoch: 3 })).toEqual([])
  expect(m.member.epoch).toBe(3)
  m.order(follow)
  expect(m.kinds()).toEqual(['persist', 'receive'])
})

test('a former primary that is told to follow stops first', () => {
  const m = primaryAt(1)
  m.order({ kind: 'follow', epoch: 2, term: 2, primary: REPLICA })
  expect(m.kinds()).not.toContain('receive')
  m.ended('stop')
  expect(m.kinds()).toEqual(['persist', 'resign', 'report', 'persist', 'receive'])
})

test('an order given twice has the effect of one', () => {
  const m = primaryAt(1)
  expect(m.elected(1)).toEqual([])
  m.handOver(1)
  expect(m.handOver(1)).toEqual([])
})

test('the end of an operation that was given up is not taken for the end of another', () => {
  const m = primaryAt(1)
  m.handOver(1)
  const { turn } = m.member
  m.order({ kind: 'abort-hand-over', epoch: 1 })
  expect(m.send({ kind: 'drained', turn, ok: true })).toEqual([])
  expect(m.member.role.kind).toBe('primary')
})

test('a hand-over that comes while the workload is between two states is refused, not muddled', () => {
  const m = primaryAt(1)
  m.lease()
  m.wait(LENGTH - defaultLeasePolicy.fenceBudget / 2)
  expect(m.kinds()).toEqual(['kill'])
  m.handOver(1)
  expect(m.reports()).toEqual(['hand-over-failed'])
  m.ended('kill')
  expect(m.member.workload).toBe('stopped')
})

test('what cannot be carried out ends the office in its own epoch, and no other is invented', () => {
  const m = memberBench()
  m.elected(7)
  m.done('applied')
  m.send({ kind: 'unable', why: 'no space left' })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'stop'])
  // The disk refuses that as well.
  expect(m.send({ kind: 'unable', why: 'no space left' })).toEqual([])
  m.ended('stop')
  expect(m.effects).toEqual([
    { kind: 'persist', epoch: 7, active: false },
    { kind: 'resign', epoch: 7 },
    {
      kind: 'report',
      report: { kind: 'promotion-failed', epoch: 7, incident: INCIDENT, why: 'no space left' },
    },
  ])
  expect(m.member).toMatchObject({ epoch: 7, exposed: false, role: { kind: 'fenced' } })
  expect(m.send({ kind: 'unable', why: 'no space left' })).toEqual([])
  m.elected(8)
  expect(m.kinds()).toEqual(['persist', 'finish-receiving'])
})

test('a primary that is unable stops too, and so does one that hands over', () => {
  for (const handsOver of [false, true]) {
    const m = primaryAt(3)
    if (handsOver) m.handOver(3)
    m.send({ kind: 'unable', why: 'no' })
    expect(m.kinds()).toContain('stop')
    m.ended('stop')
    expect(m.reports()).toEqual(['promotion-failed'])
    expect(m.member.epoch).toBe(3)
  }
})

test('a replica that is unable is let go, and follows again when it is told to', () => {
  const m = memberBench()
  const follow: Order = { kind: 'follow', epoch: 3, term: 2, primary: PRIMARY }
  m.order(follow)
  m.send({ kind: 'unable', why: 'no space left' })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'resign', 'report'])
  expect(m.member.epoch).toBe(3)
  m.order(follow)
  expect(m.kinds()).toEqual(['persist', 'receive'])
})

test('a daemon that ends stops the workload first, serves replicas until then, and takes no order any more', () => {
  const m = primaryAt(1, true)
  m.send({ kind: 'ending' })
  expect(m.kinds()).toEqual(['stop'])
  m.ended('stop', false)
  expect(m.kinds()).toEqual(['kill'])
  m.ended('kill')
  expect(m.member).toMatchObject({ workload: 'stopped', exposed: false, role: { kind: 'fenced' } })
  expect(primaryAt(1).send({ kind: 'ending' })).not.toContainEqual(
    expect.objectContaining({ kind: 'persist' }),
  )
})

test('a daemon that ends keeps its office until it is gone, and begins with no other', () => {
  const m = primaryAt(1)
  m.send({ kind: 'ending' })
  m.ended('stop')
  expect(m.kinds()).toEqual(['report'])
  expect(m.elected(2)).toEqual([])
  expect(m.order({ kind: 'follow', epoch: 3, term: 3, primary: REPLICA })).toEqual([])
  expect(m.member).toMatchObject({ workload: 'stopped', epoch: 1 })
})

test('before a deadline a replica that is far behind is sealed to all the same, in the time that is left', () => {
  const m = primaryAt(4)
  const draining = m.handOver(4, true)
  expect(draining).toContainEqual(expect.objectContaining({ kind: 'drain', budget: millis(2500) }))
  m.done('drained', false)
  const sealing = m.ended('freeze')
  expect(sealing).toContainEqual(expect.objectContaining({ kind: 'seal', budget: millis(2500) }))
})

test('without one the workload goes on where it is', () => {
  const m = primaryAt(4)
  expect(m.handOver(4)).toContainEqual(expect.objectContaining({ kind: 'drain', budget: millis(5000) }))
  m.done('drained', false)
  expect(m.member.role.kind).toBe('primary')
})
