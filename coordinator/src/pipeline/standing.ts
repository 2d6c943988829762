import {
  type Clock,
  hours,
  type Instant,
  instant,
  type Mono,
  plus,
  seconds,
} from '@understudy/shared/core/time'
import { parsePool, poolId, regionOf } from '@understudy/shared/market/pool'
import type { Offer } from '@understudy/shared/pipeline/context'
import { AGAIN_AFTER, type Order, type StandingNow } from '@understudy/shared/pipeline/preconditions'
import type { ActionStore } from './action-store.ts'
import type { InstanceConfigs } from './instance-configs.ts'
import type { PolicyOf } from './pipeline-input.ts'
import { type RegionSources, regionOffers } from './region-offers.ts'
import type { Targets } from './targets.ts'

/** The prices of a region need not be read anew for every target that is about to move. */
const PRICES_KEPT = seconds(10)
/** A move ends within an hour of its decision, unless a coordinator was missing in between. */
const LOOKED_BACK = AGAIN_AFTER + hours(1)

/** How a target stands at the moment of acting, read anew. */
export function createStanding(parts: {
  readonly targets: Pick<Targets, 'one' | 'movesLeft'>
  readonly configs: Pick<InstanceConfigs, 'get'>
  readonly actions: Pick<ActionStore, 'lastFailure'>
  readonly sourcesOf: (region: string) => Promise<RegionSources>
  readonly policyOf: PolicyOf
  readonly voluntaryMovesAllowed: () => StandingNow['voluntaryMoves']
  readonly clock: Clock
}): (order: Order) => Promise<StandingNow> {
  const { targets, configs, actions, policyOf, clock } = parts
  const kept = new Map<string, { until: Mono; offers: Promise<readonly Offer[]> }>()

  function offersIn(region: string): Promise<readonly Offer[]> {
    const known = kept.get(region)
    if (known && clock.mono() < known.until) return known.offers
    const offers = parts.sourcesOf(region).then((sources) => regionOffers(region, sources))
    kept.set(region, { until: plus(clock.mono(), PRICES_KEPT), offers })
    offers.catch(() => kept.delete(region))
    return offers
  }

  async function priceOf(pool: string): Promise<{ usd: number; at: Instant } | null> {
    const offers = await offersIn(regionOf(parsePool(pool).availabilityZone))
    const offer = offers.find((one) => poolId(one) === pool)
    return offer ? { usd: offer.spotUsd, at: offer.priceAt } : null
  }

  return async (order) => {
    const target = await targets.one(order.targetId)
    const config = await configs.get(order.targetId)
    return {
      now: clock.now(),
      primary: target?.instanceId ?? null,
      epoch: target?.epoch ?? 0,
      term: target?.term ?? 0,
      openIncident: target?.openIncident ?? null,
      autoSwitch: target?.autoSwitch ?? false,
      enabled: config.enabled,
      level: config.level,
      targetPrice: order.targetPoolId === null ? null : await priceOf(order.targetPoolId),
      maxPriceAge: policyOf(config, undefined).maxPriceAge,
      lastFailure: await actions.lastFailure(order, instant(clock.now() - LOOKED_BACK)),
      movesLeft: await targets.movesLeft(order.targetId),
      voluntaryMoves: parts.voluntaryMovesAllowed(),
    }
  }
}
