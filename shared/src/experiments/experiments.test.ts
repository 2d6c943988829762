import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Random, seededRandom } from '../core/random.ts'
import { hours, instant } from '../core/time.ts'
import { chiSquaredTail } from '../models/chi-squared.ts'
import { ALL_WEIGHT, armOf } from './assignment.ts'
import { lastSettled, summarise } from './blocks.ts'
import { halfWidth, intervalOf, rhoSquared } from './confidence-sequence.ts'
import { compareCosts, type UnitDay } from './cost.ts'
import { type ArmEvent, changingShare, constantShareEValue, rateRatios } from './event-rates.ts'
import { interferes, safetyGuard, sampleRatio } from './guards.ts'
import { estimateBlocks, estimateRates } from './planning.ts'
import { block, normal, pairedRow } from './testing.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest()
const half = [
  { name: 'control', weight: 5000 },
  { name: 'treatment', weight: 5000 },
]

describe('arms', () => {
  test('the same unit gets the same arm, and half of 10,000 are in each', () => {
    const ids = Array.from({ length: 10_000 }, (_, i) => `i-${i.toString(16)}`)
    const arms = ids.map((id) => armOf('exp-1', id, half, sha256).name)
    const again = ids.slice(0, 100).map((id) => armOf('exp-1', id, half, sha256).name)
    expect(again).toEqual(arms.slice(0, 100))
    const count = arms.filter((name) => name === 'treatment').length
    expect(count).toBeGreaterThanOrEqual(4850)
    expect(count).toBeLessThanOrEqual(5150)
    const other = ids.slice(0, 1000).filter((id, i) => armOf('exp-2', id, half, sha256).name !== arms[i])
    expect(other.length).toBeGreaterThan(400)
  })

  test('the ticket is the first eight bytes as a whole number, modulo 10,000', () => {
    const digest = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 255])
    const ticket = Number(0x0102030405060708n % 10_000n)
    const at = (first: number) =>
      armOf(
        'e',
        'u',
        [
          { name: 'a', weight: first },
          { name: 'b', weight: ALL_WEIGHT - first },
        ],
        () => digest,
      ).name
    expect([at(ticket), at(ticket + 1)]).toEqual(['b', 'a'])
  })

  test('every weight is kept to, whatever they are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9999 }), fc.integer({ min: 0, max: 1000 }), (weight, seed) => {
        const arms = [
          { name: 'a', weight },
          { name: 'b', weight: ALL_WEIGHT - weight },
        ]
        const n = 300
        const hits = Array.from({ length: n }, (_, i) => armOf(`e${seed}`, `u${i}`, arms, sha256).name)
        const share = hits.filter((name) => name === 'a').length / n
        expect(Math.abs(share - weight / ALL_WEIGHT)).toBeLessThan(0.15)
      }),
      { numRuns: 15, seed: 7 },
    )
  })

  test('weights that do not add up are refused', () => {
    expect(() => armOf('e', 'u', [{ name: 'a', weight: 5000 }], sha256)).toThrow('add up to 5000')
    expect(() =>
      armOf(
        'e',
        'u',
        [
          { name: 'a', weight: 0 },
          { name: 'b', weight: 10_000 },
        ],
        sha256,
      ),
    ).toThrow()
  })
})

describe('the confidence sequence', () => {
  const sequence = { alpha: 0.05, planned: 200 }

  test('has the widths of the formula', () => {
    expect(rhoSquared(sequence)).toBeCloseTo(0.0396808, 7)
    const widths = [30, 50, 100, 200, 500].map((n) => Number(halfWidth(n, sequence).toFixed(6)))
    expect(widths).toEqual([0.644652, 0.461641, 0.308357, 0.214622, 0.13772])
  })

  test('without any difference between values it says so, and is not a point', () => {
    const interval = intervalOf(
      Array.from({ length: 30 }, () => 0.02),
      sequence,
    )
    expect(interval).toMatchObject({ n: 30, floored: true })
    expect(interval.upper - interval.lower).toBeGreaterThan(1e-9)
    expect(intervalOf([], sequence)).toMatchObject({ n: 0, lower: Number.NEGATIVE_INFINITY })
  })

  test('looked at after every block, equal models get a winner in few runs', () => {
    const random = seededRandom(11)
    const winners = Array.from({ length: 200 }, () => {
      const values: number[] = []
      for (let n = 0; n < 200; n += 1) {
        values.push(normal(random))
        if (n < 29) continue
        const { lower, upper } = intervalOf(values, sequence)
        if (lower > 0 || upper < 0) return 1
      }
      return 0
    }).reduce<number>((sum, won) => sum + won, 0)
    expect(winners).toBeLessThanOrEqual(17)
  })
})

describe('rates of events', () => {
  test.each([
    [1, 9, 0.5, 1024 / 110],
    [0, 10, 0.5, 93.0909],
    [0, 7, 0.5, 16],
    [0, 8, 0.5, 28.4444],
    [5, 5, 0.5, 0.3694],
    [3, 17, 0.5, 43.8],
    [0, 5, 2 / 3, 40.5],
  ])('%i against %i events at a share of %d', (treatment, control, share, expected) => {
    const value = constantShareEValue(treatment, control, share)
    expect(value / expected).toBeCloseTo(1, 3)
  })

  test('the grid has 41 ratios from a quarter to four', () => {
    expect(rateRatios).toHaveLength(41)
    expect([rateRatios[0], rateRatios[20], rateRatios[40]]).toEqual([0.25, 1, 4])
  })

  test('with a share that does not change the grid agrees with the formula on what is rejected', () => {
    const events = (treatment: number, control: number): ArmEvent[] => [
      ...Array.from({ length: treatment }, () => ({
        arm: 'treatment' as const,
        controlExposure: 10,
        treatmentExposure: 10,
      })),
      ...Array.from({ length: control }, () => ({
        arm: 'control' as const,
        controlExposure: 10,
        treatmentExposure: 10,
      })),
    ]
    const rejected = changingShare(events(6, 34), 0.05)
    expect(rejected.eValue).toBeGreaterThan(20)
    expect(rejected.ratio).toBeLessThan(0.5)
    expect(rejected.upper).toBeLessThan(1)
    const even = changingShare(events(20, 20), 0.05)
    expect(even.eValue).toBeLessThan(1)
    expect(even.lower).toBeLessThan(1)
    expect(even.upper).toBeGreaterThan(1)
    expect(changingShare([], 0.05)).toMatchObject({
      eValue: 1,
      ratio: null,
      lower: 0,
      upper: Number.POSITIVE_INFINITY,
    })
  })

  test('an event while one arm was empty says nothing', () => {
    const lonely: ArmEvent = { arm: 'control', controlExposure: 5, treatmentExposure: 0 }
    expect(
      changingShare(
        Array.from({ length: 50 }, () => lonely),
        0.05,
      ),
    ).toMatchObject({ eValue: 1, control: 0 })
  })

  test('looked at after every event, with a share that changes, equal rates are rejected in few runs', () => {
    const random = seededRandom(5)
    const runs = Array.from({ length: 200 }, (_, run) => isRejected(random, 0.2 + 0.6 * (run / 200)))
    expect(runs.filter(Boolean).length).toBeLessThanOrEqual(17)
  })
})

/** 150 events at equal rates; the share is a half at first. */
function isRejected(random: Random, later: number): boolean {
  const likelihoods = rateRatios.map(() => 1)
  for (let n = 0; n < 150; n += 1) {
    const share = n < 60 ? 0.5 : later
    const hit = random() < share
    for (const [i, t] of rateRatios.entries()) {
      const p = (share * t) / (1 - share + share * t)
      likelihoods[i] = (likelihoods[i] as number) * (hit ? p / share : (1 - p) / (1 - share))
    }
    if (likelihoods.reduce((sum, value) => sum + value, 0) / rateRatios.length >= 20) return true
  }
  return false
}

describe('cost per useful hour', () => {
  const sequence = { alpha: 0.05, planned: 400 }
  const days = (arm: UnitDay['arm'], n: number, usdPerHour: number, seed: number): UnitDay[] => {
    const random = seededRandom(seed)
    return Array.from({ length: n }, () => {
      const usefulHours = 12 + 12 * random()
      return { arm, usefulHours, usd: usefulHours * usdPerHour * (1 + 0.1 * normal(random)) }
    })
  }

  test('is a ratio of sums, not a mean of ratios, and not a total', () => {
    const { control, treatment } = compareCosts(
      [
        { arm: 'control', usd: 1, usefulHours: 1 },
        { arm: 'control', usd: 1, usefulHours: 9 },
        { arm: 'treatment', usd: 0.5, usefulHours: 1 },
      ],
      sequence,
    )
    expect(control).toEqual({ unitDays: 2, usdPerHour: 0.2 })
    expect(treatment).toEqual({ unitDays: 1, usdPerHour: 0.5 })
  })

  test('a fifth less is seen; nothing is not', () => {
    const less = compareCosts(
      [...days('control', 200, 0.05, 1), ...days('treatment', 200, 0.04, 2)],
      sequence,
    )
    expect(less.difference.lower).toBeGreaterThan(0.005)
    expect(less.difference.upper).toBeLessThan(0.015)
    const same = compareCosts(
      [...days('control', 200, 0.05, 1), ...days('treatment', 200, 0.05, 2)],
      sequence,
    )
    expect(same.difference.lower).toBeLessThan(0)
    expect(same.difference.upper).toBeGreaterThan(0)
  })

  test('the dearest hundredth is cut to where it begins', () => {
    const wild = days('control', 199, 0.05, 3)
    const { cut, capUsd } = compareCosts([...wild, { arm: 'control', usd: 1000, usefulHours: 24 }], sequence)
    expect(cut).toBe(2)
    expect(capUsd).toBeLessThan(3)
  })

  test('without a useful hour in one arm nothing is said', () => {
    const none = compareCosts([{ arm: 'control', usd: 1, usefulHours: 0 }], sequence)
    expect(none.control.usdPerHour).toBeNull()
    expect(none.difference.upper).toBe(Number.POSITIVE_INFINITY)
  })

  test('looked at every day, equal costs get a winner in few runs', () => {
    const random = seededRandom(9)
    const day = (arm: UnitDay['arm']): UnitDay => {
      const usefulHours = 12 + 12 * random()
      return { arm, usefulHours, usd: usefulHours * 0.05 * (1 + 0.3 * normal(random)) }
    }
    let winners = 0
    for (let run = 0; run < 200; run += 1) {
      const seen: UnitDay[] = []
      for (let n = 0; n < 10; n += 1) {
        for (let i = 0; i < 15; i += 1) seen.push(day('control'), day('treatment'))
        if (seen.length < 60) continue
        const { lower, upper } = compareCosts(seen, { alpha: 0.05, planned: 300 }).difference
        if (lower <= 0 && upper >= 0) continue
        winners += 1
        break
      }
    }
    expect(winners).toBeLessThanOrEqual(17)
  })
})

describe('guards', () => {
  test('a ratio of arms that chance does not give is invalid', () => {
    const bad = sampleRatio(half, [5200, 4800])
    expect(bad.valid).toBe(false)
    expect(bad.p).toBeCloseTo(6.334e-5, 8)
    const fine = sampleRatio(half, [5050, 4950])
    expect(fine).toMatchObject({ valid: true })
    expect(fine.p).toBeCloseTo(0.3173, 4)
    expect(sampleRatio(half, [0, 0])).toEqual({ p: 1, valid: true })
  })

  test('of few units nothing is said: one of two in an arm of one in a hundred is chance', () => {
    const rare = [
      { name: 'control', weight: 9900 },
      { name: 'treatment', weight: 100 },
    ]
    expect(sampleRatio(rare, [1, 1])).toMatchObject({ valid: true })
    expect(sampleRatio(rare, [490, 10])).toMatchObject({ valid: true })
    expect(sampleRatio(rare, [470, 30])).toMatchObject({ valid: false })
  })

  test.each([
    [3.841459, 1, 0.05],
    [27.877165, 9, 0.001],
    [18.466827, 4, 0.001],
    [0.5, 3, 0.918891],
  ])('the tail of chi-square at %d with %i degrees', (x, degrees, p) => {
    expect(chiSquaredTail(x, degrees)).toBeCloseTo(p, 6)
  })

  test('a treatment that misses far more is stopped, one that misses a little more is not', () => {
    const random = seededRandom(3)
    const blocks = (extra: number) =>
      Array.from({ length: 60 }, (_, index) =>
        block({
          index,
          positives: 20,
          missedControl: 4,
          missedTreatment: 4 + Math.round(20 * extra + random()),
        }),
      )
    expect(safetyGuard(blocks(0.3), 200).breached).toBe(true)
    expect(safetyGuard(blocks(0.3).slice(0, 9), 200).breached).toBe(false)
    expect(safetyGuard(blocks(0), 200).breached).toBe(false)
  })

  test('above a tenth of the pool arms compete', () => {
    expect([interferes(1, 10), interferes(2, 10), interferes(0, 0)]).toEqual([false, true, false])
  })
})

describe('blocks', () => {
  const rules = {
    length: hours(12),
    settle: hours(14),
    loss: 'brier' as const,
    controlThreshold: 0.5,
    treatmentThreshold: 0.5,
  }

  test('rows of one family and half day are one observation', () => {
    const rows = [
      pairedRow({ pool: 'c5.large@us-east-1a', hour: 1, controlP: 0.9, treatmentP: 0.4, happened: true }),
      pairedRow({ pool: 'c5.xlarge@us-east-1b', hour: 11, controlP: 0.1, treatmentP: 0.3, happened: false }),
      pairedRow({ pool: 'm5.large@us-east-1b', hour: 11 }),
      pairedRow({ pool: 'c5.large@us-east-1a', hour: 12 }),
      pairedRow({ pool: 'c5.large@us-east-1a', hour: 2, excluded: 'fallback' }),
      pairedRow({ pool: 'c5.large@us-east-1a', hour: 3, excluded: 'gap_filled' }),
    ]
    const blocks = summarise(rows, rules)
    expect(blocks.map(({ group, index }) => [group, index])).toEqual([
      ['c5@us-east-1', 0],
      ['m5@us-east-1', 0],
      ['c5@us-east-1', 1],
    ])
    expect(blocks[0]).toMatchObject({
      rows: 2,
      excludedFallback: 1,
      excludedGapFilled: 1,
      positives: 1,
      missedControl: 0,
      missedTreatment: 1,
    })
    expect(blocks[0]?.controlLoss).toBeCloseTo((0.1 ** 2 + 0.1 ** 2) / 2, 12)
    expect(blocks[0]?.treatmentLoss).toBeCloseTo((0.6 ** 2 + 0.3 ** 2) / 2, 12)
    expect(summarise([...rows].reverse(), rules)).toEqual(blocks)
  })

  test('a probability of 0 for what happens costs much and not infinitely much', () => {
    const [only] = summarise([pairedRow({ controlP: 0, happened: true })], { ...rules, loss: 'log_loss' })
    expect(only?.controlLoss).toBeCloseTo(-Math.log(1e-6), 9)
  })

  test('a block is settled when its last label must be there', () => {
    expect(lastSettled(instant(hours(26)), rules)).toBe(0)
    expect(lastSettled(instant(hours(26) - 1), rules)).toBe(-1)
  })
})

describe('what is shown before the start', () => {
  test.each([
    [3, 28, 50],
    [2, 68, 124],
    [1.5, 210, 392],
  ])('a ratio of %d needs %i events in the median, %i in four of five', (ratio, median, p80) => {
    const estimate = estimateRates({ units: 20, share: 0.5, perMonth: 1, ratio: 1 / ratio }, 0.05)
    expect(Math.abs((estimate.medianEvents ?? 0) / median - 1)).toBeLessThan(0.2)
    expect(Math.abs((estimate.p80Events ?? 0) / p80 - 1)).toBeLessThan(0.2)
  })

  test('twenty instances at one interruption a month take over four months to show a half', () => {
    const estimate = estimateRates({ units: 20, share: 0.5, perMonth: 1, ratio: 0.5 }, 0.05)
    expect(estimate.eventsPerMonth).toBe(15)
    expect(estimate.medianMonths).toBeGreaterThan(3.8)
    expect(estimate.medianMonths).toBeLessThan(5.2)
  })

  test('what hardly differs is not shown within a lifetime', () => {
    expect(estimateRates({ units: 20, share: 0.5, perMonth: 1, ratio: 0.99 }, 0.05)).toMatchObject({
      medianEvents: null,
      medianMonths: null,
    })
  })

  test('every family gives two blocks a day', () => {
    expect(estimateBlocks(10, hours(12), { alpha: 0.05, planned: 200 })).toEqual({
      blocksPerDay: 20,
      minBlocksDays: 7,
      plannedDays: 10,
      halfWidthSd: expect.closeTo(0.214622, 6),
    })
  })
})
