import { createSerial } from '@understudy/shared/core/serial'
import { hours, type Instant, instant } from '@understudy/shared/core/time'
import { type KnownPrices, knownPrices } from '@understudy/shared/market/known-prices'
import { LOOKBACK_H } from '@understudy/shared/market/own-features'
import { isPoolId, type Pool, parsePool, regionOf } from '@understudy/shared/market/pool'
import type { Market } from '../market/market.ts'

/** What is looked back over, and an hour until a path is made anew. */
const KEPT = hours(LOOKBACK_H + 1)

/** A pool with the prices of the past week. `known` is replaced as prices come. */
export interface PricedPool {
  readonly id: string
  readonly pool: Pool
  known: KnownPrices | undefined
}

/**
 * The last 168 h of every pool's prices in memory, so that features of all pools take milliseconds. Pools of which prices
 * come are read again when they are asked for; all of them are once an hour, which drops what has grown old and finds what
 * another process has written.
 */
export interface PoolPrices {
  /** Reads what has come since. */
  refresh(): Promise<void>
  /** Reads every pool again. */
  reread(): Promise<void>
  /** The pools of a region. The list is another one when a pool was added. */
  inRegion(region: string): readonly PricedPool[]
  regions(): readonly string[]
  find(poolId: string): PricedPool | undefined
}

export function createPoolPrices(
  market: Pick<Market, 'facts' | 'pools' | 'watch'>,
  now: () => Instant,
): PoolPrices {
  const pools = new Map<string, PricedPool>()
  const regions = new Map<string, readonly PricedPool[]>()
  const changed = new Set<string>()
  const inOrder = createSerial()
  let all: Promise<void> | undefined
  market.watch((id) => void changed.add(id))

  function add(id: string): PricedPool {
    const pool = parsePool(id)
    const added = { id, pool, known: undefined }
    pools.set(id, added)
    const region = regionOf(pool.availabilityZone)
    regions.set(region, [...(regions.get(region) ?? []), added])
    return added
  }

  async function read(ids: readonly string[]): Promise<void> {
    // To the end of the present millisecond: what holds now counts.
    const range = { from: instant(now() - KEPT), to: instant(now() + 1) }
    for (const [id, facts] of await market.facts(ids, range))
      (pools.get(id) ?? add(id)).known = knownPrices(facts, range)
  }

  async function readChanged(): Promise<void> {
    const ids = [...changed].filter(isPoolId)
    changed.clear()
    try {
      if (ids.length > 0) await read(ids)
    } catch (error) {
      for (const id of ids) changed.add(id)
      throw error
    }
  }

  const readAll = async () => {
    for (const { poolId } of await market.pools()) changed.add(poolId)
    await inOrder(readChanged)
  }

  /** Once; whoever asks meanwhile waits for it. */
  const firstRead = () => {
    all ??= readAll().catch((error: unknown) => {
      all = undefined
      throw error
    })
    return all
  }

  return {
    async refresh() {
      await firstRead()
      if (changed.size > 0) await inOrder(readChanged)
    },
    async reread() {
      const isFirst = all === undefined
      await firstRead()
      if (!isFirst) await readAll()
    },
    inRegion: (region) => regions.get(region) ?? [],
    regions: () => [...regions.keys()].sort(),
    find: (id) => pools.get(id),
  }
}
