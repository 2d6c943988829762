import { messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, type Millis, type Mono, millis } from '@understudy/shared/core/time'
import { poolId } from '@understudy/shared/market/pool'
import type { Logger } from 'pino'
import type { Cloud, PoolOffer } from '../cloud/cloud.ts'

const REFRESH = millis(5000)

/** The last known offers, so that looking at a price never waits for the cloud. */
export interface Offers extends Service {
  current(): readonly PoolOffer[]
  of(pool: string): PoolOffer | undefined
  refresh(): Promise<readonly PoolOffer[]>
  noteEmpty(pool: string): void
  /** Pools that have just refused a launch, the longest ago first. */
  emptyPools(): ReadonlySet<string>
}

/** @param emptyFor how long a pool that refused a launch is passed over */
export function createOffers(cloud: Cloud, clock: Clock, log: Logger, emptyFor: Millis): Offers {
  let offers: readonly PoolOffer[] = []
  const empty = new Map<string, Mono>()

  async function refresh(): Promise<readonly PoolOffer[]> {
    offers = await cloud.offers(AbortSignal.timeout(5000))
    return offers
  }

  return {
    name: 'offers',
    current: () => offers,
    of: (pool) => offers.find((offer) => poolId(offer.pool) === pool),
    refresh,
    noteEmpty(pool) {
      empty.delete(pool)
      empty.set(pool, clock.mono())
    },
    emptyPools() {
      const now = clock.mono()
      for (const [pool, since] of empty) if (now - since > emptyFor) empty.delete(pool)
      return new Set(empty.keys())
    },
    run: (signal) =>
      everyPeriod(clock, REFRESH, signal, () =>
        refresh().then(
          () => undefined,
          (error: unknown) => log.warn({ event: 'offers.stale', why: messageOf(error) }),
        ),
      ),
  }
}
