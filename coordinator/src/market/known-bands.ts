import { type Pool, poolId, regionOf } from '@understudy/shared/market/pool'
import type { PoolOffer } from '../cloud/cloud.ts'
import type { CatalogStore } from './catalog-store.ts'
import { bandsIn, type KnownBand, offeredBand } from './pool-views.ts'

/** The Spot Advisor's bands of some pools; where it knows none, what the cloud says. Pools of which neither speaks are left out. */
export function createKnownBands(
  catalog: Pick<CatalogStore, 'advisor'>,
  offered: (pool: Pool) => PoolOffer | undefined,
): (pools: readonly Pool[]) => Promise<ReadonlyMap<string, KnownBand>> {
  return async (pools) => {
    const regions = [...new Set(pools.map(({ availabilityZone }) => regionOf(availabilityZone)))]
    const known = new Map(
      await Promise.all(regions.map(async (region) => [region, await bandsIn(catalog, region)] as const)),
    )
    return new Map(
      pools.flatMap((pool) => {
        const bands = known.get(regionOf(pool.availabilityZone))
        const band = bands?.get(pool.instanceType) ?? offeredBand(offered(pool))
        return band ? [[poolId(pool), band] as const] : []
      }),
    )
  }
}
