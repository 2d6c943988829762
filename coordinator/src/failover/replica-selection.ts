import { toUsd } from '@understudy/shared/core/money'
import { riskClass } from '@understudy/shared/interruption/co-interruption'
import { interruptionBands, type Pool, poolId } from '@understudy/shared/market/pool'
import type { PoolChoice } from '@understudy/shared/protocol/replicas'
import type { PoolOffer } from '../cloud/cloud.ts'

export interface SelectionInput {
  readonly offers: readonly PoolOffer[]
  /** Where the primary runs; undefined before there is one. */
  readonly current: Pool | undefined
  /** A replica made by hand is to be cheap; one made because of a signal is to be safe. */
  readonly aim: 'cheapest' | 'safest'
  /** P(a standby there is lost within 12 h), by itself or together with those that it stands beside. */
  readonly riskOf: (offer: PoolOffer) => number
  readonly excludeZones: readonly string[]
  /** Pools in which an instance of ours has an open notice. */
  readonly noticedPools: ReadonlySet<string>
  /** Pools that another replica of the agent is in. */
  readonly takenPools: ReadonlySet<string>
  /** Pools that have just refused a launch, the longest ago first. */
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
 * Never the primary's own pool or zone: what takes the primary would take the replica too; and never a pool that another replica is
 * in. Where the primary is in the cheapest pool, the cheapest that is left is the second cheapest, as the customer has it.
 */
export function selectPools(input: SelectionInput): Selection {
  const judged = input.offers.map((offer) => ({ offer, refusal: refusalOf(offer, input) }))
  const ranked = judged
    .filter(({ refusal }) => refusal === undefined)
    .map(({ offer }) => offer)
    .sort(input.aim === 'cheapest' ? byPrice : bySafety(input.riskOf))
  const [best] = ranked
  const choice = judged.map(({ offer, refusal }) => toChoice(offer, refusal, best, input))
  return { ranked, choice: choice.sort((a, b) => Number(b.chosen) - Number(a.chosen)) }
}

const byPrice = (a: PoolOffer, b: PoolOffer): number =>
  a.spotPrice - b.spotPrice || (poolId(a.pool) < poolId(b.pool) ? -1 : 1)

const bySafety =
  (riskOf: SelectionInput['riskOf']) =>
  (a: PoolOffer, b: PoolOffer): number =>
    riskClass(riskOf(a)) - riskClass(riskOf(b)) || byPrice(a, b)

/** Of the pools that are passed over only because they have just refused a launch, those that did the longest ago. Pure. */
export function selectRefused(input: SelectionInput, most: number): readonly PoolOffer[] {
  const order = [...input.emptyPools]
  const placeOf = ({ pool }: PoolOffer): number => order.indexOf(poolId(pool))
  const { ranked } = selectPools({ ...input, emptyPools: new Set() })
  return ranked
    .filter((offer) => placeOf(offer) >= 0)
    .sort((a, b) => placeOf(a) - placeOf(b))
    .slice(0, most)
}

/**
 * Pools for an instance on demand, where spot has no capacity: as large, of the same architecture, the cheapest first. Its own zone is
 * as good as another: what is on demand is not taken back.
 */
export function selectOnDemand(
  input: Pick<SelectionInput, 'offers' | 'current' | 'excludeZones' | 'takenPools'>,
): readonly PoolOffer[] {
  const { offers, current, excludeZones, takenPools } = input
  return offers
    .filter(
      ({ pool }) =>
        !excludeZones.includes(pool.availabilityZone) &&
        !takenPools.has(poolId(pool)) &&
        (!current || (sizeOf(pool) === sizeOf(current) && isArm(pool) === isArm(current))),
    )
    .sort((a, b) => a.onDemandPrice - b.onDemandPrice || (poolId(a.pool) < poolId(b.pool) ? -1 : 1))
}

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
  { aim, riskOf }: SelectionInput,
): PoolChoice {
  const chosen = offer === best
  return {
    pool_id: poolId(offer.pool),
    chosen,
    because: chosen ? reasonFor(offer, aim, riskOf) : (refusal ?? reasonAgainst(offer, best, aim, riskOf)),
    spot_price: toUsd(offer.spotPrice),
    interruption_band: bandName(offer),
    risk: riskOf(offer),
  }
}

const bandName = ({ interruptionBand }: PoolOffer): string | null =>
  interruptionBand === null ? null : interruptionBands[interruptionBand]

const reasonFor = (offer: PoolOffer, aim: SelectionInput['aim'], riskOf: SelectionInput['riskOf']): string =>
  aim === 'cheapest'
    ? `the cheapest that is left, $${toUsd(offer.spotPrice).toFixed(4)} per hour`
    : `the safest that is left (lost within 12 h with a probability of ${shown(riskOf(offer))}), then the cheapest, $${toUsd(offer.spotPrice).toFixed(4)} per hour`

function reasonAgainst(
  offer: PoolOffer,
  best: PoolOffer | undefined,
  aim: SelectionInput['aim'],
  riskOf: SelectionInput['riskOf'],
): string {
  if (!best) return 'not needed'
  if (aim === 'safest' && riskClass(riskOf(offer)) > riskClass(riskOf(best)))
    return `likelier lost (${shown(riskOf(offer))} within 12 h, by itself or together with those it would stand beside)`
  return `dearer by $${toUsd((offer.spotPrice - best.spotPrice) as PoolOffer['spotPrice']).toFixed(4)} per hour`
}

const shown = (probability: number): string => Number(probability.toPrecision(2)).toString()
