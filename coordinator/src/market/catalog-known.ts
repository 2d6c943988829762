import type { MicroUsd } from '@understudy/shared/core/money'
import { type Pool, regionOf } from '@understudy/shared/market/pool'
import type { CatalogStore } from './catalog-store.ts'

/** The catalog in memory, for checks that cannot wait for the database. `undefined` means that it does not know. */
export interface KnownCatalog {
  /** Reads the store again. */
  load(): Promise<void>
  /** False only in a region whose zones are known. */
  isKnownZone(availabilityZone: string): boolean | undefined
  isKnownType(instanceType: string): boolean | undefined
  onDemand(pool: Pool): MicroUsd | undefined
}

export function createKnownCatalog(store: CatalogStore): KnownCatalog {
  let zones = new Map<string, Set<string>>()
  let types = new Set<string>()
  let prices = new Map<string, MicroUsd>()
  return {
    async load() {
      const byRegion = Map.groupBy(await store.zones(), ({ region }) => region)
      zones = new Map([...byRegion].map(([region, own]) => [region, new Set(own.map(({ name }) => name))]))
      types = new Set((await store.instanceTypes()).map(({ instanceType }) => instanceType))
      prices = new Map(
        (await store.onDemand()).map(({ region, instanceType, price }) => [
          `${instanceType} ${region}`,
          price,
        ]),
      )
    },
    isKnownZone: (zone) => zones.get(regionOf(zone))?.has(zone),
    isKnownType: (type) => (types.size === 0 ? undefined : types.has(type)),
    onDemand: ({ instanceType, availabilityZone }) =>
      prices.get(`${instanceType} ${regionOf(availabilityZone)}`),
  }
}
