import fc from 'fast-check'
import { expect, test } from 'vitest'
import { gammaBelow, gammaQuantile, logGamma } from './gamma.ts'
import { ageClassOf, learnMultipliers, multipliersFrom, stretchesOf } from './multipliers.ts'

test('classes of which nothing is known stay as the average', () => {
  expect(
    learnMultipliers([
      { seen: 0, expected: 0 },
      { seen: 0, expected: 0 },
    ]),
  ).toEqual([1, 1])
  expect(
    learnMultipliers([
      { seen: 0, expected: 5 },
      { seen: 0, expected: 0 },
    ]),
  ).toEqual([1, 1])
  expect(
    learnMultipliers([
      { seen: 40, expected: 4 },
      { seen: 0, expected: 0 },
    ]),
  ).toEqual([1, 1])
})

test('a class is believed half once it expects ten', () => {
  // All expect 20 and saw 40, so the scale is 2: of 20 expected the first saw 30.
  expect(
    learnMultipliers([
      { seen: 30, expected: 10 },
      { seen: 10, expected: 10 },
    ]),
  ).toEqual([40 / 30, 20 / 30])
})

test('a multiplier lies between 1 and what was seen', () => {
  const cell = fc.record({ seen: fc.nat(100), expected: fc.double({ min: 0.01, max: 100, noNaN: true }) })
  fc.assert(
    fc.property(fc.array(cell, { minLength: 1, maxLength: 6 }), (cells) => {
      const scale =
        cells.reduce((n, { seen }) => n + seen, 0) / cells.reduce((n, { expected }) => n + expected, 0)
      for (const [i, m] of learnMultipliers(cells).entries()) {
        const { seen, expected } = cells[i] as (typeof cells)[number]
        const raw = scale === 0 ? 1 : seen / (expected * scale)
        expect(m).toBeGreaterThan(0)
        expect(m).toBeGreaterThanOrEqual(Math.min(1, raw) - 1e-9)
        expect(m).toBeLessThanOrEqual(Math.max(1, raw) + 1e-9)
      }
    }),
  )
})

test('a cell that is not a number is refused', () => {
  expect(() => learnMultipliers([{ seen: 1, expected: Number.NaN }])).toThrow('cannot have')
})

test('time is cut at each hour of the day and at each class of age', () => {
  expect(stretchesOf(22.5, 0.75, 3)).toEqual(
    [
      { age: 0, hour: 22, hours: 0.25 },
      { age: 1, hour: 22, hours: 0.25 },
      { age: 1, hour: 23, hours: 1 },
      { age: 1, hour: 0, hours: 0.75 },
      { age: 2, hour: 0, hours: 0.25 },
      { age: 2, hour: 1, hours: 0.5 },
    ].map((each) => ({ ...each, hours: expect.closeTo(each.hours, 6) })),
  )
  expect(ageClassOf(0)).toBe(0)
  expect(ageClassOf(1)).toBe(1)
  expect(ageClassOf(1000)).toBe(5)
})

test('multipliers from lives: ten die in their first hour, ten live through it and the day', () => {
  const life = { rate: 0.5, begins: 23.5, ageHours: 0 }
  const lives = [
    ...Array.from({ length: 10 }, () => ({ ...life, hours: 1, interrupted: true })),
    ...Array.from({ length: 10 }, () => ({ ...life, hours: 48, interrupted: false })),
  ]
  // Expected at the rate: 20 * 1 * 0.5 = 10 in the first hour, 245 in all; 10 were seen, so the scale is 10 / 245.
  const { age, hour } = multipliersFrom(lives)
  expect(age[0]).toBeCloseTo(20 / (10 + 100 / 245), 9)
  // From 24 h on: 10 * 24 * 0.5 = 120 expected.
  expect(age[5]).toBeCloseTo(10 / (10 + 1200 / 245), 9)
  // They died at half past midnight. Of hour 0: ten times a half, and ten times 2, each at 0.5 an hour.
  expect(hour[0]).toBeCloseTo(20 / (10 + ((5 + 20) * 0.5 * 10) / 245), 9)
  expect(hour[12]).toBeCloseTo(10 / (10 + (20 * 0.5 * 10) / 245), 9)
})

test('what ends on a border belongs to the class that it was in', () => {
  const { age, hour } = multipliersFrom([{ rate: 1, begins: 0, ageHours: 0, hours: 1, interrupted: true }])
  expect(age[0]).toBe(1)
  expect(hour[0]).toBe(1)
  expect(age.slice(1).every((one) => one === 1)).toBe(true)
})

test('stretches add up to the whole', () => {
  const hour = fc.double({ min: 0, max: 23.99, noNaN: true })
  const age = fc.option(fc.double({ min: 0, max: 100, noNaN: true }))
  fc.assert(
    fc.property(hour, age, fc.double({ min: 0.01, max: 168, noNaN: true }), (begins, from, length) => {
      const stretches = stretchesOf(begins, from, length)
      expect(stretches.reduce((sum, { hours }) => sum + hours, 0)).toBeCloseTo(length, 6)
      for (const { hours, hour: at } of stretches) {
        expect(hours).toBeGreaterThan(0)
        expect(at).toBeGreaterThanOrEqual(0)
        expect(at).toBeLessThan(24)
      }
    }),
    { numRuns: 30 },
  )
})

// Half the quantile of a chi-square distribution with twice the shape as degrees of freedom, from printed tables.
test.each([
  [0.5, 0.05, 0.00196607],
  [0.5, 0.95, 1.9207294103],
  [1.5, 0.05, 0.1759231588],
  [10.5, 0.95, 16.3352886],
  [50, 0.05, 38.96475],
])('the quantile of a gamma distribution of shape %d at %d', (shape, share, expected) => {
  const x = gammaQuantile(shape, share)
  expect(x / expected).toBeCloseTo(1, 4)
  expect(gammaBelow(shape, x)).toBeCloseTo(share, 9)
})

test('the logarithm of the gamma function', () => {
  expect(logGamma(0.5)).toBeCloseTo(Math.log(Math.sqrt(Math.PI)), 12)
  expect(logGamma(11)).toBeCloseTo(Math.log(3_628_800), 10)
  expect(logGamma(0.1)).toBeCloseTo(2.2527126517, 9)
})
