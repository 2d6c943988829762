import { expect, test } from 'vitest'
import { type IncidentId, instanceId } from '../core/ids.ts'
import { type Mono, millis, mono } from '../core/time.ts'
import { defaultLeasePolicy } from './lease.ts'
import { mayRun, newMember, stepMember } from './member.ts'
import type { Hook, Member, MemberEffect, MemberEvent } from './member-types.ts'
import type { LeaseGrant, Order } from './orders.ts'

const PRIMARY = instanceId('i-primary')
const REPLICA = instanceId('i-replica')
const INCIDENT = '00000000-0000-4000-8000-000000000001' as IncidentId

/** One member, driven by hand; time moves only with `at`. */
function bench() {
  let member: Member = newMember(defaultLeasePolicy)
  let now: Mono = mono(1000)
  let seq = 0
  let effects: readonly MemberEffect[] = []
  const send = (event: MemberEvent) => {
    const step = stepMember(member, event, now)
    member = step.member
    effects = step.effects
    return effects
  }
  const grant = (epoch: number, solo = false): LeaseGrant => {
    seq += 1
    return { epoch, seq, sentAt: now, lease: defaultLeasePolicy.lease, solo }
  }
  return {
    get member() {
      return member
    },
    get effects() {
      return effects
    },
    get now() {
      return now
    },
    kinds: () => effects.map((effect) => ('hook' in effect ? effect.hook : effect.kind)),
    reports: () => effects.flatMap((effect) => (effect.kind === 'report' ? [effect.report.kind] : [])),
    send,
    order: (order: Order) => send({ kind: 'order', order }),
    promote: (epoch: number, options: { fresh?: boolean; solo?: boolean } = {}) =>
      send({
        kind: 'order',
        order: {
          kind: 'promote',
          epoch,
          fresh: options.fresh ?? false,
          incident: INCIDENT,
          lease: grant(epoch, options.solo),
        },
      }),
    lease: (epoch: number, solo = false) => send({ kind: 'lease', grant: grant(epoch, solo) }),
    ended: (hook: Hook | 'kill', ok = true) =>
      send({ kind: 'hook-ended', turn: member.turn, hook, ok, ...(ok ? {} : { why: `${hook} failed` }) }),
    done: (kind: 'applied' | 'drained', ok = true) =>
      send({ kind, turn: member.turn, ok, ...(ok ? {} : { why: 'no' }) }),
    sealed: (ok = true) =>
      send({ kind: 'sealed', turn: member.turn, ok, seq: 7, ...(ok ? {} : { why: 'no' }) }),
    wait: (length: number) => {
      now = mono(now + length)
      return send({ kind: 'tick' })
    },
    handOver: (epoch: number, urgent = false) =>
      send({
        kind: 'order',
        order: {
          kind: 'hand-over',
          epoch,
          target: REPLICA,
          incident: INCIDENT,
          budget: millis(5000),
          urgent,
        },
      }),
  }
}

function primaryAt(epoch: number, solo = false) {
  const m = bench()
  m.promote(epoch, { solo })
  m.ended('start')
  m.ended('health')
  expect(m.member.role.kind).toBe('primary')
  return m
}

test('the first primary starts its workload only after its epoch is on disk', () => {
  const m = bench()
  m.promote(1)
  expect(m.kinds()).toEqual(['persist', 'start'])
  expect(m.ended('start') && m.kinds()).toEqual(['health'])
  m.ended('health')
  expect(m.kinds()).toEqual(['serve', 'report'])
  expect(m.reports()).toEqual(['promoted'])
})

test('a replica puts everything in place before it starts, and runs nothing before that', () => {
  const m = bench()
  m.order({ kind: 'follow', epoch: 3, primary: PRIMARY })
  expect(m.kinds()).toEqual(['persist', 'receive'])
  expect(m.member.exposed).toBe(false)
  m.promote(4)
  expect(m.kinds()).toEqual(['persist', 'finish-receiving'])
  expect(m.member.exposed).toBe(false)
  m.done('applied')
  expect(m.kinds()).toEqual(['start'])
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
  expect(m.kinds()).toEqual(['persist', 'report', 'stop-serving', 'stop'])
  expect(m.reports()).toEqual(['released'])
  expect(m.member.role.kind).toBe('released')
  m.ended('stop')
  expect(m.reports()).toEqual(['fenced'])
})

test('what was released is never taken up again in that epoch', () => {
  const m = primaryAt(1)
  m.handOver(1)
  m.done('drained')
  m.ended('freeze')
  m.sealed()
  expect(m.lease(1)).toEqual([])
  expect(m.order({ kind: 'abort-hand-over', epoch: 1 })).toEqual([])
  expect(m.promote(1)).toEqual([])
  expect(mayRun(m.member, m.now)).toBe(false)
})

test.each([
  ['the replica does not catch up', (m: ReturnType<typeof bench>) => m.done('drained', false), []],
  [
    'the freeze hook fails on a planned move',
    (m: ReturnType<typeof bench>) => {
      m.done('drained')
      m.ended('freeze', false)
    },
    ['thaw'],
  ],
  [
    'the replica does not confirm',
    (m: ReturnType<typeof bench>) => {
      m.done('drained')
      m.ended('freeze')
      m.sealed(false)
    },
    ['thaw'],
  ],
  [
    'the coordinator calls it off',
    (m: ReturnType<typeof bench>) => {
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
  m.lease(1)
  const end = defaultLeasePolicy.lease * 0.98
  m.wait(end - defaultLeasePolicy.fenceBudget - 1)
  expect(m.effects).toEqual([])
  m.wait(2)
  expect(m.kinds()).toEqual(['freeze'])
  m.ended('freeze')
  expect(m.member.exposed).toBe(false)
  m.lease(1)
  expect(m.kinds()).toEqual(['thaw'])
})

test('a freeze hook that hangs is not waited for: nothing is left when the lease ends', () => {
  const m = primaryAt(1)
  m.lease(1)
  m.wait(defaultLeasePolicy.lease * 0.98 - defaultLeasePolicy.fenceBudget)
  expect(m.kinds()).toEqual(['freeze'])
  m.wait(defaultLeasePolicy.fenceBudget / 2)
  expect(m.kinds()).toEqual(['kill'])
  m.ended('kill')
  expect(m.member.exposed).toBe(false)
  m.lease(1)
  expect(m.kinds()).toEqual(['start'])
})

test('in solo mode the coordinator may be away for as long as it likes', () => {
  const m = primaryAt(1, true)
  m.wait(3_600_000)
  expect(m.effects).toEqual([])
  expect(mayRun(m.member, m.now)).toBe(true)
})

test('a late grant does not end a solo run, and an old one does not shorten a lease', () => {
  const m = primaryAt(1, true)
  m.send({
    kind: 'lease',
    grant: { epoch: 1, seq: 99, sentAt: mono(m.now - 10_000), lease: millis(3000), solo: false },
  })
  expect(m.member.lease.kind).toBe('solo')
  m.lease(1, true)
  m.send({ kind: 'lease', grant: { epoch: 1, seq: 1, sentAt: m.now, lease: millis(3000), solo: false } })
  expect(m.member.lease.kind).toBe('solo')
})

test('a failed promotion is reported only when nothing of the workload is left', () => {
  const m = bench()
  m.promote(1)
  m.ended('start', false)
  expect(m.reports()).toEqual([])
  expect(m.kinds()).toContain('stop')
  m.ended('stop', false)
  expect(m.kinds()).toEqual(['kill'])
  m.ended('kill')
  expect(m.reports()).toEqual(['promotion-failed'])
})

test('a promotion whose lease has run out before it began starts nothing', () => {
  const m = bench()
  const lease: LeaseGrant = { epoch: 1, seq: 1, sentAt: mono(0), lease: millis(500), solo: false }
  m.order({ kind: 'promote', epoch: 1, fresh: false, lease })
  expect(m.kinds()).not.toContain('start')
  expect(m.reports()).toEqual(['promotion-failed'])
})

test('a daemon that was restarted under its workload freezes it first and asks for a new epoch', () => {
  const m = bench()
  m.send({ kind: 'booted', epoch: 4, active: true })
  expect(m.kinds()).toEqual(['freeze'])
  m.ended('freeze')
  expect(m.promote(4)).toEqual([])
  m.promote(5)
  expect(m.kinds()).toEqual(['persist', 'thaw'])
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
  const m = bench()
  const follow: Order = { kind: 'follow', epoch: 3, primary: PRIMARY }
  m.order(follow)
  m.order({ kind: 'fence', epoch: 3 })
  expect(m.kinds()).toEqual(['persist', 'stop-serving', 'stop-receiving', 'report'])
  expect(m.order({ kind: 'fence', epoch: 3 })).toEqual([])
  expect(m.member.epoch).toBe(3)
  m.order(follow)
  expect(m.kinds()).toEqual(['persist', 'receive'])
})

test('a former primary that is told to follow stops first', () => {
  const m = primaryAt(1)
  m.order({ kind: 'follow', epoch: 2, primary: REPLICA })
  expect(m.kinds()).not.toContain('receive')
  m.ended('stop')
  expect(m.kinds()).toEqual(['report', 'persist', 'receive'])
})

test('an order given twice has the effect of one', () => {
  const m = primaryAt(1)
  m.promote(1)
  expect(m.kinds()).toEqual(['report'])
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
  m.lease(1)
  m.wait(defaultLeasePolicy.lease * 0.98 - defaultLeasePolicy.fenceBudget / 2)
  expect(m.kinds()).toEqual(['kill'])
  m.handOver(1)
  expect(m.reports()).toEqual(['hand-over-failed'])
  m.ended('kill')
  expect(m.member.workload).toBe('stopped')
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
