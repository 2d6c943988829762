import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import { toUsd } from '@understudy/shared/core/money'
import { type Clock, hours, type Instant } from '@understudy/shared/core/time'
import { interruptionBands, parsePool, regionOf } from '@understudy/shared/market/pool'
import {
  catalogQuerySchema,
  onDemandPricesSchema,
  type PriceFetch,
  priceFetchRequestSchema,
  priceFetchSchema,
  type SpotPrices,
  spotAdvisorSchema,
  spotPricesQuerySchema,
  spotPricesSchema,
} from '@understudy/shared/protocol/market'
import {
  type Api,
  type Audit,
  actorOf,
  answer,
  createRoutes,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'
import type { CatalogSourceRow } from '../storage/database.ts'
import { type Backfill, type FetchStatus, statusOf } from './backfill.ts'
import type { CatalogPage, CatalogStore } from './catalog-store.ts'
import { type FetchStore, mustFetch, type StoredFetch } from './fetch-store.ts'
import { rangeOf } from './market.routes.ts'
import type { Market } from './market.ts'
import { timeOf, timeOrNull } from './market-views.ts'

export interface PricingRoutesPorts {
  readonly market: Market
  readonly catalog: CatalogStore
  readonly fetches: FetchStore
  /** Undefined where there is nothing to fetch from. */
  readonly backfill: Backfill | undefined
  readonly audit: Audit
  readonly clock: Clock
}

const DAY = hours(24)
const MOST_DAYS = 400

const fetchParams = z.object({ task_id: z.uuid() })
const fetchList = z.object({ items: z.array(priceFetchSchema) })

/** The price pages of the ML server, under its paths. */
export function pricingRoutes(ports: PricingRoutesPorts): Api {
  const { market, catalog, fetches, audit, clock } = ports
  const viewer = requireRole('viewer')
  const operator = requireRole('operator')
  const stored = (fetch: StoredFetch): PriceFetch => fetchView(statusOf(fetch, clock.now()))
  const mustBackfill = (): Backfill => {
    if (ports.backfill) return ports.backfill
    throw new AppError('not_supported', 'this coordinator has no source to fetch prices from', {
      hint: 'Start it with AWS_REGION and credentials, or import a file: coordinator import prices FILE',
    })
  }

  return createRoutes()
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/pricing/spot',
        summary:
          'Real spot prices by bucket, the latest first; of every pool the last one when no time is given',
        middleware: viewer,
        request: { query: spotPricesQuerySchema },
        responses: { 200: answer('Spot prices', spotPricesSchema), ...problems },
      }),
      async (c) => c.json(await spotPrices(c.req.valid('query')), 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/pricing/on-demand',
        summary: 'On-demand prices, with their source and age',
        middleware: viewer,
        request: { query: catalogQuerySchema },
        responses: { 200: answer('On-demand prices', onDemandPricesSchema), ...problems },
      }),
      async (c) => {
        const query = c.req.valid('query')
        const sources = (await catalog.sources()).filter(({ name }) => name.startsWith('on-demand/'))
        const { page, next } = onePage(await catalog.onDemandPage(pageQuery(query)), query.limit)
        return c.json(
          {
            sources: sources.map(sourceView),
            items: page.map((price) => ({
              instance_type: price.instanceType,
              region: price.region,
              os: price.os,
              on_demand_price: toUsd(price.price),
              source: price.source,
              as_of: timeOrNull(price.asOf),
              fetched_at: timeOf(price.fetchedAt),
            })),
            next,
          },
          200,
        )
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/pricing/spot-advisor',
        summary: 'The five bands of the Spot Advisor, with their age',
        middleware: viewer,
        request: { query: catalogQuerySchema },
        responses: { 200: answer('The Spot Advisor', spotAdvisorSchema), ...problems },
      }),
      async (c) => {
        const query = c.req.valid('query')
        const source = await catalog.source('spot-advisor')
        const { page, next } = onePage(await catalog.advisorPage(pageQuery(query)), query.limit)
        return c.json(
          {
            ...(source
              ? sourceView(source)
              : { source: 'none yet', as_of: null, fetched_at: null, error: null }),
            items: page.map((entry) => ({
              instance_type: entry.instanceType,
              region: entry.region,
              os: entry.os,
              interruption_band: entry.band,
              interruption_range: interruptionBands[entry.band],
              savings_percent: entry.savingsPercent,
            })),
            next,
          },
          200,
        )
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/ml/pricing/fetch',
        summary: 'Fetches price histories of EC2, up to 90 days; it goes on by itself, also after a restart',
        middleware: operator,
        request: { body: requiredJson(priceFetchRequestSchema) },
        responses: { 202: answer('It is queued', priceFetchSchema), ...problems },
      }),
      async (c) => {
        const { instance_types: instanceTypes, regions, days } = c.req.valid('json')
        const now = clock.now()
        const fetch = await mustBackfill().startFetch(
          { instanceTypes, regions, from: (now - days * DAY) as Instant, to: now },
          'manual',
        )
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'prices.fetch',
          object: fetch.id,
          after: { instance_types: instanceTypes, regions, days },
        })
        return c.json(fetchView(fetch), 202)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/pricing/fetch',
        summary: 'The last fetches and imports',
        middleware: viewer,
        responses: { 200: answer('Fetches', fetchList), ...problems },
      }),
      async (c) => c.json({ items: (await fetches.list(50)).map(stored) }, 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/pricing/fetch/{task_id}',
        summary: 'How far a fetch is',
        middleware: viewer,
        request: { params: fetchParams },
        responses: { 200: answer('The fetch', priceFetchSchema), ...problems },
      }),
      async (c) => c.json(stored(await mustFetch(fetches, c.req.valid('param').task_id)), 200),
    )
    .openapi(
      route({
        method: 'delete',
        path: '/api/v1/ml/pricing/fetch/{task_id}',
        summary: 'Ends a fetch; what it has fetched stays',
        middleware: operator,
        request: { params: fetchParams },
        responses: { 200: answer('The fetch', priceFetchSchema), ...problems },
      }),
      async (c) => {
        const { task_id: id } = c.req.valid('param')
        const fetch = await mustBackfill().cancelFetch(id)
        await audit.record({ actor: actorOf(c.get('principal')), action: 'prices.fetch_cancel', object: id })
        return c.json(fetchView(fetch), 200)
      },
    )

  async function spotPrices(query: z.infer<typeof spotPricesQuerySchema>): Promise<SpotPrices> {
    const { pool, instance_type: type, region, from, to, limit, cursor } = query
    const pools = (await market.pools())
      .filter(
        (known) =>
          (pool === undefined || known.poolId === pool) &&
          (type === undefined || known.instanceType === type) &&
          (region === undefined || known.region === region),
      )
      .map(({ poolId: id }) => id)
      .sort()
    if (from === undefined && to === undefined) {
      const latest = await market.latest(pools)
      const rows = pools.flatMap((id) => {
        const price = latest.get(id)
        return price ? [{ key: id, row: { id, ...price } }] : []
      })
      const { page, next } = pageOf(rows, limit, cursor)
      return { items: page.map(({ row }) => spotPriceView(row)), next }
    }
    const [only, ...others] = pools
    if (only === undefined) return { items: [], next: null }
    if (others.length > 0)
      throw new AppError(
        'input_invalid',
        `${pools.length} pools match; a time can be asked for one of them`,
        {
          hint: 'Name it: ?pool=c5.large@us-east-1a',
        },
      )
    const range = rangeOf({ from, to }, clock.now(), DAY, MOST_DAYS)
    const rows = (await market.series(only, range)).flatMap(({ at, price, source, confidence }) =>
      price === null || source === null || source === 'interpolated' || confidence === null
        ? []
        : [{ key: String(Number.MAX_SAFE_INTEGER - at), row: { id: only, at, price, source, confidence } }],
    )
    const { page, next } = pageOf(rows.reverse(), limit, cursor)
    return { items: page.map(({ row }) => spotPriceView(row)), next }
  }
}

function spotPriceView(row: {
  readonly id: string
  readonly at: Instant
  readonly price: Parameters<typeof toUsd>[0]
  readonly source: 'primary' | 'replica' | 'history'
  readonly confidence: number
}): SpotPrices['items'][number] {
  const pool = parsePool(row.id)
  return {
    instance_type: pool.instanceType,
    availability_zone: pool.availabilityZone,
    region: regionOf(pool.availabilityZone),
    product: 'Linux/UNIX',
    at: timeOf(row.at),
    spot_price: toUsd(row.price),
    data_source: row.source,
    confidence: row.confidence / 100,
  }
}

/** One more than is shown, which tells whether there is a next page. */
function pageQuery(query: z.infer<typeof catalogQuerySchema>): CatalogPage {
  const { region, instance_type: instanceType, os, limit, cursor } = query
  const [, afterRegion, afterType] = /^([a-z\d-]+) ([a-z\d.-]+)$/.exec(cursor ?? '') ?? []
  if (cursor !== undefined && !afterRegion)
    throw new AppError('input_invalid', 'the cursor is not one that this call gave', {
      hint: 'Leave it out to begin with the first page.',
    })
  const after = afterRegion && afterType ? { region: afterRegion, instanceType: afterType } : undefined
  return { region, instanceType, os, after, limit: limit + 1 }
}

function onePage<T extends { readonly region: string; readonly instanceType: string }>(
  found: readonly T[],
  limit: number,
): { page: readonly T[]; next: string | null } {
  const page = found.slice(0, limit)
  const last = page.at(-1)
  return { page, next: last && found.length > limit ? `${last.region} ${last.instanceType}` : null }
}

/** One page of what is at hand, in the order of its keys. */
function pageOf<T extends { readonly key: string }>(
  all: readonly T[],
  limit: number,
  cursor: string | undefined,
): { page: readonly T[]; next: string | null } {
  const rest = cursor === undefined ? all : all.filter(({ key }) => key > cursor)
  const sorted = rest.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  const page = sorted.slice(0, limit)
  return { page, next: sorted.length > limit ? (page.at(-1)?.key ?? null) : null }
}

const sourceView = ({ url, as_of: asOf, fetched_at: fetchedAt, error }: CatalogSourceRow) => ({
  source: url,
  as_of: timeOrNull(asOf),
  fetched_at: timeOrNull(fetchedAt),
  error,
})

const fetchView = (fetch: FetchStatus): PriceFetch => ({
  task_id: fetch.id,
  kind: fetch.kind,
  status: fetch.status,
  percent_complete: fetch.percent,
  done: fetch.done,
  total: fetch.total,
  rows_written: fetch.rows,
  rows_refused: fetch.cursor.refused,
  not_offered: [...fetch.cursor.notOffered],
  eta_seconds: fetch.eta === null ? null : Math.round(fetch.eta / 1000),
  error: fetch.error,
  created_at: timeOf(fetch.createdAt),
  started_at: timeOrNull(fetch.startedAt),
  ended_at: timeOrNull(fetch.endedAt),
})
