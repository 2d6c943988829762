import { type Interval, intervalAround, type Sequence } from './confidence-sequence.ts'

/** What one unit cost on one day in one arm, with the cost of its switches and of the work it lost. */
export interface UnitDay {
  readonly arm: 'control' | 'treatment'
  readonly usd: number
  /** Hours in which it did its work; 0 to 24 for each instance. */
  readonly usefulHours: number
}

export interface ArmCost {
  readonly unitDays: number
  /** USD per useful hour; null while there is none. */
  readonly usdPerHour: number | null
}

export interface CostComparison {
  readonly control: ArmCost
  readonly treatment: ArmCost
  /** Control less treatment, in USD per useful hour: above 0 the treatment is cheaper. */
  readonly difference: Interval
  /** Unit-days whose cost was cut to `capUsd`, the 99th percentile of both arms. */
  readonly cut: number
  readonly capUsd: number | null
}

const PERCENTILE = 0.99

/**
 * Costs per useful hour, as ratios of sums. Their variance is that of `(usd - ratio · hours) / mean hours` (delta method); both
 * arms together are one sample of these influences, which is what the sequence is for.
 */
export function compareCosts(days: readonly UnitDay[], sequence: Sequence): CostComparison {
  const capUsd = percentile(days.map(({ usd }) => usd))
  const capped = days.map((day) => ({ ...day, usd: Math.min(day.usd, capUsd) }))
  const control = ratioOf(capped.filter(({ arm }) => arm === 'control'))
  const treatment = ratioOf(capped.filter(({ arm }) => arm === 'treatment'))
  return {
    control: { unitDays: control.n, usdPerHour: control.ratio },
    treatment: { unitDays: treatment.n, usdPerHour: treatment.ratio },
    difference: differenceOf(control, treatment, sequence),
    cut: days.filter(({ usd }) => usd > capUsd).length,
    capUsd: days.length === 0 ? null : capUsd,
  }
}

interface Ratio {
  readonly n: number
  readonly ratio: number | null
  /** Of one unit-day's influence on the ratio. */
  readonly variance: number
}

function ratioOf(days: readonly UnitDay[]): Ratio {
  const n = days.length
  const hours = days.reduce((sum, { usefulHours }) => sum + usefulHours, 0)
  if (!(hours > 0)) return { n, ratio: null, variance: 0 }
  const ratio = days.reduce((sum, { usd }) => sum + usd, 0) / hours
  const squares = days.reduce((sum, { usd, usefulHours }) => sum + (usd - ratio * usefulHours) ** 2, 0)
  return { n, ratio, variance: n < 2 ? 0 : squares / (n - 1) / (hours / n) ** 2 }
}

function differenceOf(control: Ratio, treatment: Ratio, sequence: Sequence): Interval {
  if (control.ratio === null || treatment.ratio === null)
    return intervalAround({ n: 0, mean: 0, sd: 0 }, sequence)
  const n = control.n + treatment.n
  const variance = n * (control.variance / control.n + treatment.variance / treatment.n)
  return intervalAround({ n, mean: control.ratio - treatment.ratio, sd: Math.sqrt(variance) }, sequence)
}

/** By nearest rank; below a hundred values it is the largest. */
function percentile(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.ceil(PERCENTILE * sorted.length) - 1] ?? Number.POSITIVE_INFINITY
}
