import { z } from '@hono/zod-openapi'
import { modelIdSchema } from '@understudy/shared/protocol/models'
import {
  accuracyWindows,
  modelAlertsSchema,
  performanceSchema,
} from '@understudy/shared/protocol/predictions'
import { type Api, answer, createRoutes, problems, requireRole, route } from '../http/http.ts'
import type { ModelAlerts, VoluntaryMoves } from './alerts.ts'
import type { PerformanceBook } from './performance.ts'

const performanceParams = z.object({ id: modelIdSchema })
const performanceQuery = z.strictObject({ window: z.enum(accuracyWindows).default('7d') })
const alertsQuery = z.strictObject({
  model_id: modelIdSchema.optional(),
  state: z.enum(['open', 'all']).default('open'),
})

/** How good models are, and what is wrong with them. */
export function performanceRoutes(parts: {
  readonly performance: PerformanceBook
  readonly alerts: ModelAlerts
  readonly voluntaryMoves: () => VoluntaryMoves
}): Api {
  const viewer = requireRole('viewer')
  return createRoutes()
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/models/{id}/performance',
        summary: 'How good a version has been, from predictions whose horizon has passed',
        middleware: viewer,
        request: { params: performanceParams, query: performanceQuery },
        responses: { 200: answer('Its accuracy', performanceSchema), ...problems },
      }),
      async (c) =>
        c.json(await parts.performance.of(c.req.valid('param').id, c.req.valid('query').window), 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/models/alerts',
        summary: 'Drift of features, scores and losses, and bad data; and whether moves by choice are on',
        middleware: viewer,
        request: { query: alertsQuery },
        responses: { 200: answer('Alerts, the latest first', modelAlertsSchema), ...problems },
      }),
      async (c) => {
        const { model_id: modelId, state } = c.req.valid('query')
        const items = await parts.alerts.list({ modelId, open: state === 'open' })
        return c.json({ items: [...items], voluntary_moves: parts.voluntaryMoves() }, 200)
      },
    )
}
