import { toUsd } from '@understudy/shared/core/money'
import { hours } from '@understudy/shared/core/time'
import { regionOf } from '@understudy/shared/market/pool'
import type { HistorySource } from '../history-source.ts'
import type { CatalogPool } from './catalog.ts'
import type { PriceHistory } from './price-history.ts'

/** The simulated market's own history, for whoever lives in its process; everybody else asks its EC2 Query API. */
export const createSimulatedHistory = (
  pools: readonly CatalogPool[],
  history: Pick<PriceHistory, 'between'>,
): HistorySource => ({
  reach: hours(90 * 24),
  silence: null,
  async *fetch({ region, instanceTypes, availabilityZone, range }, signal) {
    for (const { id, pool } of pools) {
      signal.throwIfAborted()
      if (regionOf(pool.availabilityZone) !== region || !instanceTypes.includes(pool.instanceType)) continue
      if (availabilityZone !== undefined && pool.availabilityZone !== availabilityZone) continue
      const changes = history.between(id, range.from, range.to)
      yield await Promise.resolve(changes.map(({ at, price }) => ({ pool: id, at, price: toUsd(price) })))
    }
  },
})
