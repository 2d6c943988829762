import { expect, test } from 'vitest'
import { type PastSignal, probabilityAfterSignal } from './interruption-probability.ts'

const at = { family: 'm5', region: 'us-east-1' }
const signal = (followed: boolean, family = 'm5', region = 'us-east-1'): PastSignal => ({
  family,
  region,
  followed,
})
const times = (count: number, make: () => PastSignal) => Array.from({ length: count }, make)

test('without any past the prior protects', () => {
  expect(probabilityAfterSignal([], at).value).toBe(0.4)
})

test('four false alarms are enough to stop, one hit in four is enough to go on', () => {
  expect(
    probabilityAfterSignal(
      times(4, () => signal(false)),
      at,
    ).value,
  ).toBeCloseTo(4 / 14, 10)
  expect(probabilityAfterSignal([signal(true), ...times(3, () => signal(false))], at).value).toBeCloseTo(
    5 / 14,
    10,
  )
})

test('the finest level that has seen three signals speaks', () => {
  const past = [
    signal(true),
    signal(true),
    ...times(3, () => signal(false, 'c5')),
    ...times(9, () => signal(true, 'c5', 'eu-west-1')),
  ]
  const { value, because } = probabilityAfterSignal(past, at)
  expect(value).toBeCloseTo((4 + 2) / (10 + 5), 10)
  expect(because).toBe('2 of 5 recommendations for us-east-1 were followed by a notice within 2 h')
  expect(probabilityAfterSignal(past, { family: 'x1', region: 'sa-east-1' }).because).toContain('all regions')
})
