import fc from 'fast-check'
import { expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { accuracyOf, aucOf, brierOf, eceOf, logLossOf } from './accuracy.ts'
import { createAdwin } from './adwin.ts'
import { benjaminiHochberg } from './benjamini-hochberg.ts'
import { chiSquaredQuantile, chiSquaredTail } from './chi-squared.ts'
import { createPageHinkley } from './page-hinkley.ts'
import { binOf, comparePsi, psiOf, psiThresholds, referenceCounts } from './psi.ts'
import { wilson } from './wilson.ts'

const p4 = Float64Array.of(0.9, 0.8, 0.3, 0.1)
const y4 = Uint8Array.of(1, 0, 0, 0)

test('the hand checks of accuracy', () => {
  expect(brierOf(p4, y4)).toBeCloseTo(0.1875, 10)
  expect(logLossOf(p4, y4)).toBeCloseTo(0.544_21, 5)
  expect(aucOf(p4, y4)).toBe(1)
  expect(aucOf(Float64Array.of(0.5, 0.5, 0.5, 0.1), y4)).toBeCloseTo(2 / 3, 12)
  const at = (threshold: number) => accuracyOf({ p: p4, y: y4, block: Int32Array.of(0, 1, 2, 3) }, threshold)
  expect(at(0.85)).toMatchObject({ tp: 1, fp: 0, fn: 0, tn: 3 })
  expect(at(0.5)).toMatchObject({ tp: 1, fp: 1, fn: 0, tn: 2 })
  expect(at(0.5).precision).toMatchObject({ value: null, why: expect.stringContaining('1 of 10') })
})

test('shares have intervals of independent blocks, not of rows', () => {
  const rows = 2000
  const random = seededRandom(3)
  const p = Float64Array.from({ length: rows }, () => random())
  const y = Uint8Array.from(p, (value) => Number(random() < value))
  const alone = accuracyOf({ p, y, block: Int32Array.from(p, (_, i) => i) }, 0.5)
  const blocks = accuracyOf({ p, y, block: Int32Array.from(p, (_, i) => i % 100) }, 0.5)
  expect(alone.effectiveN).toBe(2000)
  expect(blocks.effectiveN).toBe(100)
  expect(blocks.recall.value).toBe(alone.recall.value)
  const width = ({ low, high }: { low: number | null; high: number | null }) => (high ?? 0) - (low ?? 0)
  expect(width(blocks.recall)).toBeGreaterThan(3 * width(alone.recall))
  expect((blocks.fdr.value ?? 0) + (blocks.precision.value ?? 0)).toBeCloseTo(1, 12)
  expect((blocks.fnr.value ?? 0) + (blocks.recall.value ?? 0)).toBeCloseTo(1, 12)
  expect(alone.ece).toBeLessThan(0.05)
  expect(
    eceOf(
      p.map((value) => value / 2),
      y,
    ),
  ).toBeGreaterThan(0.2)
})

test('the hand checks of the Wilson interval', () => {
  expect(wilson(8, 10).map((x) => x.toFixed(4))).toEqual(['0.4902', '0.9433'])
  expect(wilson(0, 10).map((x) => x.toFixed(4))).toEqual(['0.0000', '0.2775'])
  expect(wilson(0, 0)).toEqual([0, 1])
})

test('the hand checks of PSI, without smoothing', () => {
  expect(psiOf([0.5, 0.5], [0.6, 0.4])).toBeCloseTo(0.040_55, 5)
  expect(psiOf([0.25, 0.25, 0.25, 0.25], [0.4, 0.3, 0.2, 0.1])).toBeCloseTo(0.228_22, 5)
  const deciles = new Array<number>(10).fill(0.1)
  expect(psiOf(deciles, [0.05, 0.05, 0.15, 0.15, ...deciles.slice(4)])).toBeCloseTo(0.109_86, 5)
  expect(psiOf(deciles, deciles)).toBe(0)
})

test('the thresholds of PSI grow where there are few rows', () => {
  expect(chiSquaredQuantile(0.001, 9)).toBeCloseTo(27.877, 3)
  expect(chiSquaredQuantile(0.001, 4)).toBeCloseTo(18.467, 3)
  expect(chiSquaredTail(27.877, 9)).toBeCloseTo(0.001, 6)
  expect(chiSquaredTail(3.84, 1)).toBeCloseTo(0.05, 3)
  expect(psiThresholds(200, 200, 10).warnFrom).toBeCloseTo(0.279, 3)
  expect(psiThresholds(10_000, 500, 10)).toEqual({ warnFrom: 0.1, alertFrom: 0.25 })
  const chance = 27.877 * (1 / 10_000 + 1 / 500)
  expect(chance).toBeCloseTo(0.0585, 4)
})

test('without drift PSI stays below its threshold, and its mean is what theory says', () => {
  const random = seededRandom(11)
  const uniform = (n: number) => {
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < n; i++) {
      const bin = Math.floor(random() * 10)
      counts[bin] = (counts[bin] ?? 0) + 1
    }
    return counts
  }
  const runs = Array.from({ length: 400 }, () => comparePsi(uniform(200), uniform(200), 200))
  expect(runs.filter(({ psi, warnFrom }) => psi >= warnFrom).length).toBeLessThan(8)
  expect(runs.filter(({ psi }) => psi > 0.1).length, 'the customary threshold is noise here').toBeGreaterThan(
    80,
  )
  const mean = runs.reduce((sum, { psi }) => sum + psi, 0) / runs.length
  expect(mean).toBeCloseTo(0.09, 2)
})

test('bins are those of training: null, below, between, above', () => {
  const reference = { edges: [0, 1, 2], counts: [5, 6], null_count: 2 }
  expect([Number.NaN, -0.1, 0, 0.99, 1, 2, 2.1].map((v) => binOf(reference, v))).toEqual([
    0, 1, 2, 2, 3, 3, 4,
  ])
  expect(referenceCounts(reference)).toEqual([2, 0, 5, 6, 0])
  expect(referenceCounts({ ...reference, counts: [1, 5, 6, 3] })).toEqual([2, 1, 5, 6, 3])
  const drifted = comparePsi([0, 0, 500, 500, 0], [0, 0, 100, 900, 0], 1000)
  expect(drifted.psi).toBeGreaterThan(drifted.alertFrom)
  expect(drifted).toMatchObject({ bins: 2, pValue: expect.closeTo(0, 6) })
  expect(comparePsi([10, 0], [5, 0], 5).psi).toBe(0)
})

test('Benjamini-Hochberg rejects a step-up prefix of the smallest p-values', () => {
  expect(benjaminiHochberg([0.01, 0.04, 0.03, 0.5], 0.1)).toEqual([true, true, true, false])
  expect(benjaminiHochberg([0.9, 0.2], 0.1)).toEqual([false, false])
  expect(benjaminiHochberg([], 0.1)).toEqual([])
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }), (values) => {
      const rejected = benjaminiHochberg(values, 0.1)
      const highest = Math.max(-1, ...values.filter((_, i) => rejected[i]))
      expect(values.every((p, i) => p > highest || rejected[i])).toBe(true)
    }),
  )
})

const detections = (values: readonly number[]) => {
  const adwin = createAdwin()
  return values.flatMap((value, i) => {
    const change = adwin.update(value)
    return change ? [[i, change]] : []
  })
}
const repeat = (n: number, value: (i: number) => number) => Array.from({ length: n }, (_, i) => value(i))

test('ADWIN finds a change where the reference does', () => {
  expect(detections([...repeat(500, () => 0), ...repeat(500, () => 1)])[0]).toEqual([511, 'rise'])
  const around = (mean: number) => (i: number) => mean + (i % 2 === 0 ? 0.05 : -0.05)
  expect(detections([...repeat(1000, around(0.1)), ...repeat(1000, around(0.3))])[0]).toEqual([1055, 'rise'])
  expect(detections([...repeat(500, () => 1), ...repeat(500, () => 0)])[0]).toEqual([511, 'drop'])
})

test('ADWIN finds nothing where nothing changes', () => {
  expect(detections(repeat(2000, (i) => i % 2))).toEqual([])
  expect(detections(repeat(5000, () => 0.3))).toEqual([])
})

test('Page-Hinkley finds a rise where the reference does', () => {
  const first = (values: readonly number[], lambda: number) => {
    const detector = createPageHinkley({ lambda })
    return values.findIndex((value) => detector.update(value))
  }
  expect(first([...repeat(1000, () => 0.1), ...repeat(1000, () => 0.3)], 10)).toBe(1052)
  expect(first([...repeat(500, () => 0), ...repeat(500, () => 1)], 50)).toBe(553)
  expect(
    first(
      repeat(3000, () => 0.2),
      10,
    ),
  ).toBe(-1)
})
