import { fromUsd, microUsd } from '@understudy/shared/core/money'
import { instant } from '@understudy/shared/core/time'
import { poolId } from '@understudy/shared/market/pool'
import type { CatalogPool } from '../../coordinator/src/cloud/simulated/catalog.ts'
import { REGION } from '../../coordinator/src/cloud/simulated/catalog.ts'
import type { SimulatedMarket } from '../../coordinator/src/cloud/simulated/market.ts'
import { createPriceHistory } from '../../coordinator/src/cloud/simulated/price-history.ts'

/** A trace says nothing of prices: every zone costs the same, and this part of the price on demand. */
export const SPOT_SHARE = 0.3
const ON_DEMAND = fromUsd(3.06)
const TYPE = 'p3.2xlarge'

/** The simulated region has one pool for each zone of the trace, called a, b, c and so on in their order. */
export const poolsFor = (zones: readonly string[]): readonly CatalogPool[] =>
  zones.map((_, index) => {
    const pool = { instanceType: TYPE, availabilityZone: `${REGION}${String.fromCharCode(97 + index)}` }
    // As the Spot Advisor has it of scarce accelerators: its highest band.
    return { id: poolId(pool), pool, onDemandPrice: ON_DEMAND, interruptionBand: 4 }
  })

/** A market whose prices stand still and whose capacity is what `hasCapacity` says at that moment. */
export function traceMarket(
  pools: readonly CatalogPool[],
  hasCapacity: (pool: string) => boolean,
): SimulatedMarket {
  const price = microUsd(Math.round(ON_DEMAND * SPOT_SHARE))
  const ids = new Set(pools.map(({ id }) => id))
  const history = createPriceHistory()
  for (const id of ids) history.note(id, instant(0), price)
  const state = (id: string) =>
    ids.has(id)
      ? { id, price, regime: 'calm' as const, hasCapacity: hasCapacity(id), interruptionsPerHour: 0 }
      : undefined
  return {
    history,
    state,
    states: () => [...ids].flatMap((id) => state(id) ?? []),
    advance: () => undefined,
    force: () => undefined,
  }
}
