import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromUsd, parseUsd } from '../core/money.ts'
import { instant } from '../core/time.ts'
import { checkSample, givenFrom, isRefusal, type Known, type RefusalCode, refusalCodes } from './sample.ts'

const now = instant(Date.parse('2025-11-20T10:05:00Z'))

const known: Known = {
  now,
  isKnownZone: (zone) => (zone === 'ap-south-1z' ? false : zone === 'ap-south-1a' ? true : undefined),
  isKnownType: (type) => (type === 'c5.tiny' ? false : undefined),
  onDemand: ({ instanceType }) => (instanceType === 'c5.large' ? fromUsd(0.085) : undefined),
}

const good = { pool_id: 'c5.large@ap-south-1a', at: '2025-11-20T10:05:00Z', price: 0.0416 }
const check = (change: object) => checkSample(givenFrom({ ...good, ...change }), known)

test('a sample is taken with its price in micro-dollars', () => {
  const taken = { poolId: 'c5.large@ap-south-1a', at: now, price: 41_600 }
  expect(check({})).toEqual(taken)
  expect(check({ price: '0.041600' })).toEqual(taken)
  expect(check({ at: now })).toEqual(taken)
  expect(check({ at: '2025-11-20T15:35:00+05:30' })).toEqual(taken)
})

test('from agents nothing is taken that they would not have kept for so long; of others 2009 is the limit', () => {
  const since = instant(now - 8 * 86_400_000)
  const old = { ...good, at: since - 1 }
  expect(checkSample(givenFrom(old), { ...known, since })).toEqual({
    code: 'time_too_old',
    reason:
      '2025-11-12T10:04:59.999Z is too long ago: nothing before 2025-11-12T10:05:00.000Z is taken from agents; import a file of what is older',
  })
  expect(checkSample(givenFrom({ ...good, at: since }), { ...known, since })).toMatchObject({ at: since })
  expect(checkSample(givenFrom(old), known)).toMatchObject({ at: since - 1 })
})

const refused: readonly [RefusalCode, object, string][] = [
  [
    'pool_malformed',
    { pool_id: 'c5.large' },
    '"c5.large" is not a pool: an instance type in an availability zone, such as c5.large@ap-south-1a',
  ],
  [
    'pool_malformed',
    { pool_id: undefined },
    'undefined is not a pool: an instance type in an availability zone, such as c5.large@ap-south-1a',
  ],
  [
    'zone_unknown',
    { pool_id: 'c5.large@ap-south-1z' },
    'there is no availability zone ap-south-1z in this account',
  ],
  ['instance_type_unknown', { pool_id: 'c5.tiny@ap-south-1a' }, 'EC2 has no instance type c5.tiny'],
  ['time_malformed', { at: 'yesterday' }, '"yesterday" is not a time such as 2025-11-20T10:05:00Z'],
  [
    'time_malformed',
    { at: {} },
    'an object is not a time: give text such as 2025-11-20T10:05:00Z, or UTC milliseconds',
  ],
  [
    'time_malformed',
    { at: 1e300 },
    '1e+300 is not a time: give text such as 2025-11-20T10:05:00Z, or UTC milliseconds',
  ],
  [
    'time_without_zone',
    { at: '2025-11-20T10:05:00' },
    '"2025-11-20T10:05:00" has no UTC offset, so it could be any of several times; end it with Z or +05:30',
  ],
  [
    'time_in_future',
    { at: '2025-11-20T10:10:00.001Z' },
    "2025-11-20T10:10:00.001Z is 6 minutes ahead of the coordinator's clock; check the sender's",
  ],
  [
    'time_too_old',
    { at: '2009-12-13T23:59:59Z' },
    '2009-12-13T23:59:59.000Z is before 2009-12-14, when spot prices began; are these seconds instead of milliseconds?',
  ],
  [
    'time_too_old',
    { at: 1_763_633_100 },
    '1970-01-21T09:53:53.100Z is before 2009-12-14, when spot prices began; are these seconds instead of milliseconds?',
  ],
  [
    'price_not_a_number',
    { price: Number.NaN },
    'NaN is not a price: give US dollars per hour, such as 0.0416 or "0.0416"',
  ],
  [
    'price_not_a_number',
    { price: '$0.04' },
    '"$0.04" is not a price: give US dollars per hour, such as 0.0416 or "0.0416"',
  ],
  [
    'price_not_a_number',
    { price: null },
    'null is not a price: give US dollars per hour, such as 0.0416 or "0.0416"',
  ],
  ['price_zero', { price: 0 }, '0 is no price: a pool without one has no row, not a row with 0'],
  [
    'price_zero',
    { price: '0.0000' },
    '"0.0000" is no price: a pool without one has no row, not a row with 0',
  ],
  ['price_negative', { price: -0.04 }, '-0.04 is below zero, which no price is'],
  ['price_negative', { price: '-0.04' }, '"-0.04" is below zero, which no price is'],
  [
    'price_implausible',
    { price: 0.850001 },
    '0.850001 USD per hour is more than 10 times the on-demand price of 0.085; prices are given in US dollars per hour',
  ],
  [
    'price_implausible',
    { price: '41600' },
    '"41600" USD per hour is more than 10 times the on-demand price of 0.085; prices are given in US dollars per hour',
  ],
  [
    'price_implausible',
    { pool_id: 'm5.large@ap-south-1a', price: 1000.000001 },
    '1000.000001 USD per hour is more than any instance costs; prices are given in US dollars per hour',
  ],
]

test.each(refused)('%s: %j', (code, change, reason) => {
  expect(check(change)).toEqual({ code, reason })
})

test('every code of a refusal is shown above', () => {
  expect(new Set(refused.map(([code]) => code))).toEqual(new Set(refusalCodes))
})

test('what lies on a limit is taken', () => {
  expect(check({ price: 0.85 })).toHaveProperty('price', 850_000)
  expect(check({ at: '2025-11-20T10:10:00Z' })).toHaveProperty('price')
  expect(check({ at: '2009-12-14T00:00:00Z' })).toHaveProperty('price')
  expect(check({ pool_id: 'm5.large@ap-south-1a', price: 1000 })).toHaveProperty('price', 1_000_000_000)
})

test('whatever a row is, it is taken or refused with a sentence', () => {
  fc.assert(
    fc.property(fc.anything(), fc.anything(), fc.anything(), fc.anything(), (row, pool_id, at, price) => {
      for (const given of [row, { ...good, pool_id }, { ...good, at }, { ...good, price }]) {
        const checked = checkSample(givenFrom(given), known)
        expect(isRefusal(checked) ? checked.reason.length > 10 : checked.price > 0).toBe(true)
      }
    }),
  )
})

test('a decimal is read digit by digit, to the nearest micro-dollar', () => {
  expect(parseUsd('0.0000005')).toBe(1)
  expect(parseUsd('0.00000049999999999999999')).toBe(0)
  expect(parseUsd('1.005')).toBe(1_005_000)
  expect(parseUsd('-1.5')).toBe(-1_500_000)
  for (const wrong of ['', '.', '1.', '.5', '1e3', '0x10', ' 1', '1,5', 'Infinity', 'NaN'])
    expect(parseUsd(wrong)).toBeUndefined()
  expect(parseUsd(Number.POSITIVE_INFINITY)).toBeUndefined()
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1_000_000_000 }), (micros) => {
      expect(parseUsd((micros / 1e6).toFixed(6))).toBe(micros)
      expect(parseUsd(micros / 1e6)).toBe(micros)
    }),
  )
})
