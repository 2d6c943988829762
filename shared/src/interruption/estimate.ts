import { AppError } from '../core/app-error.ts'
import type { Instant, Millis } from '../core/time.ts'
import type { InterruptionBand, Pool } from '../market/pool.ts'
import { stillTrue } from './advisor-rate.ts'
import { gammaQuantile } from './gamma.ts'
import { type Multipliers, meanMultiplier, noMultipliers, stretchesOf } from './multipliers.ts'
import { type RateBook, type RateSource, rateSources } from './rate-book.ts'

export interface Question {
  readonly pool: Pool
  /** Of the Spot Advisor; null where it does not know the type. */
  readonly band: InterruptionBand | null
  /** How old its file is; null where nobody knows. */
  readonly bandAge: Millis | null
  readonly now: Instant
  /** How far ahead, in hours. */
  readonly hours: number
  /** Of the instance; null: the pool as such is asked about. */
  readonly age: Millis | null
}

export interface Estimate {
  /** P(an instance is interrupted in the next `hours`), never 0 and never 1. */
  readonly value: number
  /** 90 % of the posterior lies between them. */
  readonly low: number
  readonly high: number
  /** 0 to 1: how much there is to it. */
  readonly confidence: number
  readonly hours: number
  /** What the rate was multiplied by for age and hour of day. */
  readonly multiplier: number
  /** Those that have a part in it, the greatest first; weights add up to 1. */
  readonly sources: readonly { readonly source: RateSource; readonly weight: number }[]
}

const HOUR = 3_600_000
const INTERVAL = [0.05, 0.95] as const
const SMALLEST = 1e-9
/** Parts below this are not told. */
const WORTH_TELLING = 0.0005

/** P(interruption within the next hours) for pools and instances. Pure; see `createRateBook` for where the rate comes from. */
export interface InterruptionEstimator {
  /** Without interval, confidence and sources. @throws AppError `input_invalid` */
  probability(question: Question): number
  /** @throws AppError `input_invalid` */
  estimate(question: Question): Estimate
}

/**
 * `p = 1 - exp(-rate * hours * multiplier)` (decisions 3.4: `h = h_base * m_age * m_hour`), where the rate is the mean of its gamma
 * distribution, so that the pipeline's hazard, `-ln(1 - p) / hours`, is that mean again.
 *
 * `confidence = trust / (1 + 1 / sqrt(shape))`: the spread of the rate, times how far its sources can be trusted. Own history counts
 * as 1, the Advisor's band as the share of bands that still hold at its age. A fresh band and nothing else gives 0.50, ten
 * interruptions of our own in the pool 0.77.
 */
export function createInterruptionEstimator(
  book: RateBook,
  multipliers: Multipliers = noMultipliers,
): InterruptionEstimator {
  /** The same few shapes come again and again, and a quantile takes a while. */
  const quantiles = new Map<number, readonly [number, number]>()
  const quantilesOf = (shape: number): readonly [number, number] => {
    const known = quantiles.get(shape)
    if (known) return known
    const found = [gammaQuantile(shape, INTERVAL[0]), gammaQuantile(shape, INTERVAL[1])] as const
    quantiles.set(shape, found)
    return found
  }

  function timeOf(question: Question): { multiplier: number; exposure: number } {
    checkQuestion(question)
    const { now, age, hours } = question
    const begins = (now / HOUR) % 24
    const multiplier = meanMultiplier(
      multipliers,
      stretchesOf(begins, age === null ? null : age / HOUR, hours),
    )
    return { multiplier, exposure: hours * multiplier }
  }

  return {
    probability(question) {
      const { exposure } = timeOf(question)
      const { shape, hours } = book.rateOf(question.pool, question.band)
      return within((shape / hours) * exposure)
    },
    estimate(question) {
      const { multiplier, exposure } = timeOf(question)
      const { shape, hours, weights } = book.rateOf(question.pool, question.band)
      const [low, high] = quantilesOf(shape)
      const trust =
        1 - weights.spot_advisor * (1 - stillTrue(question.band === null ? null : question.bandAge))
      return {
        value: within((shape / hours) * exposure),
        low: within((low / hours) * exposure),
        high: within((high / hours) * exposure),
        confidence: trust / (1 + 1 / Math.sqrt(shape)),
        hours: question.hours,
        multiplier,
        sources: rateSources
          .map((source) => ({ source, weight: weights[source] }))
          .filter(({ weight }) => weight >= WORTH_TELLING)
          .sort((a, b) => b.weight - a.weight),
      }
    },
  }
}

/** The probability that something of this expected number happens at least once. */
const within = (expected: number): number =>
  Math.min(1 - SMALLEST, Math.max(SMALLEST, -Math.expm1(-expected)))

/** A week is far more than any decision looks ahead. */
const MOST_HOURS = 168

function checkQuestion({ hours, age, bandAge, now }: Question): void {
  if (!(hours > 0 && hours <= MOST_HOURS))
    throw new AppError('input_invalid', `an interruption cannot be estimated for ${hours} hours`, {
      hint: `Ask for more than 0 and at most ${MOST_HOURS} hours.`,
    })
  for (const [name, value] of [
    ['age', age],
    ['age of the band', bandAge],
  ] as const)
    if (value !== null && !(value >= 0 && Number.isFinite(value)))
      throw new AppError('input_invalid', `the ${name} cannot be ${value} ms`)
  if (!Number.isFinite(now)) throw new AppError('input_invalid', `${now} is no time`)
}
