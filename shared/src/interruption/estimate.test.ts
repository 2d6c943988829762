import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hours, instant, millis } from '../core/time.ts'
import { type InterruptionBand, parsePool } from '../market/pool.ts'
import { advisorHazard, stillTrue } from './advisor-rate.ts'
import { createInterruptionEstimator, type Question } from './estimate.ts'
import { noMultipliers } from './multipliers.ts'
import { createRateBook, type PoolHistory } from './rate-book.ts'

const NOON = instant(Date.UTC(2026, 10, 21, 12))
const pool = parsePool('c5.large@us-east-1a')
const ask = (more: Partial<Question> = {}): Question => ({
  pool,
  band: 0,
  bandAge: hours(24),
  now: NOON,
  hours: 12,
  age: null,
  ...more,
})
const history = (
  id: string,
  instanceHours: number,
  interruptions: number,
  band: InterruptionBand | null = 0,
) => ({
  pool: parsePool(id),
  band,
  instanceHours,
  interruptions,
})
const own = (instanceHours: number, interruptions: number, band: InterruptionBand | null = 0) =>
  history('c5.large@us-east-1a', instanceHours, interruptions, band)
const estimator = (past: readonly PoolHistory[], multipliers = noMultipliers) =>
  createInterruptionEstimator(createRateBook(past), multipliers)

const bands = [0, 1, 2, 3, 4] as const
const anyBand = fc.constantFrom<InterruptionBand | null>(...bands, null)
const anyHours = fc.double({ min: 0, max: 1e6, noNaN: true })
const anyHistory = fc.array(
  fc.record({
    pool: fc
      .constantFrom(
        'c5.large@us-east-1b',
        'c5.xlarge@us-east-1a',
        'm5.large@us-east-1a',
        'r5.large@eu-west-1a',
      )
      .map(parsePool),
    band: anyBand,
    instanceHours: anyHours,
    interruptions: fc.nat(1000),
  }),
  { maxLength: 8 },
)
/** Sums of numbers in another order differ in the last digits. */
const AT_MOST = 1 + 1e-12

test('without a history it is what the Spot Advisor says', () => {
  const { value, sources, multiplier } = estimator([]).estimate(ask({ band: 1 }))
  // 7.5 % a month: -ln(1 - 0.075) / 730 * 12 = 0.0012815; decisions 0.1 has 0.128 %.
  expect(value).toBeCloseTo(0.0012807, 6)
  expect(sources).toEqual([{ source: 'spot_advisor', weight: 1 }])
  expect(multiplier).toBe(1)
})

test('no data is the band, in every band and for every horizon', () => {
  fc.assert(
    fc.property(anyBand, fc.double({ min: 0.01, max: 168, noNaN: true }), (band, horizon) => {
      const { value } = estimator([]).estimate(ask({ band, hours: horizon }))
      expect(value).toBeCloseTo(-Math.expm1(-advisorHazard(band) * horizon), 12)
    }),
  )
})

test('one interruption in 1000 hours of the pool, by hand', () => {
  // Band 0: 3.46819e-5 an hour, so 0.0346819 were expected. Everywhere: 2 / 1.0346819 = 1.932961. Region: 2 / (1 / 1.932961 +
  // 0.0346819) = 3.623038. Family: 2 / (1 / 3.623038 + 0.0346819) = 6.437215. Pool: 2 events in 1 / (6.437215 * 3.46819e-5) + 1000
  // = 5479.18 hours, 3.65018e-4 an hour.
  const { value, sources, confidence } = estimator([own(1000, 1)]).estimate(ask())
  expect(value).toBeCloseTo(-Math.expm1(-12 * 3.65018e-4), 7)
  expect(sources.map(({ source }) => source)).toEqual([
    'spot_advisor',
    'pool',
    'family_in_region',
    'region',
    'everywhere',
  ])
  const weight = (name: string) => sources.find(({ source }) => source === name)?.weight
  expect(weight('pool')).toBeCloseTo(1000 / 5479.2, 4)
  expect(weight('family_in_region')).toBeCloseTo(
    (1 - 1000 / 5479.18) * (0.0346819 / (1 / 3.623038 + 0.0346819)),
    4,
  )
  const trust = 1 - (weight('spot_advisor') as number) * (1 - stillTrue(hours(24)))
  expect(confidence).toBeCloseTo(trust / (1 + 1 / Math.sqrt(2)), 6)
})

test('what befell the family in the region is inherited by its other pools, and by others less', () => {
  // Expected 0.0346819, seen 2. Everywhere 3 / 1.0346819 = 2.899442; region 3 / (1 / 2.899442 + 0.0346819) = 7.903558; family
  // 3 / (1 / 7.903558 + 0.0346819) = 18.609587. The pools asked about have nothing of their own.
  const past = [history('c5.xlarge@us-east-1b', 1000, 2)]
  const value = (id: string) => estimator(past).probability(ask({ pool: parsePool(id) }))
  const times = (m: number) => -Math.expm1(-12 * m * advisorHazard(0))
  expect(value('c5.large@us-east-1a')).toBeCloseTo(times(18.609587), 7)
  expect(value('m5.large@us-east-1a')).toBeCloseTo(times(7.903558), 7)
  expect(value('c5.large@eu-west-1a')).toBeCloseTo(times(2.899442), 7)
})

test('a fleet of one pool learns that it is nothing like its band', () => {
  // As in the Bamboo trace: 118 interruptions in 192 instance-hours, where band 4 expects 0.08.
  const { value, sources } = estimator([own(192, 118, 4)]).estimate(ask({ band: 4, hours: 1 }))
  const alone = -Math.expm1(-118 / 192)
  expect(value).toBeGreaterThan(0.95 * alone)
  expect(value).toBeLessThan(1.01 * alone)
  expect(sources[0]?.source).toBe('pool')
})

test('much history outweighs the band', () => {
  const { value, low, high, sources, confidence } = estimator([own(1e6, 500)]).estimate(ask())
  expect(value).toBeCloseTo(12 * 5e-4, 3)
  expect(low).toBeGreaterThan(0.9 * value)
  expect(high).toBeLessThan(1.1 * value)
  expect(sources[0]).toMatchObject({ source: 'pool' })
  expect(confidence).toBeGreaterThan(0.95)
})

test('it rises with the band', () => {
  fc.assert(
    fc.property(anyHistory, anyHours, fc.nat(50), (others, ran, seen) => {
      const values = bands.map((band) =>
        estimator([...others, own(ran, seen, band)]).probability(ask({ band })),
      )
      for (const [i, value] of values.slice(1).entries())
        expect(values[i] as number).toBeLessThanOrEqual(value * AT_MOST)
    }),
  )
})

test('it rises with interruptions of the pool, and falls with hours without one', () => {
  fc.assert(
    fc.property(anyHistory, anyBand, anyHours, fc.nat(50), (others, band, ran, seen) => {
      const value = (given: PoolHistory) => estimator([...others, given]).probability(ask({ band }))
      const now = value(own(ran, seen, band))
      expect(now).toBeLessThanOrEqual(value(own(ran, seen + 1, band)) * AT_MOST)
      expect(value(own(ran + 1000, seen, band))).toBeLessThanOrEqual(now * AT_MOST)
    }),
  )
})

test('it is never 0 and never 1, lies in its interval, and its weights add up to 1', () => {
  fc.assert(
    fc.property(
      anyHistory,
      anyBand,
      fc.double({ min: 1e-6, max: 168, noNaN: true }),
      fc.option(fc.nat(1e10).map(millis)),
      (past, band, horizon, age) => {
        const found = estimator(past).estimate(ask({ band, hours: horizon, age, bandAge: age }))
        expect(found.value).toBeGreaterThan(0)
        expect(found.value).toBeLessThan(1)
        expect(found.low).toBeLessThanOrEqual(found.value)
        expect(found.high).toBeGreaterThanOrEqual(found.value)
        expect(found.confidence).toBeGreaterThan(0)
        expect(found.confidence).toBeLessThan(1)
        expect(found.value).toBe(estimator(past).probability(ask({ band, hours: horizon, age })))
        expect(found.sources.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 2)
      },
    ),
  )
})

test('a stale band, or one that is missing, is trusted less and says the same', () => {
  const at = (bandAge: Question['bandAge']) => estimator([]).estimate(ask({ bandAge }))
  expect(at(hours(24 * 400)).confidence).toBeLessThan(at(hours(24)).confidence)
  expect(at(null).confidence).toBeLessThan(at(hours(24 * 400)).confidence)
  expect(at(null).value).toBe(at(hours(24)).value)
  expect(estimator([]).estimate(ask({ band: null })).confidence).toBe(at(null).confidence)
})

test('the share of bands that still hold: 80 % after a week, 37 % after 560 days, never below chance', () => {
  expect(stillTrue(hours(24 * 7))).toBeCloseTo(0.8, 10)
  expect(stillTrue(hours(24 * 560))).toBeCloseTo(0.37, 10)
  expect(stillTrue(hours(0))).toBeLessThan(1)
  expect(stillTrue(hours(24 * 36500))).toBe(0.2)
})

test('age and hour of day multiply the rate, over the time that is looked ahead', () => {
  const double = { ...noMultipliers, age: [2, 1, 1, 1, 1, 1] }
  const past = estimator([], double)
  // Two hours of a new instance: one counts twice. 1.5 times the rate.
  expect(past.estimate(ask({ hours: 2, age: hours(0) })).multiplier).toBeCloseTo(1.5, 9)
  expect(past.estimate(ask({ hours: 2, age: hours(5) })).multiplier).toBe(1)
  expect(past.estimate(ask({ hours: 2, age: null })).multiplier).toBe(1)
  const noon = { ...noMultipliers, hour: noMultipliers.hour.map((one, hour) => (hour === 12 ? 3 : one)) }
  expect(estimator([], noon).estimate(ask({ hours: 2 })).multiplier).toBeCloseTo(2, 9)
  expect(estimator([], noon).estimate(ask({ hours: 24 })).multiplier).toBeCloseTo(26 / 24, 9)
})

test.each([
  ['NaN hours of history', () => estimator([own(Number.NaN, 0)])],
  ['hours below 0', () => estimator([own(-1, 0)])],
  ['half an interruption', () => estimator([own(1, 0.5)])],
  ['a band that is none', () => estimator([]).estimate(ask({ band: 5 as never }))],
  ['a band that is NaN', () => estimator([]).probability(ask({ band: Number.NaN as never }))],
  ['a horizon of nothing', () => estimator([]).estimate(ask({ hours: 0 }))],
  ['a horizon that is NaN', () => estimator([]).estimate(ask({ hours: Number.NaN }))],
  ['an age that is NaN', () => estimator([]).estimate(ask({ age: millis(Number.NaN) }))],
  ['a time that is NaN', () => estimator([]).estimate(ask({ now: instant(Number.NaN) }))],
])('%s are refused', (_, attempt) => {
  expect(attempt).toThrow(expect.objectContaining({ code: 'input_invalid' }))
})
