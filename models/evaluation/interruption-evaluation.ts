import { hours as hoursLong, type Instant, instant, millis } from '../../shared/src/core/time.ts'
import { createInterruptionEstimator } from '../../shared/src/interruption/estimate.ts'
import { type Multipliers, noMultipliers } from '../../shared/src/interruption/multipliers.ts'
import { createRateBook } from '../../shared/src/interruption/rate-book.ts'
import type { InterruptionBand, Pool } from '../../shared/src/market/pool.ts'
import { historyUntil, meanRate, multipliersUntil, type Row, rowsBetween } from './interruption-rows.ts'
import { mean, type Score, scoreOf } from './interruption-scores.ts'
import type { StintSet } from './stints.ts'

export const estimators = [
  'constant',
  'band alone',
  'own history',
  'own history, age',
  'own history, hour of day',
  'own history, both',
  'constant, kept up to date',
  'own history, kept up to date',
] as const
export type EstimatorName = (typeof estimators)[number]

export interface SetEvaluation {
  readonly set: string
  readonly horizonHours: number
  readonly splitHours: number
  readonly totalHours: number
  /** Of the training time. */
  readonly trained: { readonly interruptions: number; readonly instanceHours: number }
  /** Of the test time; `share` of its rows were interrupted within the horizon. */
  readonly tested: { readonly interruptions: number; readonly rows: number; readonly share: number }
  readonly multipliers: Multipliers
  readonly scores: Readonly<Record<EstimatorName, Score>>
}

export interface EvaluationSettings {
  readonly horizonHours: number
  /** The first part of the record trains, the rest tests. */
  readonly split: number
  readonly parentEvents: number
  readonly bandOf: (pool: Pool) => InterruptionBand | null
}

const HOUR = hoursLong(1)
const toInstant = (hours: number): Instant => instant(hours * HOUR)

/**
 * Estimates against what came. Everything is learnt from what ended before the split, or, for those that are kept up to date, before
 * the row; a training row whose horizon reaches over the split is left out. Undefined where either part has no row, or the test time
 * no interruption.
 */
export function evaluateSet(set: StintSet, settings: EvaluationSettings): SetEvaluation | undefined {
  const { horizonHours, bandOf, parentEvents } = settings
  const split = set.hours * settings.split
  const training = rowsBetween(set, horizonHours, 0, split)
  const rows = rowsBetween(set, horizonHours, split, set.hours)
  const share = mean(rows.map(({ interrupted }) => Number(interrupted)))
  if (training.length === 0 || rows.length === 0 || share === 0) return undefined
  const history = historyUntil(set.stints, split, bandOf)
  const book = createRateBook(history, parentEvents)
  const learnt = multipliersUntil(set.stints, split, (pool) => meanRate(book, pool, bandOf(pool)))
  const constant = mean(training.map(({ interrupted }) => Number(interrupted)))
  const ask = ({ pool, at, age }: Row) => ({
    pool,
    band: bandOf(pool),
    bandAge: null,
    now: toInstant(at),
    hours: horizonHours,
    age: millis(age * HOUR),
  })
  const using = (multipliers: Multipliers) => {
    const estimator = createInterruptionEstimator(book, multipliers)
    return rows.map((row) => estimator.probability(ask(row)))
  }
  const empty = createInterruptionEstimator(createRateBook([]))
  const upToDate = followed(set, rows, settings)
  const values: Record<EstimatorName, readonly number[]> = {
    constant: rows.map(() => constant),
    'band alone': rows.map((row) => empty.probability(ask(row))),
    'own history': using(noMultipliers),
    'own history, age': using({ ...noMultipliers, age: learnt.age }),
    'own history, hour of day': using({ ...noMultipliers, hour: learnt.hour }),
    'own history, both': using(learnt),
    'constant, kept up to date': upToDate.map(({ constant: value }) => value),
    'own history, kept up to date': upToDate.map(({ own }, i) => own.probability(ask(rows[i] as Row))),
  }
  return {
    set: set.name,
    horizonHours,
    splitHours: split,
    totalHours: set.hours,
    trained: sumOf(history),
    tested: {
      interruptions: set.stints.filter(({ to, interrupted }) => interrupted && to > split).length,
      rows: rows.length,
      share,
    },
    multipliers: learnt,
    scores: Object.fromEntries(
      estimators.map((name) => [
        name,
        scoreOf(rows, values[name], { constant: values.constant, own: values['own history'] }),
      ]),
    ) as SetEvaluation['scores'],
  }
}

/** What was known at each row: the rate of everything together, and the book. Made anew for each moment. */
function followed(
  set: StintSet,
  rows: readonly Row[],
  { bandOf, parentEvents, horizonHours }: EvaluationSettings,
) {
  const made = new Map<number, ReturnType<typeof knownAt>>()
  function knownAt(at: number) {
    const history = historyUntil(set.stints, at, bandOf)
    const { interruptions, instanceHours } = sumOf(history)
    return {
      constant: -Math.expm1((-horizonHours * interruptions) / instanceHours),
      own: createInterruptionEstimator(createRateBook(history, parentEvents)),
    }
  }
  return rows.map(({ at }) => {
    const known = made.get(at) ?? knownAt(at)
    made.set(at, known)
    return known
  })
}

const sumOf = (history: ReturnType<typeof historyUntil>) => ({
  interruptions: history.reduce((sum, each) => sum + each.interruptions, 0),
  instanceHours: history.reduce((sum, each) => sum + each.instanceHours, 0),
})
