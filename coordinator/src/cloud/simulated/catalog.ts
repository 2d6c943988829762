import { fromUsd, type MicroUsd } from '@understudy/shared/core/money'
import { type InterruptionBand, type Pool, poolId } from '@understudy/shared/market/pool'

/** What the simulated region sells: five instance types in four zones. */
export interface CatalogPool {
  readonly id: string
  readonly pool: Pool
  readonly onDemandPrice: MicroUsd
  readonly interruptionBand: InterruptionBand
}

export const REGION = 'us-east-1'
const zones = ['a', 'b', 'c', 'd'].map((letter) => `${REGION}${letter}`)

/** On-demand prices in dollars per hour, and a band per zone as the Spot Advisor could show them. */
const types: readonly { name: string; onDemand: number; bands: readonly InterruptionBand[] }[] = [
  { name: 'm5.large', onDemand: 0.096, bands: [1, 2, 0, 1] },
  { name: 'm6i.large', onDemand: 0.096, bands: [0, 1, 1, 2] },
  { name: 'c5.large', onDemand: 0.085, bands: [2, 1, 3, 0] },
  { name: 'c6i.large', onDemand: 0.085, bands: [1, 0, 2, 1] },
  { name: 'r5.large', onDemand: 0.126, bands: [0, 3, 1, 1] },
]

export const catalog: readonly CatalogPool[] = types.flatMap(({ name, onDemand, bands }) =>
  zones.map((availabilityZone, index) => {
    const pool = { instanceType: name, availabilityZone }
    return {
      id: poolId(pool),
      pool,
      onDemandPrice: fromUsd(onDemand),
      interruptionBand: bands[index] ?? 1,
    }
  }),
)

/** `us-east-1a` → `use1-az1`: in an account of its own every zone name may stand for another zone. */
export const zoneIdOf = (availabilityZone: string): string => `use1-az${zones.indexOf(availabilityZone) + 1}`
