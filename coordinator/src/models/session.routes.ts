import { z } from '@hono/zod-openapi'
import {
  activateSessionRequestSchema,
  activationResultSchema,
  sessionIdSchema,
  uploadResultSchema,
  uploadSessionSchema,
  uploadSessionsSchema,
} from '@understudy/shared/protocol/models'
import {
  type Api,
  type Audit,
  actorOf,
  answer,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'
import type { Models } from './models.ts'
import { uploadHandler } from './upload.routes.ts'

const sessionParams = z.object({ sid: sessionIdSchema })
const uploadQuery = z.strictObject({ session_id: sessionIdSchema.optional() })
const fallbackRequestSchema = z.strictObject({}).meta({ id: 'ModelFallbackRequest' })

/** The operator's page of models: what is live, what it falls back to, what waits to be activated. */
export function addSessionRoutes(routes: Api, models: Models, audit: Audit): void {
  const viewer = requireRole('viewer')
  const operator = requireRole('operator')
  const upload = '/api/admin/ml-models/upload'
  routes.openAPIRegistry.registerPath({
    method: 'post',
    path: upload,
    summary: 'The same as /api/v1/ml/models/upload',
    request: {
      query: uploadQuery,
      body: {
        required: true,
        content: { 'multipart/form-data': { schema: { $ref: '#/components/schemas/ModelUploadForm' } } },
      },
    },
    responses: {
      200: answer('Exactly this was uploaded before', uploadResultSchema),
      201: answer('It has passed its trial and waits to be activated', uploadResultSchema),
      ...problems,
    },
  })
  routes.post(upload, operator, uploadHandler(models, audit, uploadQuery))
  routes
    .openapi(
      route({
        method: 'get',
        path: '/api/admin/ml-models/sessions',
        summary: 'Live, fallback and pending uploads',
        middleware: viewer,
        responses: { 200: answer('Sessions', uploadSessionsSchema), ...problems },
      }),
      async (c) => c.json(await models.sessions.overview(), 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/admin/ml-models/sessions/{sid}',
        summary: 'How far an upload is, and how it ended',
        middleware: viewer,
        request: { params: sessionParams },
        responses: { 200: answer('The session', uploadSessionSchema), ...problems },
      }),
      async (c) => c.json(await models.sessions.find(c.req.valid('param').sid), 200),
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/admin/ml-models/activate',
        summary: 'Let an upload count from now on; nothing restarts',
        middleware: operator,
        request: { body: requiredJson(activateSessionRequestSchema) },
        responses: { 200: answer('It counts', activationResultSchema), ...problems },
      }),
      async (c) => {
        const { sessionId } = c.req.valid('json')
        const actor = actorOf(c.get('principal'))
        const result = await models.activateSession(sessionId, actor)
        await audit.record({
          actor,
          action: 'model.activate',
          object: result.model_id,
          before: result.previous_model_id,
          after: { session: sessionId },
        })
        return c.json(result, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/admin/ml-models/fallback',
        summary: 'Back to the version of before; done twice it ends where it began',
        middleware: operator,
        request: { body: requiredJson(fallbackRequestSchema) },
        responses: { 200: answer('It counts again', activationResultSchema), ...problems },
      }),
      async (c) => {
        const actor = actorOf(c.get('principal'))
        const result = await models.registry.rollBack(actor, 'fallback by hand')
        await audit.record({
          actor,
          action: 'model.fallback',
          object: result.model_id,
          before: result.previous_model_id,
          after: result.model_id,
        })
        return c.json(result, 200)
      },
    )
}
