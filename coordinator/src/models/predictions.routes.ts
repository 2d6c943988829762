import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, hours, type Instant, instant, plus } from '@understudy/shared/core/time'
import type { Interval } from '@understudy/shared/market/interval'
import {
  type PredictionView,
  predictionListSchema,
  predictRequestSchema,
  predictResponseSchema,
} from '@understudy/shared/protocol/predictions'
import { poolIdSchema, timeSchema } from '@understudy/shared/protocol/primitives'
import { type Api, answer, createRoutes, problems, requiredJson, requireRole, route } from '../http/http.ts'
import { listenTo } from '../live/live.ts'
import { toTime } from './model-store.ts'
import type { createPredictCall } from './predict-call.ts'
import { type PredictionFeed, wanted } from './prediction-feed.ts'
import type { PredictionStore, StoredPrediction } from './prediction-store.ts'

const listQuery = z.strictObject({
  pool: poolIdSchema.optional(),
  from: timeSchema.optional(),
  to: timeSchema.optional(),
  limit: z.coerce.number().int().min(1).max(2000).default(300),
  cursor: z.string().max(150).optional(),
})
const liveQuery = z.strictObject({ pool: poolIdSchema.optional(), region: z.string().max(40).optional() })

export interface PredictionRouteParts {
  readonly store: PredictionStore
  readonly feed: PredictionFeed
  readonly predict: ReturnType<typeof createPredictCall>
  readonly clock: Clock
}

/** What models have said and say. */
export function predictionRoutes({ store, feed, predict, clock }: PredictionRouteParts): Api {
  const routes = createRoutes()
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/predictions',
        summary: 'Predictions of one pool over time, the earliest first; without a pool the last one of each',
        middleware: requireRole('viewer'),
        request: { query: listQuery },
        responses: { 200: answer('Predictions', predictionListSchema), ...problems },
      }),
      async (c) => {
        const query = c.req.valid('query')
        const { pool, limit } = query
        const rows =
          pool === undefined
            ? await store.latest(lastPool(query), limit)
            : await store.ofPool(pool, rangeOf(query, clock.now()), limit)
        const last = rows.length < limit ? undefined : rows.at(-1)
        const next = last ? (pool === undefined ? last.pool_id : String(last.at)) : null
        return c.json({ items: rows.map(predictionView), next }, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/ml/predict/spot-interruption',
        summary:
          'How likely AWS is to interrupt an instance within 12 h, and its price to rise, each by its name',
        middleware: requireRole('viewer'),
        request: { body: requiredJson(predictRequestSchema) },
        responses: { 200: answer('Both probabilities', predictResponseSchema), ...problems },
      }),
      async (c) => c.json(await predict(c.req.valid('json')), 200),
    )
  routes.get('/api/v1/ml/predictions/live', requireRole('viewer'), (c) => {
    const asked = liveQuery.safeParse(c.req.query())
    if (!asked.success)
      throw new AppError('input_invalid', 'the feed takes ?pool= or ?region=', {
        errors: asked.error.issues.map(({ path, message }) => ({
          pointer: `/query/${path.join('/')}`,
          message,
        })),
      })
    return listenTo(c, { clock, role: 'viewer' }, feed, async () => feed.last, wanted(asked.data))
  })
  return routes
}

type ListQuery = z.infer<typeof listQuery>

function lastPool({ from, to, cursor }: ListQuery): string | undefined {
  if (from === undefined && to === undefined) return cursor
  throw new AppError('input_invalid', 'from and to are for one pool: say which', {
    hint: 'Add ?pool=c5.large@ap-south-1a.',
  })
}

/** A day if not said. A cursor is the time of the last item. */
function rangeOf({ from, to, cursor }: ListQuery, now: Instant): Interval {
  const end = to === undefined ? instant(now + 1) : instant(Date.parse(to))
  const start = from === undefined ? plus(end, hours(-24)) : instant(Date.parse(from))
  if (start >= end) throw new AppError('input_invalid', 'from must be before to')
  if (cursor === undefined) return { from: start, to: end }
  if (!/^\d{1,15}$/.test(cursor)) throw new AppError('input_invalid', 'the cursor is not one of this list')
  return { from: instant(Math.max(start, Number(cursor) + 1)), to: end }
}

function predictionView(row: StoredPrediction): PredictionView {
  const labelled = row.label !== null
  return {
    pool_id: row.pool_id,
    at: toTime(row.at),
    p_instability_12h: row.p,
    horizon_end: toTime(row.at + row.horizon_ms),
    unstable: row.p >= row.threshold,
    threshold: row.threshold,
    model_id: row.model_id,
    model_sha256: row.model_sha256,
    features_hash: row.features_hash,
    answered_by: row.answered_by as PredictionView['answered_by'],
    confidence: 1 - row.filled,
    gap_filled: row.filled > 0,
    label_state: labelled ? 'labelled' : row.label_reason === null ? 'pending' : 'unlabelled',
    actual: row.label as 0 | 1 | null,
    label_reason: row.label_reason,
    acted: row.acted === 1,
    experiment: row.experiment,
  }
}
