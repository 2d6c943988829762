import fc from 'fast-check'
import { expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { instant, millis } from '../core/time.ts'
import { BUCKET } from './bucket.ts'
import { knownPrices, priceAge } from './known-prices.ts'
import { HOUR_MS, priceAt } from './price-path.ts'

const START = Date.UTC(2026, 0, 1)
const h = (hours: number) => instant(START + hours * HOUR_MS)
const change = (hours: number, price: number) => ({ at: h(hours), price: microUsd(price) })
const range = { from: h(0), to: h(100) }

test('history stands where it is complete, samples before and after it', () => {
  const known = knownPrices(
    {
      changes: [change(2, 100), change(12, 120), change(30, 500)],
      covered: [{ from: h(10), to: h(20) }],
      samples: [change(9, 90), change(15, 999), change(20, 130)],
    },
    range,
  )
  expect([...(known?.path.at ?? [])]).toEqual([h(9), h(10), h(12), h(20)])
  expect([...(known?.path.price ?? [])]).toEqual([90, 100, 120, 130])
  expect(known).toMatchObject({ from: h(9), until: h(20) + BUCKET })
  expect(known?.bridged).toEqual([{ from: h(9) + BUCKET, to: h(10) }])
  expect(priceAge(known as never, instant(h(20) + BUCKET))).toBe(0)
  expect(priceAge(known as never, h(21))).toBe(HOUR_MS - BUCKET)
  expect(priceAge(known as never, h(8))).toBe(Number.POSITIVE_INFINITY)
})

test('nothing is carried across a hole of more than four hours', () => {
  const facts = {
    changes: [change(0, 100), change(15, 200)],
    covered: [
      { from: h(0), to: h(10) },
      { from: h(14.1), to: h(20) },
    ],
    samples: [],
  }
  const known = knownPrices(facts, range)
  expect(known).toMatchObject({ from: h(14.1), until: h(20), bridged: [] })
  expect(priceAt(known?.path as never, h(12))).toBeUndefined()
  expect(priceAt(known?.path as never, h(14.1)), 'the step that held when it began').toBe(100)
  expect(knownPrices(facts, range, millis(5 * HOUR_MS))).toMatchObject({ from: h(0) })
})

test('a covered time counts from the first price on, and without any price nothing is known', () => {
  expect(
    knownPrices({ changes: [change(5, 100)], covered: [{ from: h(0), to: h(9) }], samples: [] }, range),
  ).toMatchObject({ from: h(5), until: h(9) })
  expect(
    knownPrices({ changes: [change(50, 1)], covered: [{ from: h(0), to: h(9) }], samples: [] }, range),
  ).toBeUndefined()
  expect(knownPrices({ changes: [], covered: [], samples: [] }, range)).toBeUndefined()
})

test('the price at any covered time is that of the last change before it', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 0, max: 99 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 0, max: 99 }),
      (hours, at) => {
        const changes = hours.sort((a, b) => a - b).map((hour, i) => change(hour, 1000 + (i % 3)))
        const known = knownPrices({ changes, covered: [range], samples: [] }, range)
        const expected = changes.filter((one) => one.at <= h(at)).at(-1)?.price
        expect(priceAt(known?.path as never, h(at))).toBe(expected)
      },
    ),
  )
})
