import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { hours, instant } from '../core/time.ts'
import type { Interval } from './interval.ts'
import { realisedOf } from './realised.ts'
import { type PriceStep, usdOf } from './savings.ts'

const at = (hour: number) => instant(hours(hour))
const span = (from: number, to: number): Interval => ({ from: at(from), to: at(to) })
const step = (from: number, to: number, micro: number): PriceStep => ({
  ...span(from, to),
  price: microUsd(micro),
})
const none = { old: span(0, 0), new: span(0, 0) }

describe('what a move came to', () => {
  test('is the old price less the new one, hour by hour, and what ran twice', () => {
    const prices = {
      old: [step(0, 4, 50_000), step(4, 24, 90_000)],
      new: [step(0, 10, 30_000), step(10, 24, 100_000)],
    }
    const twice = { new: span(1, 2), old: span(2, 2.5) }
    const { saved, doubleRunning, counted, unknown } = realisedOf(span(2, 12), twice, prices)
    // 2 h at 2 ct, 6 h at 6 ct, 2 h at -1 ct.
    expect(usdOf(saved)).toBeCloseTo(0.04 + 0.36 - 0.02, 9)
    expect(usdOf(doubleRunning)).toBeCloseTo(0.03 + 0.025, 9)
    expect([counted, unknown]).toEqual([hours(10), 0])
  })

  test('a time whose prices are not both known is in no sum', () => {
    const prices = { old: [step(0, 4, 50_000)], new: [step(2, 12, 30_000)] }
    const found = realisedOf(span(0, 12), { ...none, old: span(3, 6) }, prices)
    expect(usdOf(found.saved)).toBeCloseTo(0.04, 9)
    expect(usdOf(found.doubleRunning)).toBeCloseTo(0.05, 9)
    expect([found.counted, found.unknown]).toEqual([hours(2), hours(10 + 2)])
    expect(realisedOf(span(0, 12), none, { old: [], new: [] })).toMatchObject({ saved: 0n, counted: 0 })
  })

  test('of two parts is together that of the whole', () => {
    const steps = fc
      .array(fc.record({ gap: fc.nat(3), length: fc.integer({ min: 1, max: 5 }), price: fc.nat(200_000) }))
      .map((all) => {
        let from = 0
        return all.map(({ gap, length, price }) => {
          const one = step(from + gap, from + gap + length, price)
          from += gap + length
          return one
        })
      })
    fc.assert(
      fc.property(steps, steps, fc.nat(20), fc.nat(20), fc.nat(20), (old, ours, from, first, second) => {
        const cut = from + first
        const of = (stay: Interval) => realisedOf(stay, none, { old, new: ours })
        const [a, b, whole] = [span(from, cut), span(cut, cut + second), span(from, cut + second)].map(of)
        expect((a?.saved ?? 0n) + (b?.saved ?? 0n)).toBe(whole?.saved)
        expect((a?.counted ?? 0) + (b?.counted ?? 0)).toBe(whole?.counted)
        expect((whole?.counted ?? 0) + (whole?.unknown ?? 0)).toBe(hours(first + second))
      }),
    )
  })
})
