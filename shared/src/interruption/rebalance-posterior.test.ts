import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hours, instant } from '../core/time.ts'
import { type PastSignal, probabilityAfterSignal } from './rebalance-posterior.ts'
import { outcomeOf } from './signal-outcome.ts'

const at = { family: 'm5', region: 'us-east-1' }
const signal = (followed: boolean, family = 'm5', region = 'us-east-1'): PastSignal => ({
  family,
  region,
  followed,
})
const times = (count: number, make: () => PastSignal) => Array.from({ length: count }, make)

test('without any past the prior protects', () => {
  expect(probabilityAfterSignal([], at)).toMatchObject({ value: 0.4, level: null, hits: 0, misses: 0 })
})

test('four false alarms are enough to stop, one hit in four is enough to go on', () => {
  const alarms = times(4, () => signal(false))
  expect(probabilityAfterSignal(alarms, at).value).toBeCloseTo(4 / 14, 10)
  const oneHit = probabilityAfterSignal([signal(true), ...times(3, () => signal(false))], at)
  expect(oneHit).toMatchObject({ level: 'family_in_region', hits: 1, misses: 3 })
  expect(oneHit.value).toBeCloseTo(5 / 14, 10)
})

test('two signals are too few for a level, three are enough', () => {
  expect(
    probabilityAfterSignal(
      times(2, () => signal(true)),
      at,
    ).value,
  ).toBe(0.4)
  expect(
    probabilityAfterSignal(
      times(3, () => signal(true)),
      at,
    ).value,
  ).toBeCloseTo(7 / 13, 10)
})

test('the finest level that has seen three signals speaks', () => {
  const past = [
    signal(true),
    signal(true),
    ...times(3, () => signal(false, 'c5')),
    ...times(9, () => signal(true, 'c5', 'eu-west-1')),
  ]
  const { value, because, level } = probabilityAfterSignal(past, at)
  expect(value).toBeCloseTo((4 + 2) / (10 + 5), 10)
  expect(level).toBe('region')
  expect(because).toBe('2 of 5 recommendations for us-east-1 were followed by a notice within 2 h')
  expect(probabilityAfterSignal(past, { family: 'x1', region: 'sa-east-1' }).because).toContain('all regions')
})

test('a hit never lowers it and a miss never raises it, once a level speaks', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 3, maxLength: 40 }), (outcomes) => {
      const past = outcomes.map((followed) => signal(followed))
      const now = probabilityAfterSignal(past, at).value
      expect(probabilityAfterSignal([...past, signal(true)], at).value).toBeGreaterThan(now)
      expect(probabilityAfterSignal([...past, signal(false)], at).value).toBeLessThan(now)
      expect(now).toBeGreaterThan(0)
      expect(now).toBeLessThan(1)
    }),
  )
})

const h = (value: number) => instant(hours(value))
test.each([
  ['a notice within two hours', { noticedAt: h(1.5), endedAt: h(1.6) }, 'followed'],
  ['a notice that came together with it', { noticedAt: h(0), endedAt: null }, 'followed'],
  ['a notice that came first', { noticedAt: h(-0.1), endedAt: null }, 'followed'],
  ['a notice after three hours', { noticedAt: h(3), endedAt: null }, 'not_followed'],
  ['nothing', { noticedAt: null, endedAt: null }, 'not_followed'],
  ['an end by us after three hours', { noticedAt: null, endedAt: h(3) }, 'not_followed'],
  ['an end without a notice after a minute', { noticedAt: null, endedAt: h(0.02) }, 'unknown'],
] as const)('a signal and then %s', (_, then, outcome) => {
  expect(outcomeOf({ detectedAt: h(0), ...then }, h(4))).toBe(outcome)
})

test('a signal without a notice is open for two hours', () => {
  const nothing = { detectedAt: h(0), noticedAt: null, endedAt: null }
  expect(outcomeOf(nothing, h(1.99))).toBe('open')
  expect(outcomeOf(nothing, h(2))).toBe('not_followed')
})
