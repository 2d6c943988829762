import { toUsd } from '@understudy/shared/core/money'
import type { Instant } from '@understudy/shared/core/time'
import { type InterruptionBand, interruptionBands, type Pool } from '@understudy/shared/market/pool'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { PoolOffer } from '../cloud/cloud.ts'
import type { CatalogStore } from './catalog-store.ts'
import type { Market } from './market.ts'
import { timeOrNull } from './market-views.ts'
import type { KnownPool } from './pool-store.ts'
import type { LatestPrice } from './price-store.ts'

export interface PoolFilter {
  readonly instanceType?: string | undefined
  readonly region?: string | undefined
  readonly limit: number
  /** The last pool of the page before. */
  readonly cursor?: string | undefined
}

/** Pools as they are now, in the order of their names. */
export interface PoolViews {
  list(filter: PoolFilter): Promise<{ items: PoolView[]; next: string | null }>
}

export function createPoolViews(parts: {
  readonly market: Pick<Market, 'pools' | 'latest'>
  readonly catalog: Pick<CatalogStore, 'onDemand' | 'advisor' | 'zones'>
  /** What the cloud says of a pool now; it counts where the catalog says nothing. */
  readonly offered: (pool: Pool) => PoolOffer | undefined
  readonly riskOf: (poolId: string) => number | null
}): PoolViews {
  const { market, catalog, offered, riskOf } = parts
  return {
    async list({ instanceType, region, limit, cursor }) {
      const known = (await market.pools())
        .filter(
          (pool) =>
            (instanceType === undefined || pool.instanceType === instanceType) &&
            (region === undefined || pool.region === region) &&
            (cursor === undefined || pool.poolId > cursor),
        )
        .sort((a, b) => (a.poolId < b.poolId ? -1 : 1))
      const page = known.slice(0, limit)
      const regions = [...new Set(page.map((pool) => pool.region))]
      const facts = new Map(
        await Promise.all(regions.map(async (name) => [name, await readRegion(catalog, name)] as const)),
      )
      const latest = await market.latest(page.map(({ poolId }) => poolId))
      const items = page.map((pool) => ({
        ...viewOf(pool, latest.get(pool.poolId), facts.get(pool.region), offered(pool)),
        risk: riskOf(pool.poolId),
      }))
      return { items, next: known.length > limit ? (items.at(-1)?.pool_id ?? null) : null }
    },
  }
}

type RegionFacts = Awaited<ReturnType<typeof readRegion>>

function viewOf(
  pool: KnownPool,
  price: LatestPrice | undefined,
  about: RegionFacts | undefined,
  offer: PoolOffer | undefined,
): Omit<PoolView, 'risk'> {
  const onDemand = about?.onDemand.get(pool.instanceType) ?? offer?.onDemandPrice
  return {
    pool_id: pool.poolId,
    instance_type: pool.instanceType,
    availability_zone: pool.availabilityZone,
    az_id: about?.zones.get(pool.availabilityZone) ?? null,
    region: pool.region,
    ...priceOf(price),
    on_demand_price: onDemand === undefined ? null : toUsd(onDemand),
    discount_percent: price === undefined || onDemand === undefined ? null : discount(price.price, onDemand),
    ...bandOf(about?.bands.get(pool.instanceType) ?? offeredBand(offer)),
  }
}

const priceOf = (price: LatestPrice | undefined) =>
  price
    ? {
        spot_price: toUsd(price.price),
        price_at: timeOrNull(price.at),
        data_source: price.source,
        confidence: price.confidence / 100,
      }
    : { spot_price: null, price_at: null, data_source: null, confidence: null }

/** A band of the Spot Advisor, and how old it is. */
export interface KnownBand {
  readonly band: InterruptionBand
  readonly asOf: Instant
}

const bandOf = (known: KnownBand | undefined) => ({
  interruption_band: known?.band ?? null,
  interruption_range: known ? interruptionBands[known.band] : null,
  band_as_of: timeOrNull(known?.asOf ?? null),
})

export const offeredBand = (offer: PoolOffer | undefined): KnownBand | undefined =>
  offer && offer.interruptionBand !== null ? { band: offer.interruptionBand, asOf: offer.at } : undefined

/** In per cent of on-demand, to two places. */
const discount = (spot: number, onDemand: number): number | null =>
  onDemand === 0 ? null : Math.round((1 - spot / onDemand) * 10_000) / 100

/** By instance type. */
export async function bandsIn(
  catalog: Pick<CatalogStore, 'advisor'>,
  region: string,
): Promise<ReadonlyMap<string, KnownBand>> {
  const advisor = await catalog.advisor(region, 'Linux')
  return new Map(
    advisor.map(({ instanceType, band, asOf, fetchedAt }) => [
      instanceType,
      { band, asOf: asOf ?? fetchedAt },
    ]),
  )
}

async function readRegion(catalog: Pick<CatalogStore, 'onDemand' | 'advisor' | 'zones'>, region: string) {
  const onDemand = await catalog.onDemand(region)
  const zones = await catalog.zones(region)
  return {
    onDemand: new Map(onDemand.map(({ instanceType, price }) => [instanceType, price])),
    bands: await bandsIn(catalog, region),
    zones: new Map(zones.map(({ name, id }) => [name, id])),
  }
}
