import type { Instant } from '../core/time.ts'
import { minutes } from '../core/time.ts'
import { type Pool, poolId, regionOf } from '../market/pool.ts'
import { familyOf } from '../market/pool-groups.ts'

/** What two pools have in common, from most to least. */
export const relations = [
  'same_pool',
  'same_zone_and_family',
  'same_zone',
  'same_family',
  'same_region',
  'elsewhere',
] as const
export type Relation = (typeof relations)[number]

/** Notices as close as this count as one event. */
export const TOGETHER_WITHIN = minutes(10)

/**
 * How likely an instance is interrupted together with one in a pool of this relation, before anything was seen. Two are measured: in
 * the 9-zone set of v100 traces (Wu et al., NSDI 2024) another zone of the region is down too in 31 % of the times in which one goes
 * down, another region in 4 %. The others are assumptions between them: what shares more is hit together more often.
 */
const priors: Readonly<Record<Relation, number>> = {
  same_pool: 0.7,
  same_zone_and_family: 0.5,
  same_zone: 0.35,
  same_family: 0.31,
  same_region: 0.15,
  elsewhere: 0.04,
}
/** As many pairs as the prior counts for. */
const PRIOR_PAIRS = 10
/** The latest interruptions are enough, and pairs of all would be many. */
const MOST_EVENTS = 200

/** A spot instance of ours: how long it ran, and whether AWS took it back at the end. */
export interface Watched {
  readonly pool: Pool
  readonly from: Instant
  readonly to: Instant
  readonly interrupted: boolean
}

export function relationOf(a: Pool, b: Pool): Relation {
  if (poolId(a) === poolId(b)) return 'same_pool'
  const isSameFamily = familyOf(a) === familyOf(b)
  if (a.availabilityZone === b.availabilityZone) return isSameFamily ? 'same_zone_and_family' : 'same_zone'
  if (regionOf(a.availabilityZone) !== regionOf(b.availabilityZone)) return 'elsewhere'
  return isSameFamily ? 'same_family' : 'same_region'
}

/**
 * P(an instance in `b` is interrupted within ten minutes | one in `a` is), by what both pools have in common: the mean of a Beta
 * distribution that begins at ten pairs of the prior and learns from every pair of our own instances of which one was interrupted
 * while the other ran. Pure.
 */
export function learnTogether(lives: readonly Watched[]): (a: Pool, b: Pool) => number {
  const pairs = new Map<Relation, { seen: number; hit: number }>()
  const events = lives
    .filter(({ interrupted }) => interrupted)
    .sort((a, b) => b.to - a.to)
    .slice(0, MOST_EVENTS)
  for (const event of events)
    for (const other of lives) {
      if (other === event || !ranAt(other, event.to)) continue
      const relation = relationOf(event.pool, other.pool)
      const known = pairs.get(relation) ?? { seen: 0, hit: 0 }
      pairs.set(relation, { seen: known.seen + 1, hit: known.hit + Number(wentWith(other, event.to)) })
    }
  return (a, b) => {
    const relation = relationOf(a, b)
    const { seen, hit } = pairs.get(relation) ?? { seen: 0, hit: 0 }
    return (priors[relation] * PRIOR_PAIRS + hit) / (PRIOR_PAIRS + seen)
  }
}

/** One that went a few minutes before counts too: they went together. */
const ranAt = ({ from, to }: Watched, at: Instant): boolean => from <= at && to >= at - TOGETHER_WITHIN

const wentWith = ({ to, interrupted }: Watched, at: Instant): boolean =>
  interrupted && Math.abs(to - at) <= TOGETHER_WITHIN

export interface Neighbour {
  readonly pool: Pool
  /** P(it is interrupted in the time that is looked at). */
  readonly probability: number
}

/**
 * P(a standby is lost in the time that is looked at): by itself, or together with one of the instances that it is to stand beside.
 * `1 - (1 - own) * product(1 - p_neighbour * P(together))`, each taken as independent of the others. A neighbour of which a notice is
 * certain weighs with its whole co-interruption, one that runs quietly with next to nothing.
 */
export const standbyRisk = (
  own: number,
  pool: Pool,
  neighbours: readonly Neighbour[],
  together: (a: Pool, b: Pool) => number,
): number =>
  1 - neighbours.reduce((left, one) => left * (1 - one.probability * together(one.pool, pool)), 1 - own)

/** Risks within a quarter of each other are the same for a choice: what is left of the difference is noise. */
export const riskClass = (risk: number): number => Math.round(Math.log(Math.max(risk, 1e-9)) / Math.log(1.25))
