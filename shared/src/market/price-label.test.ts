import { expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { instant } from '../core/time.ts'
import { BUCKET } from './bucket.ts'
import { createLabeller, priceTarget } from './price-label.ts'
import { HOUR_MS } from './price-path.ts'
import { PRICE_INSTABILITY_12H } from './price-rise.ts'

const START = Date.UTC(2026, 0, 1)
const h = (hours: number) => instant(START + hours * HOUR_MS)
const range = { from: h(0), to: h(60) }
const change = (hours: number, price: number) => ({ at: h(hours), price: microUsd(price) })
const changes = [change(0, 1000), change(20, 1031), change(40, 1000)]

test('a label is known where the whole horizon is covered, and nowhere else', () => {
  const label = createLabeller(
    { changes, covered: [{ from: h(0), to: h(30) }], samples: [] },
    range,
    PRICE_INSTABILITY_12H,
  )
  expect([0, 7.9, 8, 17.9, 18].map((at) => label(h(at)))).toEqual([0, 0, 1, 1, 1])
  expect(label(h(18.1))).toBeUndefined()
  expect(label(instant(h(0) - 1))).toBeUndefined()
})

test('a rise that was seen does not make up for a hole: only what is whole counts', () => {
  const holed = [
    { from: h(0), to: h(9) },
    { from: h(9.5), to: h(30) },
  ]
  const label = createLabeller({ changes, covered: holed, samples: [] }, range, PRICE_INSTABILITY_12H)
  expect(label(h(8.5)), 'the rise at hour 20 lies behind the hole').toBeUndefined()
  expect(label(h(10))).toBe(1)
})

test('samples of every bucket are as good as history, and one that is missing does no harm', () => {
  const samples = Array.from({ length: 240 }, (_, i) => ({
    at: instant(h(0) + i * BUCKET),
    price: microUsd(i < 100 ? 1000 : 1040),
  })).filter((_, i) => i !== 50)
  const label = createLabeller({ changes: [], covered: [], samples }, range, PRICE_INSTABILITY_12H)
  expect(label(h(0))).toBe(1)
  expect(label(instant(h(0) + 100 * BUCKET))).toBe(undefined)
  expect(label(instant(h(0) + 96 * BUCKET))).toBe(1)
})

test('only targets that prices show are labelled', () => {
  expect(priceTarget({ id: 'price_instability_12h', horizon_h: 12 })).toBe(PRICE_INSTABILITY_12H)
  expect(priceTarget({ id: 'price_instability_12h', horizon_h: 6 })).toBeUndefined()
  expect(priceTarget({ id: 'toString', horizon_h: 12 })).toBeUndefined()
  expect(priceTarget({ id: 'interruption', horizon_h: 12 })).toBeUndefined()
})
