import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromUsd } from '../core/money.ts'
import { instant } from '../core/time.ts'
import { HOUR_MS, priceAt, toPricePath } from './price-path.ts'
import { firstRise, PRICE_INSTABILITY_12H } from './price-rise.ts'

const hour = (h: number) => instant(h * HOUR_MS)
const path = (...steps: readonly (readonly [number, number])[]) =>
  toPricePath(steps.map(([h, usd]) => ({ at: hour(h), price: fromUsd(usd) })))

test('the first price above 1.03 times the present one, in the 12 h that follow', () => {
  const prices = path([0, 1], [5, 1.03], [12, 1.031], [13, 1.5])
  expect(firstRise(prices, hour(0))).toBe(hour(12))
  expect(firstRise(prices, hour(-1))).toBeUndefined()
  expect(firstRise(path([0, 1], [13, 2]), hour(0))).toBeUndefined()
  expect(firstRise(path([0, 1], [13, 2]), hour(1))).toBe(hour(13))
  expect(
    firstRise(path([0, 1], [6, 2], [7, 1]), hour(6)),
    'a rise at that very moment is the past',
  ).toBeUndefined()
})

test('it is the maximum over (t, t + 12 h] against 1.03 times the price at t', () => {
  const steps = fc.array(
    fc.tuple(
      fc.nat(60),
      fc.integer({ min: 90, max: 110 }).map((n) => n / 100),
    ),
    { minLength: 1 },
  )
  fc.assert(
    fc.property(steps, fc.nat(60), (list, h) => {
      const prices = path([0, 1], ...list)
      const limit = (priceAt(prices, hour(h)) ?? 0) * PRICE_INSTABILITY_12H.factor
      const later = Array.from({ length: 12 }, (_, k) => priceAt(prices, hour(h + k + 1)) ?? 0)
      expect(firstRise(prices, hour(h)) !== undefined).toBe(Math.max(...later) > limit)
    }),
  )
})
