import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Random, seededRandom } from '../core/random.ts'
import { hours, instant } from '../core/time.ts'
import type { BlockSummary } from './blocks.ts'
import { compareCosts } from './cost.ts'
import { changingShare } from './event-rates.ts'
import { safetyGuard } from './guards.ts'
import { assertPlan, type ExperimentPlan, sequenceOf } from './plan.ts'
import { block, normal, plan } from './testing.ts'
import { judgeCosts, judgeLosses, judgeRates, type Standing, together, type Verdict } from './verdict.ts'

const day = (n: number) => instant(hours(24 * n))

const standing = (
  change: Partial<Omit<Standing, 'plan'>> & { plan?: Partial<ExperimentPlan> } = {},
): Standing => ({
  startedAt: day(0),
  now: day(20),
  ratio: null,
  guard: null,
  filled: null,
  ...change,
  plan: plan(change.plan),
})

/** Two blocks a day, from a Thursday on; `gain` is what the treatment has less of loss. */
const blocks = (n: number, gain: (i: number) => number): BlockSummary[] =>
  Array.from({ length: n }, (_, i) => block({ index: i, controlLoss: 0.2, treatmentLoss: 0.2 - gain(i) }))

const noisy = (mean: number, seed = 1) => {
  const random = seededRandom(seed)
  return () => mean + 0.02 * normal(random)
}

describe('arms that nothing is in', () => {
  const rates = changingShare([], 0.05)
  const missing = (change: Parameters<typeof standing>[0]) => judgeRates(rates, standing(change)).missing

  test('are said first, and there is no verdict while there is nothing to compare', () => {
    const alone = judgeRates(rates, standing({ plan: { kind: 'ab', unit: 'instance' }, filled: ['control'] }))
    expect(alone).toMatchObject({ verdict: 'INSUFFICIENT', winner: null })
    expect(alone.missing[0]).toMatch(/^arms: only one arm is assigned \(control\), and units never change/)
    expect(missing({ plan: { kind: 'ab', unit: 'pool_day' }, filled: ['treatment'] })).toEqual([
      'arms: only one arm is assigned (treatment) so far; pools are drawn anew each day',
    ])
    const third = { name: 'third', modelId: 'model-c', weight: 1 }
    const three = { kind: 'ab', unit: 'instance', arms: [...plan().arms, third] } as const
    expect(missing({ plan: three, filled: ['control', 'third'] })[0]).toContain('treatment has no unit')
    const over = standing({ filled: ['control'], now: day(60) })
    expect(judgeRates(rates, over)).toMatchObject({
      verdict: 'INCONCLUSIVE',
      reason: expect.stringContaining('only one arm'),
    })
  })

  test('are nothing to speak of before units are placed, and where all units are in all arms', () => {
    const none = { filled: [] }
    for (const change of [none, { filled: null }, { filled: ['control', 'treatment'] }])
      expect(missing(change).join()).not.toContain('arms:')
  })
})

describe('paired losses', () => {
  test('before there is enough it says what is missing', () => {
    expect(
      judgeLosses(
        blocks(3, () => 0.02).map((b) => ({ ...b, positives: 1 })),
        standing({ now: day(2) }),
      ),
    ).toEqual({
      verdict: 'INSUFFICIENT',
      winner: null,
      reason: expect.stringContaining('blocks: 3 of 30'),
      missing: [
        'blocks: 3 of 30',
        'days: 2 of 7',
        'days: a Saturday and a Sunday',
        'events: 3 of 10',
        'duration: 2 of 7 days',
      ],
    })
  })

  test('values that are all the same decide after 30 blocks and not before', () => {
    expect(
      judgeLosses(
        blocks(29, () => 0.02),
        standing(),
      ).missing,
    ).toEqual(['blocks: 29 of 30'])
    expect(
      judgeLosses(
        blocks(30, () => 0.02),
        standing(),
      ),
    ).toMatchObject({ verdict: 'WINNER', winner: 'treatment' })
  })

  test.each([
    [0.03, 'WINNER', 'treatment'],
    [-0.03, 'WINNER', 'control'],
    [0, 'INSUFFICIENT', null],
  ] as const)('a mean gain of %d', (gain, verdict, winner) => {
    expect(judgeLosses(blocks(60, noisy(gain)), standing())).toMatchObject({ verdict, winner })
  })

  test('a difference has to be beyond the margin; one that is surely within it is futile', () => {
    const margin = { plan: { margin: 0.05 } }
    expect(judgeLosses(blocks(60, noisy(0.03)), standing(margin)).verdict).toBe('FUTILE')
    expect(judgeLosses(blocks(60, noisy(0.1)), standing(margin)).winner).toBe('treatment')
  })

  test('at the end of its time it is inconclusive', () => {
    const late = standing({ now: day(60) })
    expect(judgeLosses(blocks(60, noisy(0)), late).verdict).toBe('INCONCLUSIVE')
    expect(judgeLosses([], late)).toMatchObject({
      verdict: 'INCONCLUSIVE',
      missing: expect.arrayContaining(['blocks: 0 of 30']),
    })
  })

  test('the guard stops what would win, and arms that were filled wrongly stop everything', () => {
    const missing = blocks(60, noisy(0.03)).map((b) => ({
      ...b,
      positives: 10,
      missedControl: 0,
      missedTreatment: 6 + (b.index % 2),
    }))
    const guard = safetyGuard(missing, 200)
    expect(judgeLosses(missing, standing({ guard })).verdict).toBe('STOPPED_BY_GUARD')
    expect(judgeLosses(missing, standing({ guard, ratio: { p: 6.3e-5, valid: false } })).verdict).toBe(
      'INVALID_SRM',
    )
  })

  test('200 replays of equal models with autocorrelated rows give at most 17 winners', () => {
    const random = seededRandom(2026)
    let winners = 0
    for (let run = 0; run < 200; run += 1) {
      const made = correlatedBlocks(random, 120)
      for (let n = 30; n <= made.length; n += 5) {
        const verdict = judgeLosses(made.slice(0, n), standing({ now: day(7 + n / 8) }))
        if (verdict.verdict === 'INSUFFICIENT') continue
        winners += 1
        break
      }
    }
    expect(winners).toBeLessThanOrEqual(17)
  })
})

/** Means over fifty rows each of an AR(0.9) series. */
function correlatedBlocks(random: Random, n: number): BlockSummary[] {
  let value = 0
  return Array.from({ length: n }, (_, index) => {
    let sum = 0
    for (let row = 0; row < 50; row += 1) {
      value = 0.9 * value + 0.01 * normal(random)
      sum += value
    }
    return block({ index, controlLoss: 0.2 + sum / 50, treatmentLoss: 0.2 })
  })
}

describe('rates and costs', () => {
  const events = (treatment: number, control: number) => {
    const arms = ['treatment', 'control'] as const
    const list = arms.flatMap((arm) =>
      Array.from({ length: arm === 'treatment' ? treatment : control }, () => arm),
    )
    return changingShare(
      list.map((arm) => ({ arm, controlExposure: 10, treatmentExposure: 10 })),
      0.05,
    )
  }
  const ab = { plan: { kind: 'ab', metric: 'interruption_rate', unit: 'instance' } as const }

  test('an e-value of 20 or more has a winner', () => {
    expect(judgeRates(events(6, 34), standing(ab))).toMatchObject({ verdict: 'WINNER', winner: 'treatment' })
    expect(judgeRates(events(34, 6), standing(ab))).toMatchObject({ verdict: 'WINNER', winner: 'control' })
    expect(judgeRates(events(10, 10), standing(ab)).missing[0]).toContain('an e-value of 20')
    expect(judgeRates(events(6, 34), standing({ ...ab, now: day(3) })).missing).toEqual([
      'duration: 3 of 7 days',
    ])
  })

  test('two treatments share alpha, so each needs twice as much', () => {
    const arms = [...plan().arms, { name: 'third', modelId: 'model-c', weight: 1 }]
    expect(sequenceOf(plan({ arms })).alpha).toBe(0.025)
    expect(
      judgeRates({ ...events(6, 34), eValue: 30 }, standing({ plan: { ...ab.plan, arms } })).verdict,
    ).toBe('INSUFFICIENT')
  })

  test('many events at the same rate are futile where a margin says so', () => {
    const wide = { plan: { ...ab.plan, margin: 0.6 } }
    expect(judgeRates(events(400, 400), standing(wide)).verdict).toBe('FUTILE')
  })

  test('costs are judged by the same rules', () => {
    const random = seededRandom(4)
    const days = Array.from({ length: 400 }, (_, i) => ({
      arm: i % 2 === 0 ? ('control' as const) : ('treatment' as const),
      usefulHours: 24,
      usd: 24 * (i % 2 === 0 ? 0.05 : 0.04) * (1 + 0.1 * normal(random)),
    }))
    const compared = compareCosts(days, { alpha: 0.05, planned: 400 })
    const cost = { plan: { kind: 'ab', metric: 'cost_per_useful_hour', unit: 'instance' } as const }
    const week = [0, 1, 2, 3, 4, 5, 6]
    expect(judgeCosts(compared, week, standing(cost))).toMatchObject({
      verdict: 'WINNER',
      winner: 'treatment',
    })
    expect(judgeCosts(compared, [4, 5, 6], standing(cost)).missing).toEqual([
      'days: 3 of 7',
      'days: a Saturday and a Sunday',
    ])
  })
})

describe('several treatments', () => {
  const said = (verdict: Verdict['verdict'], winner: Verdict['winner'] = null): Verdict => ({
    verdict,
    winner,
    reason: '',
    missing: [],
  })

  test('what stops one stops all; while one is open all are', () => {
    expect(together([said('WINNER', 'treatment'), said('STOPPED_BY_GUARD')])).toMatchObject({
      verdict: 'STOPPED_BY_GUARD',
      treatment: 1,
    })
    expect(together([said('WINNER', 'treatment'), said('INSUFFICIENT')]).verdict).toBe('INSUFFICIENT')
    expect(together([said('FUTILE'), said('WINNER', 'treatment')])).toMatchObject({
      winner: 'treatment',
      treatment: 1,
    })
    expect(together([said('FUTILE'), said('INCONCLUSIVE')]).verdict).toBe('INCONCLUSIVE')
  })

  test('there is one verdict whatever the parts say', () => {
    const one = fc.constantFrom(
      'WINNER',
      'FUTILE',
      'INCONCLUSIVE',
      'INSUFFICIENT',
      'INVALID_SRM',
      'STOPPED_BY_GUARD',
    )
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 4 }), (names) => {
        const verdicts = names.map((name) =>
          said(name as Verdict['verdict'], name === 'WINNER' ? 'control' : null),
        )
        expect(names).toContain(together(verdicts).verdict)
      }),
    )
  })
})

describe('a plan', () => {
  test.each([
    [{ metric: 'interruption_rate' }, 'measure brier'],
    [{ unit: 'instance' }, 'the unit of shadow'],
    [{ maxDuration: hours(1) }, 'shorter than the shortest'],
    [{ arms: [{ name: 'a', modelId: 'm', weight: 10_000 }] }, 'add up'],
    [{ arms: plan().arms.map((arm) => ({ ...arm, name: 'same' })) }, 'same name'],
    [{ arms: plan().arms.map((arm) => ({ ...arm, modelId: 'same' })) }, 'same model'],
    [{ kind: 'pin', unit: 'instance' }, 'one arm'],
  ] as [Partial<ExperimentPlan>, string][])('%j is refused', (change, why) => {
    expect(() => assertPlan(plan(change))).toThrow(why)
  })

  test('a whole one is taken', () => {
    expect(() => assertPlan(plan())).not.toThrow()
    expect(() =>
      assertPlan(
        plan({ kind: 'pin', unit: 'instance', arms: [{ name: 'only', modelId: 'm', weight: 10_000 }] }),
      ),
    ).not.toThrow()
  })
})
