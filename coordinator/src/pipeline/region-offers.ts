import { toUsd } from '@understudy/shared/core/money'
import { type Instant, instant } from '@understudy/shared/core/time'
import { type Pool, parsePool, poolId, regionOf } from '@understudy/shared/market/pool'
import type { Offer } from '@understudy/shared/pipeline/context'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { PoolOffer } from '../cloud/cloud.ts'
import type { TypeFacts } from './type-facts.ts'

export interface RegionSources {
  /** Pools of which a price is known, as they are now. */
  readonly pools: readonly PoolView[]
  /** What the cloud itself offers; it counts where it is newer. */
  readonly offered: readonly PoolOffer[]
  readonly factsOf: (instanceType: string) => TypeFacts | undefined
  /** P(an instance there is interrupted within 12 h). */
  readonly interruptionOf: (pool: Pool, band: Offer['band']) => number
}

/** A price, wherever it comes from. */
type Priced = Pick<Offer, 'spotUsd' | 'priceAt' | 'onDemandUsd' | 'band'>

/** The offers of one region for the pipeline. Pools without a price, or of types of which nothing is known, are left out. */
export function regionOffers(
  region: string,
  { pools, offered, factsOf, interruptionOf }: RegionSources,
): Offer[] {
  const priced = new Map<string, Priced>()
  for (const pool of pools) {
    const found = fromView(pool)
    if (found) priced.set(pool.pool_id, found)
  }
  for (const offer of offered) {
    const id = poolId(offer.pool)
    const known = priced.get(id)
    if (regionOf(offer.pool.availabilityZone) === region && (!known || known.priceAt < offer.at))
      priced.set(id, fromCloud(offer))
  }
  return [...priced].flatMap(([id, price]) => {
    const pool = parsePool(id)
    const facts = factsOf(pool.instanceType)
    if (!facts) return []
    const interruption12h = interruptionOf(pool, price.band)
    return [{ ...pool, ...facts, ...price, instability12h: null, interruption12h }]
  })
}

function fromView(pool: PoolView): Priced | undefined {
  if (pool.spot_price === null || pool.price_at === null) return undefined
  return {
    spotUsd: pool.spot_price,
    priceAt: instant(Date.parse(pool.price_at)),
    onDemandUsd: pool.on_demand_price,
    band: pool.interruption_band as Offer['band'],
  }
}

const fromCloud = ({ spotPrice, onDemandPrice, interruptionBand, at }: PoolOffer): Priced => ({
  spotUsd: toUsd(spotPrice),
  priceAt: at as Instant,
  onDemandUsd: toUsd(onDemandPrice),
  band: interruptionBand,
})
