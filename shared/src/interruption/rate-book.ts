import { AppError } from '../core/app-error.ts'
import { type InterruptionBand, type Pool, poolId, regionOf } from '../market/pool.ts'
import { familyOf } from '../market/pool-groups.ts'
import { advisorHazard } from './advisor-rate.ts'

/** What our own instances have lived through in one pool. */
export interface PoolHistory {
  readonly pool: Pool
  readonly band: InterruptionBand | null
  /** Hours that spot instances of ours ran there, all together. */
  readonly instanceHours: number
  /** Of them, how many AWS took back. */
  readonly interruptions: number
}

/** From the least to the most special. */
export const rateSources = ['spot_advisor', 'everywhere', 'region', 'family_in_region', 'pool'] as const
export type RateSource = (typeof rateSources)[number]

/** Interruptions per instance-hour as a gamma distribution, and what its mean is made of. */
export interface PooledRate {
  readonly shape: number
  /** In instance-hours: the mean is `shape / hours`. */
  readonly hours: number
  /** Weights add up to 1. Each is a source's part of the mean; 0 where it has nothing to say. */
  readonly weights: Readonly<Record<RateSource, number>>
}

export interface RateBook {
  /** @throws AppError `input_invalid` for a band that is none */
  rateOf(pool: Pool, band: InterruptionBand | null): PooledRate
}

/** How many interruptions the level above counts as. Siblings then differ by about as much as their mean. */
export const PARENT_EVENTS = 1

/**
 * Interruptions per hour by pool, learnt from few events. The Spot Advisor's band says how many are expected; our own history
 * says how many times that came true, `m`: first everywhere, then in the region, in the family there and in the pool. Each level
 * is a gamma distribution around the level above, `m = (k + seen) / (k / m_above + expected)`, the mean of a gamma-Poisson
 * posterior with `k` = PARENT_EVENTS; where nothing was seen or expected it is `m_above`, and the Advisor's is 1.
 *
 * A level counts all its hours, those of the levels below it too. So what befalls a fleet of one pool speaks on every level, and
 * it is believed soon where it is far from the band: a pool of the open last band may be interrupted a thousand times as often as
 * the band's 25 % a month. Source: Gelman et al., Bayesian Data Analysis, 2.6 and 5; the weights are Buehlmann's credibilities.
 * @throws AppError `input_invalid` for hours or counts that are none
 */
export function createRateBook(history: readonly PoolHistory[], parentEvents = PARENT_EVENTS): RateBook {
  const totals = new Map<string, Total>()
  for (const each of history) {
    checkHistory(each)
    const expected = each.instanceHours * advisorHazard(each.band)
    for (const key of keysOf(each.pool)) {
      const { seen, expected: before, hours } = totals.get(key) ?? NOTHING
      totals.set(key, {
        seen: seen + each.interruptions,
        expected: before + expected,
        hours: hours + each.instanceHours,
      })
    }
  }

  return {
    rateOf(pool, band) {
      checkBand(band)
      const hazard = advisorHazard(band)
      const [everywhere, region, family, own] = keysOf(pool).map(
        (key) => totals.get(key) ?? NOTHING,
      ) as Totals
      const levels: Total[] = [everywhere, region, family, { ...own, expected: own.hours * hazard }]
      let above = 1
      let mean = 1
      const credits = levels.map(({ seen, expected }) => {
        above = mean
        mean = (parentEvents + seen) / (parentEvents / above + expected)
        return expected / (parentEvents / above + expected)
      })
      return {
        shape: parentEvents + own.seen,
        hours: parentEvents / (above * hazard) + own.hours,
        weights: toWeights(credits),
      }
    },
  }
}

interface Total {
  readonly seen: number
  /** How many the Spot Advisor would have expected. */
  readonly expected: number
  readonly hours: number
}
type Totals = [everywhere: Total, region: Total, family: Total, own: Total]
const NOTHING: Total = { seen: 0, expected: 0, hours: 0 }

/** Everywhere, region, family in the region, pool. */
function keysOf(pool: Pool): readonly string[] {
  const region = regionOf(pool.availabilityZone)
  return ['', region, `${familyOf(pool)}/${region}`, poolId(pool)]
}

/** The finest level takes its credibility of the whole, each other one of what is left; the Advisor has the rest. */
function toWeights(credits: readonly number[]): PooledRate['weights'] {
  let left = 1
  const weights: Record<string, number> = {}
  for (const [i, credit] of [...credits.entries()].reverse()) {
    weights[rateSources[i + 1] as RateSource] = left * credit
    left *= 1 - credit
  }
  return { ...weights, spot_advisor: left } as PooledRate['weights']
}

function checkBand(band: unknown): void {
  if (band === null || [0, 1, 2, 3, 4].includes(band as number)) return
  throw new AppError('input_invalid', `${band} is no band of the Spot Advisor`, {
    hint: 'Bands are 0 (below 5 % a month) to 4 (above 20 %), or null where the Advisor does not know the type.',
  })
}

function checkHistory({ pool, band, instanceHours, interruptions }: PoolHistory): void {
  checkBand(band)
  if (!(Number.isFinite(instanceHours) && instanceHours >= 0))
    throw new AppError('input_invalid', `${poolId(pool)} cannot have run for ${instanceHours} hours`)
  if (!(Number.isSafeInteger(interruptions) && interruptions >= 0))
    throw new AppError('input_invalid', `${poolId(pool)} cannot have had ${interruptions} interruptions`)
}
