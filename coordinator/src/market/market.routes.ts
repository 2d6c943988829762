import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import type { AgentId } from '@understudy/shared/core/ids'
import { toUsd } from '@understudy/shared/core/money'
import {
  type Clock,
  hours,
  type Instant,
  instant,
  type Millis,
  millis,
  plus,
} from '@understudy/shared/core/time'
import { BUCKET, bucketFrom, bucketOf } from '@understudy/shared/market/bucket'
import { decimate } from '@understudy/shared/market/decimate'
import type { Interval } from '@understudy/shared/market/interval'
import type { SeriesPoint } from '@understudy/shared/market/series'
import {
  gapListQuerySchema,
  gapListSchema,
  gapScanRequestSchema,
  gapScanResultSchema,
  gapUndoResultSchema,
  type PriceSeries,
  priceSeriesQuerySchema,
  priceSeriesSchema,
  priceSubmissionResultSchema,
  priceSubmissionSchema,
  savingsSchema,
} from '@understudy/shared/protocol/market'
import { poolIdSchema, timeSchema } from '@understudy/shared/protocol/primitives'
import {
  type Api,
  type Audit,
  actorOf,
  agentParams,
  answer,
  createRoutes,
  problems,
  requiredJson,
  requireOperatorOrAgent,
  requireRole,
  route,
} from '../http/http.ts'
import type { Market } from './market.ts'
import { gapViewOf, timeOf } from './market-views.ts'
import { poolRoutes } from './pool.routes.ts'
import type { PoolViews } from './pool-views.ts'
import type { SubmitPrices } from './price-submissions.ts'
import type { SavingsBook } from './savings.ts'

export interface MarketRoutesPorts {
  readonly market: Market
  readonly submit: SubmitPrices
  readonly savings: SavingsBook
  readonly pools: PoolViews
  /** The pool of the agent's primary. @throws AppError `not_found` */
  readonly poolOf: (agentId: AgentId) => Promise<string | undefined>
  readonly audit: Audit
  readonly clock: Clock
}

const DAY: Millis = hours(24)
const DAYS_30: Millis = hours(30 * 24)
/** As much of one pool is read at once. */
const MOST_DAYS = 400
/** A scan by hand; what runs by itself looks at one day. */
const MOST_SCANNED_DAYS = 100

/** Prices as agents see them, where something is missing, and what spot has saved. */
export function marketRoutes(ports: MarketRoutesPorts): Api {
  const { market, clock, audit } = ports
  const viewer = requireRole('viewer')
  const operator = requireRole('operator')

  return createRoutes()
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/pricing',
        summary: 'Prices that an instance has seen; the same ones again change nothing',
        request: { params: agentParams, body: requiredJson(priceSubmissionSchema) },
        responses: { 200: answer('What was made of each row', priceSubmissionResultSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const principal = requireOperatorOrAgent(c, id)
        const instanceId = principal.kind === 'agent' ? principal.instanceId : null
        return c.json(await ports.submit({ agentId: id, instanceId }, c.req.valid('json')), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/pricing',
        summary:
          'The price of a pool over time, at most `points` of it; where nothing is known, nothing is drawn',
        middleware: viewer,
        request: { params: agentParams, query: priceSeriesQuerySchema },
        responses: { 200: answer('The series', priceSeriesSchema), ...problems },
      }),
      async (c) => {
        const { pool: named, from, to, points } = c.req.valid('query')
        const { id } = c.req.valid('param')
        const primary = await ports.poolOf(id)
        const pool = named ?? primary
        if (pool === undefined)
          throw new AppError('not_ready', `${id} has no primary yet, so it has no pool`, {
            hint: 'Name one: ?pool=c5.large@us-east-1a',
          })
        const range = rangeOf({ from, to }, clock.now(), DAY, MOST_DAYS)
        const series = await market.series(pool, range)
        return c.json(seriesView(pool, range, series, points), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/pools/{pool_id}/pricing',
        summary: 'The price of a pool over time, whether or not an agent is there; at most `points` of it',
        middleware: viewer,
        request: { params: poolParams, query: priceSeriesQuerySchema.omit({ pool: true }) },
        responses: { 200: answer('The series', priceSeriesSchema), ...problems },
      }),
      async (c) => {
        const { from, to, points } = c.req.valid('query')
        const { pool_id: pool } = c.req.valid('param')
        const range = rangeOf({ from, to }, clock.now(), DAY, MOST_DAYS)
        return c.json(seriesView(pool, range, await market.series(pool, range), points), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/savings',
        summary: 'What spot has saved for one agent, net of double running; the last 30 days unless said',
        middleware: viewer,
        request: { params: agentParams, query: rangeQuery },
        responses: { 200: answer('Savings', savingsSchema), ...problems },
      }),
      async (c) => {
        const range = rangeOf(c.req.valid('query'), clock.now(), DAYS_30, MOST_DAYS)
        return c.json(await ports.savings.of(c.req.valid('param').id, range), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/savings',
        summary: 'What spot has saved for the whole fleet',
        middleware: viewer,
        request: { query: rangeQuery },
        responses: { 200: answer('Savings', savingsSchema), ...problems },
      }),
      async (c) => {
        const range = rangeOf(c.req.valid('query'), clock.now(), DAYS_30, MOST_DAYS)
        return c.json(await ports.savings.of(null, range), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/market/gaps',
        summary: 'Where prices are missing and what was done about it, the latest first',
        middleware: viewer,
        request: { query: gapListQuerySchema },
        responses: { 200: answer('Gaps', gapListSchema), ...problems },
      }),
      async (c) => {
        const { pool, from, to, limit, cursor } = c.req.valid('query')
        const isBounded = from !== undefined || to !== undefined
        const { items, next } = await market.gaps({
          poolId: pool,
          range: isBounded ? rangeOf({ from, to }, clock.now(), DAY, MOST_DAYS) : undefined,
          limit,
          cursor,
        })
        return c.json({ items: items.map(gapViewOf), next }, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/market/gaps/scan',
        summary: 'Looks for gaps and fills them: from history where it can be had, else by interpolation',
        middleware: operator,
        request: { body: requiredJson(gapScanRequestSchema) },
        responses: { 200: answer('What was found and filled', gapScanResultSchema), ...problems },
      }),
      async (c) => {
        const { pools, from, to, fill } = c.req.valid('json')
        const range = rangeOf({ from, to }, clock.now(), DAY, MOST_SCANNED_DAYS)
        const {
          batchId,
          millis: took,
          ...counts
        } = await market.scan({ pools, range, fill }, c.req.raw.signal)
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'gaps.scan',
          object: batchId,
          after: { ...counts, from: timeOf(range.from), to: timeOf(range.to) },
        })
        return c.json(
          {
            batch_id: batchId,
            from: timeOf(range.from),
            to: timeOf(range.to),
            ...counts,
            took_ms: Math.round(took),
          },
          200,
        )
      },
    )
    .openapi(
      route({
        method: 'delete',
        path: '/api/market/gaps/batches/{batch}',
        summary: 'Takes back what one scan has interpolated',
        middleware: operator,
        request: { params: z.object({ batch: z.uuid() }) },
        responses: { 200: answer('What was taken back', gapUndoResultSchema), ...problems },
      }),
      async (c) => {
        const { batch } = c.req.valid('param')
        const undone = await market.undo(batch)
        if (undone.gaps === 0)
          throw new AppError('not_found', `no gap is filled by the batch ${batch}`, {
            hint: 'GET /api/market/gaps shows the batch of each gap. It may have been taken back, or real prices have come.',
          })
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'gaps.undo',
          object: batch,
          after: undone,
        })
        return c.json({ batch_id: batch, ...undone }, 200)
      },
    )
    .route('/', poolRoutes(ports.pools))
}

const poolParams = z.object({ pool_id: poolIdSchema })
const rangeQuery = z.strictObject({ from: timeSchema.optional(), to: timeSchema.optional() })

/**
 * From and to, of which either may be left out, in whole buckets; without an end, up to the bucket of now.
 * @throws AppError `input_invalid` when they are the wrong way round or too far apart
 */
export function rangeOf(
  given: { readonly from?: string | undefined; readonly to?: string | undefined },
  now: Instant,
  unlessSaid: Millis,
  mostDays: number,
): Interval {
  const end = given.to === undefined ? plus(bucketOf(now), BUCKET) : instant(Date.parse(given.to))
  const begin = given.from === undefined ? plus(end, millis(-unlessSaid)) : instant(Date.parse(given.from))
  const range = { from: bucketFrom(begin), to: bucketFrom(end) }
  if (range.from >= range.to)
    throw new AppError('input_invalid', `from (${timeOf(begin)}) has to be before to (${timeOf(end)})`)
  if (range.to - range.from > mostDays * DAY)
    throw new AppError('input_invalid', `at most ${mostDays} days at a time`, {
      hint: 'Ask for parts of it.',
    })
  return range
}

/** @param points how many are left; each of them is one that was there */
function seriesView(
  pool: string,
  { from, to }: Interval,
  series: readonly SeriesPoint[],
  points: number,
): PriceSeries {
  const buckets = { total: series.length, primary: 0, replica: 0, history: 0, interpolated: 0, missing: 0 }
  for (const { source } of series) buckets[source ?? 'missing'] += 1
  const shown = decimate(series, points)
  return {
    pool_id: pool,
    from: timeOf(from),
    to: timeOf(to),
    bucket_seconds: 300,
    buckets,
    decimated: shown.length < series.length,
    points: shown.map(({ at, price, source, confidence }) => ({
      at: timeOf(at),
      price: price === null ? null : toUsd(price),
      data_source: source,
      confidence: confidence === null ? null : confidence / 100,
    })),
  }
}
