import type { AgentId } from '@understudy/shared/core/ids'
import { fromUsd, type MicroUsd } from '@understudy/shared/core/money'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, hours, type Millis, millis } from '@understudy/shared/core/time'
import { type Pool, parsePool, poolId } from '@understudy/shared/market/pool'
import type { Known } from '@understudy/shared/market/sample'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { InstanceType } from '../cloud/catalog-source.ts'
import type { PoolOffer } from '../cloud/cloud.ts'
import type { PriceSources } from '../cloud/price-sources.ts'
import type { Api, Audit } from '../http/http.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { type Backfill, createBackfill } from './backfill.ts'
import { createCatalog } from './catalog.ts'
import { createCatalogStore } from './catalog-store.ts'
import { createDailyBackfill, readInUse } from './daily-backfill.ts'
import { createFetchStore } from './fetch-store.ts'
import { createKnownBands } from './known-bands.ts'
import { marketRoutes } from './market.routes.ts'
import { createMarket, type Market } from './market.ts'
import { createMarketMetrics } from './market-metrics.ts'
import { createPoolViews } from './pool-views.ts'
import { createSubmitPrices } from './price-submissions.ts'
import { pricingRoutes } from './pricing.routes.ts'
import { createSavingsBook, type SavingsBook } from './savings.ts'

/** The options that concern prices, under their names (config/options.ts). */
export interface MarketSettings {
  readonly cloud: 'manual' | 'simulated'
  readonly aws_region: readonly string[]
  readonly spot_advisor_url: string
  readonly gap_filler_enabled: boolean
  /** In days, as is the other one. */
  readonly price_retention: number
  readonly submission_retention: number
  /** In per cent of the list price. */
  readonly on_demand_rate: number
  /** In dollars. */
  readonly switch_cost?: number | undefined
}

export interface OpenMarketParts {
  readonly config: MarketSettings
  readonly database: OpenDatabase
  /** Undefined where there is only what agents see. */
  readonly sources: PriceSources | undefined
  readonly registry: Registry
  /** What the cloud offers now: the word of a simulated region on what is not in the catalog. */
  readonly offers: () => readonly PoolOffer[]
  readonly poolOf: (agentId: AgentId) => Promise<string | undefined>
  /** What the active model says of a pool. */
  readonly riskOf: (poolId: string) => number | null
  readonly audit: Audit
  readonly clock: Clock
  readonly log: Logger
}

export interface OpenMarket {
  readonly market: Market
  readonly savings: SavingsBook
  /** Pools of which a price is known, as they are now. */
  poolsIn(region: string): Promise<readonly PoolView[]>
  instanceTypes(): Promise<readonly InstanceType[]>
  /** The Spot Advisor's bands, or a simulated region's, of pools of which one is known. */
  bandsOf: ReturnType<typeof createKnownBands>
  onDemandOf(pool: Pool): MicroUsd | undefined
  /** Types whose prices are seen, known or needed by an instance in these regions. */
  typesInUse(
    regions: readonly string[],
  ): Promise<readonly { readonly instanceType: string; readonly region: string }[]>
  /** Undefined where there is nothing to fetch from. */
  readonly backfill: Backfill | undefined
  readonly routes: readonly Api[]
  readonly services: readonly Service[]
  /** Reads what prices are measured against; to be done before any comes. */
  load(): Promise<void>
}

const days = (value: number): Millis => millis(value * hours(24))

/** The market of one coordinator: prices, catalog, backfill and savings put together. */
export function openMarket(parts: OpenMarketParts): OpenMarket {
  const { config, database, sources, offers, audit, clock, log } = parts
  const { bulk: db } = database
  const store = createCatalogStore(db)
  const fetches = createFetchStore(db)
  const isSimulated = config.cloud === 'simulated'
  const catalog = createCatalog({
    store,
    source: sources?.catalog,
    regions: config.aws_region,
    advisorUrl: config.spot_advisor_url,
    fetch: globalThis.fetch,
    clock,
    log,
  })
  const offered = (pool: Pool): PoolOffer | undefined =>
    offers().find((offer) => poolId(offer.pool) === poolId(pool))
  const onDemandOf = (pool: Pool): MicroUsd | undefined =>
    catalog.known.onDemand(pool) ?? offered(pool)?.onDemandPrice
  const known = (): Known => ({
    now: clock.now(),
    isKnownZone: catalog.known.isKnownZone,
    isKnownType: catalog.known.isKnownType,
    onDemand: onDemandOf,
  })

  const backfill: Backfill | undefined =
    sources &&
    createBackfill({
      source: sources.history,
      sink: { recordHistory: (...given) => market.recordHistory(...given) },
      store: fetches,
      // Not the types: what EC2 no longer sells has a history too.
      known: () => ({ now: clock.now(), isKnownZone: catalog.known.isKnownZone, onDemand: onDemandOf }),
      clock,
      log,
    })
  const daily =
    backfill &&
    config.aws_region.length > 0 &&
    createDailyBackfill({
      db,
      regions: config.aws_region,
      isKnownType: catalog.known.isKnownType,
      startFetch: backfill.startFetch,
      clock,
      log,
    })
  const { now: _now, ...measures } = known()
  const market: Market = createMarket({
    db,
    clock,
    log,
    known: measures,
    retention: {
      submissions: days(config.submission_retention),
      prices: days(config.price_retention),
    },
    gapFiller: config.gap_filler_enabled,
    history: backfill,
    onScan: (result) => metrics.scanned(result),
  })
  const savings = createSavingsBook({
    db,
    clock,
    pricesOf: async (pool, range) => ({
      samples: await market.samples(pool, range),
      ...(await market.history(pool, range)),
    }),
    onDemandOf: (pool) => Promise.resolve(onDemandOf(parsePool(pool))),
    onDemandRate: config.on_demand_rate,
    switchCost: config.switch_cost === undefined ? undefined : fromUsd(config.switch_cost),
  })
  const metrics = createMarketMetrics({ registry: parts.registry, db, catalog: store, savings, clock })
  const pools = createPoolViews({ market, catalog: store, offered, riskOf: parts.riskOf })

  return {
    market,
    savings,
    poolsIn: async (region) => (await pools.list({ region, limit: Number.MAX_SAFE_INTEGER })).items,
    instanceTypes: store.instanceTypes,
    bandsOf: createKnownBands(store, offered),
    onDemandOf,
    typesInUse: async (regions) =>
      regions.length === 0
        ? []
        : (await readInUse(db, regions, clock.now()))
            .filter(({ until, lacks }) => until.length > 0 || lacks)
            .map(({ instanceType, region }) => ({ instanceType, region })),
    backfill,
    routes: [
      marketRoutes({
        market,
        submit: createSubmitPrices({ db, market, known, onResult: metrics.submitted }),
        savings,
        pools,
        poolOf: parts.poolOf,
        audit,
        clock,
      }),
      pricingRoutes({ market, catalog: store, fetches, backfill, audit, clock }),
    ],
    // The Spot Advisor speaks of real pools; a simulated region says itself how risky each of its pools is.
    services: [
      ...(isSimulated ? [] : [catalog]),
      ...(backfill ? [backfill] : []),
      ...(daily ? [daily] : []),
      ...market.services,
    ],
    load: () => catalog.known.load(),
  }
}
