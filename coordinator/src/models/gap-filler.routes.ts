import { z } from '@hono/zod-openapi'
import type { Clock } from '@understudy/shared/core/time'
import {
  gapAnalysisRequestSchema,
  gapAnalysisSchema,
  gapFillHistorySchema,
  gapFillRequestSchema,
  gapFillTaskSchema,
  gapTaskIdSchema,
} from '@understudy/shared/protocol/model-data'
import {
  type Api,
  type Audit,
  actorOf,
  answer,
  createRoutes,
  cursorAfter,
  pageQuery,
  positionOf,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'
import { gapAnalysisView, gapFillView } from './model-data-views.ts'
import type { GapAsk, ModelGapFiller } from './model-gap-filler.ts'

const taskParams = z.object({ task_id: gapTaskIdSchema })

const toAsk = (body: z.infer<typeof gapFillRequestSchema>): GapAsk => ({
  modelId: body.model_id,
  instanceTypes: body.instance_types,
  regions: body.regions,
})

/** The prices that a model lacks between its training and now. */
export function gapFillerRoutes(filler: ModelGapFiller, audit: Audit, clock: Clock): Api {
  const viewer = requireRole('viewer')
  const operator = requireRole('operator')
  return createRoutes()
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/ml/gap-filler/analyze',
        summary: 'Which prices a model needs since its training, what is there, and what can still be had',
        middleware: viewer,
        request: { body: requiredJson(gapAnalysisRequestSchema) },
        responses: { 200: answer('The analysis', gapAnalysisSchema), ...problems },
      }),
      async (c) => c.json(gapAnalysisView(await filler.analyze(toAsk(c.req.valid('json')))), 200),
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/ml/gap-filler/fill',
        summary: 'Fetches what is missing; it goes on by itself, also after a restart',
        middleware: operator,
        request: { body: requiredJson(gapFillRequestSchema) },
        responses: { 202: answer('It is under way', gapFillTaskSchema), ...problems },
      }),
      async (c) => {
        const body = c.req.valid('json')
        const actor = actorOf(c.get('principal'))
        const row = await filler.fill(toAsk(body), 'manual', actor)
        await audit.record({ actor, action: 'model.gap_fill', object: row.id, after: body })
        return c.json(gapFillView(row, clock), 202)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/gap-filler/status/{task_id}',
        summary: 'How far a fill is',
        middleware: viewer,
        request: { params: taskParams },
        responses: { 200: answer('The fill', gapFillTaskSchema), ...problems },
      }),
      async (c) => c.json(gapFillView(await filler.task(c.req.valid('param').task_id), clock), 200),
    )
    .openapi(
      route({
        method: 'delete',
        path: '/api/v1/ml/gap-filler/status/{task_id}',
        summary: 'Ends a fill; what it has fetched stays',
        middleware: operator,
        request: { params: taskParams },
        responses: { 200: answer('The fill', gapFillTaskSchema), ...problems },
      }),
      async (c) => {
        const row = await filler.cancel(c.req.valid('param').task_id)
        const actor = actorOf(c.get('principal'))
        await audit.record({ actor, action: 'model.gap_fill_cancel', object: row.id, after: row.status })
        return c.json(gapFillView(row, clock), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/gap-filler/history',
        summary: 'Fills, the latest first',
        middleware: viewer,
        request: { query: pageQuery },
        responses: { 200: answer('Fills', gapFillHistorySchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const rows = await filler.history(positionOf(cursor), limit)
        const next = cursorAfter(rows, limit, ({ created_at: at, id }) => ({ at, id }))
        return c.json({ items: rows.map((row) => gapFillView(row, clock)), next }, 200)
      },
    )
}
