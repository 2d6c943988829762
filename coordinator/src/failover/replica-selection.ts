import { toUsd } from '@understudy/shared/core/money'
import { interruptionBands, type Pool, poolId } from '@understudy/shared/market/pool'
import type { PoolChoice } from '@understudy/shared/protocol/replicas'
import type { PoolOffer } from '../cloud/cloud.ts'

export interface SelectionInput {
  readonly offers: readonly PoolOffer[]
  /** Where the primary runs; undefined before there is one. */
  readonly current: Pool | undefined
  /** A replica made by hand is to be cheap; one made because of a signal is to be safe. */
  readonly aim: 'cheapest' | 'safest'
  readonly excludeZones: readonly string[]
  /** Pools in which an instance of ours has an open notice. */
  readonly noticedPools: ReadonlySet<string>
  /** Pools that another replica of the agent is in. */
  readonly takenPools: ReadonlySet<string>
  /** Pools that have just refused a launch. */
  readonly emptyPools: ReadonlySet<string>
}

export interface Selection {
  /** Best first; empty when no pool is left. */
  readonly ranked: readonly PoolOffer[]
  readonly choice: readonly PoolChoice[]
}

/**
 * Which pools a replica may go into, best first, and why every other one was passed over. Pure.
 *
 * Never the primary's own pool or zone: what takes the primary would take the replica too. Where the primary is in the
 * cheapest pool, the cheapest that is left is the second cheapest, as the customer has it.
 */
export function selectPools(input: SelectionInput): Selection {
  const judged = input.offers.map((offer) => ({ offer, refusal: refusalOf(offer, input) }))
  const ranked = judged
    .filter(({ refusal }) => refusal === undefined)
    .map(({ offer }) => offer)
    .sort(input.aim === 'cheapest' ? byPrice : bySafety)
  const [best] = ranked
  const choice = judged.map(({ offer, refusal }) => toChoice(offer, refusal, best, input.aim))
  return { ranked, choice: choice.sort((a, b) => Number(b.chosen) - Number(a.chosen)) }
}

const byPrice = (a: PoolOffer, b: PoolOffer): number =>
  a.spotPrice - b.spotPrice || (poolId(a.pool) < poolId(b.pool) ? -1 : 1)

/** An unknown band is as bad as the worst. */
const bandOf = ({ interruptionBand }: PoolOffer): number => interruptionBand ?? interruptionBands.length

const bySafety = (a: PoolOffer, b: PoolOffer): number => bandOf(a) - bandOf(b) || byPrice(a, b)

function refusalOf({ pool, spotPrice, onDemandPrice }: PoolOffer, input: SelectionInput): string | undefined {
  const { current, excludeZones, noticedPools, takenPools, emptyPools } = input
  const id = poolId(pool)
  if (current && id === poolId(current)) return 'the primary is in it'
  if (current && pool.availabilityZone === current.availabilityZone)
    return `it is in ${pool.availabilityZone}, as the primary`
  if (current && sizeOf(pool) !== sizeOf(current)) return `it is another size than ${current.instanceType}`
  if (current && isArm(pool) !== isArm(current))
    return `it is another architecture than ${current.instanceType}`
  if (excludeZones.includes(pool.availabilityZone)) return `${pool.availabilityZone} is excluded`
  if (noticedPools.has(id)) return 'an instance in it has an open interruption notice'
  if (takenPools.has(id)) return 'another replica of this agent is in it'
  if (emptyPools.has(id)) return 'it had no capacity just now'
  if (spotPrice >= onDemandPrice)
    return `its spot price is not below on-demand ($${toUsd(onDemandPrice).toFixed(4)})`
  return undefined
}

/** `large` of `m5.large`: the part of the name that says how much there is of everything. */
const sizeOf = ({ instanceType }: Pool): string => instanceType.slice(instanceType.indexOf('.') + 1)

/** Graviton families carry a g after their generation. */
const isArm = ({ instanceType }: Pool): boolean => /^[a-z]+\d+g/.test(instanceType)

function toChoice(
  offer: PoolOffer,
  refusal: string | undefined,
  best: PoolOffer | undefined,
  aim: SelectionInput['aim'],
): PoolChoice {
  const chosen = offer === best
  return {
    pool_id: poolId(offer.pool),
    chosen,
    because: chosen ? reasonFor(offer, aim) : (refusal ?? reasonAgainst(offer, best, aim)),
    spot_price: toUsd(offer.spotPrice),
    interruption_band: bandName(offer),
  }
}

const bandName = ({ interruptionBand }: PoolOffer): string | null =>
  interruptionBand === null ? null : interruptionBands[interruptionBand]

const reasonFor = (offer: PoolOffer, aim: SelectionInput['aim']): string =>
  aim === 'cheapest'
    ? `the cheapest that is left, $${toUsd(offer.spotPrice).toFixed(4)} per hour`
    : `the safest that is left (${bandName(offer) ?? 'unknown'} interruptions a month), then the cheapest`

function reasonAgainst(offer: PoolOffer, best: PoolOffer | undefined, aim: SelectionInput['aim']): string {
  if (!best) return 'not needed'
  if (aim === 'safest' && bandOf(offer) > bandOf(best))
    return `more interruptions (${bandName(offer) ?? 'unknown'} a month)`
  return `dearer by $${toUsd((offer.spotPrice - best.spotPrice) as PoolOffer['spotPrice']).toFixed(4)} per hour`
}
