import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { account, singleSpot } from './account.ts'
import { readLog } from './read.ts'
import {
  capacitySpans,
  cutStretch,
  endsIn,
  harshestStretch,
  lengthOf,
  type Schedule,
  slotsAt,
  slotsOf,
  within,
} from './schedule.ts'

const two: Schedule = {
  seconds: 100_000,
  zones: ['a', 'b'],
  slots: [
    { zone: 'a', from: 0, to: 30_000 },
    { zone: 'b', from: 20_000, to: 50_000 },
    { zone: 'a', from: 60_000, to: Number.POSITIVE_INFINITY },
  ],
}

/** Counts of instances per tick, for two zones. */
const counts = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 2, maxLength: 60 })

describe('a trace as a schedule', () => {
  it('has a slot for exactly the ticks at which there was capacity', () => {
    fc.assert(
      fc.property(counts, (ticks) => {
        const schedule = { seconds: ticks.length * 30, zones: ['a'], slots: slotsOf('a', 30, ticks) }
        for (const [tick, count] of ticks.entries())
          expect(slotsAt(schedule, tick * 30 + 7, 'a').length).toBe(count > 0 ? 1 : 0)
        expect(lengthOf(capacitySpans(schedule))).toBe(ticks.filter((count) => count > 0).length * 30)
      }),
    )
  })

  it('is cut at a moment with capacity, and what goes on after its end is not taken away', () => {
    fc.assert(
      fc.property(counts, counts, fc.nat(1000), fc.integer({ min: 1, max: 60 }), (a, b, seed, length) => {
        const ticks = Math.min(a.length, b.length)
        const slots = [...slotsOf('a', 30, a.slice(0, ticks)), ...slotsOf('b', 30, b.slice(0, ticks))]
        const whole = { seconds: ticks * 30, zones: ['a', 'b'], slots }
        const { from, schedule } = cutStretch(whole, length * 30, seed)
        expect(from + schedule.seconds).toBeLessThanOrEqual(whole.seconds)
        for (let at = 5; at < schedule.seconds; at += 10)
          for (const zone of whole.zones)
            expect(slotsAt(schedule, at, zone).length).toBe(slotsAt(whole, from + at, zone).length)
        const couldBegin = slots.some(
          (slot) => slot.from <= whole.seconds - schedule.seconds && slot.to > from,
        )
        if (couldBegin) expect(slotsAt(schedule, 0).length).toBeGreaterThan(0)
        expect(cutStretch(whole, length * 30, seed)).toEqual({ from, schedule })
      }),
    )
  })

  it('is played where it is harshest of what was drawn', () => {
    const slots = Array.from({ length: 50 }, (_, n) => ({ zone: 'a', from: n * 100, to: n * 100 + 90 }))
    const whole = {
      seconds: 100_000,
      zones: ['a'],
      slots: [...slots, { zone: 'a', from: 6000, to: 100_000 }],
    }
    const harshest = harshestStretch(whole, 2000, 1, 200)
    for (let seed = 200; seed < 400; seed += 1)
      expect(endsIn(cutStretch(whole, 2000, seed).schedule)).toBeLessThanOrEqual(endsIn(harshest.schedule))
    expect(endsIn(harshest.schedule)).toBeGreaterThan(10)
  })

  it('knows when any zone has capacity', () => {
    expect(capacitySpans(two)).toEqual([
      [0, 50_000],
      [60_000, 100_000],
    ])
    expect(within([45_000, 65_000], capacitySpans(two))).toBe(10_000)
  })

  it('takes each node of a log for a slot of its own, and says which line it cannot read', () => {
    const log = readLog('0,add,node1\n0,add,node2\n60000,remove,node1\n90000,add,node5\n', 'log')
    expect(log.slots).toHaveLength(3)
    expect(log.slots.filter(({ from, to }) => from === 0 && to === 60)).toHaveLength(1)
    expect(log.slots.filter(({ zone }) => zone === 'deal-b').map(({ to }) => to)).toEqual([60, 90])
    expect(() => readLog('0,add,node1\nnothing\n', 'log')).toThrow('log: line 2')
  })
})

describe('the account', () => {
  const life = { hasServed: true, isNew: true, isAlive: false }

  it('counts a silence once for each real second, and only where the trace had capacity', () => {
    // 100 times as fast: the second silence begins 2 s before capacity goes and ends 3 s after it is back.
    const sum = account(
      two,
      [
        [100, 101.5],
        [498, 603],
      ],
      [],
      { speed: 100, spotShare: 0.3 },
    )
    expect(sum.outage_seconds).toBeCloseTo(1.5 + 2 + 3)
    expect(sum.outages).toBe(2)
    expect(sum.longest_outage_seconds).toBeCloseTo(5)
    expect(sum.served_share).toBeCloseTo(1 - 6.5 / 90_000, 9)
    expect(sum.served_share_accelerated).toBeCloseTo(1 - 650 / 90_000, 9)
  })

  it('counts as wasted who was launched and ended without having served, and pays for all', () => {
    const sum = account(
      two,
      [],
      [
        { ...life, span: [0, 50_000], isNew: false },
        { ...life, span: [0, 100_000], hasServed: false },
        { ...life, span: [50_000, 100_000], hasServed: false, isAlive: true },
      ],
      { speed: 100, spotShare: 0.3 },
    )
    expect([sum.launched, sum.wasted]).toEqual([2, 1])
    expect(sum.cost_share).toBeCloseTo(0.6)
    expect(sum.served_share).toBe(1)
  })

  it('lets a single spot instance wait for capacity and for its snapshot', () => {
    // It holds a to 30000, b to 50000, and a from 60000 on: two restarts, one of them after a time without capacity.
    const single = singleSpot(two, { restart: 180, spotShare: 0.3, seed: 1 })
    expect(single).toEqual({
      interruptions: 2,
      outage_seconds: 360,
      served_share: (90_000 - 360) / 90_000,
      cost_share: 0.9 * 0.3,
    })
  })
})
