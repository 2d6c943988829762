import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import { listedModelsSchema, modelPageSchema } from '@understudy/shared/protocol/model-data'
import {
  activateModelRequestSchema,
  activationListSchema,
  activationResultSchema,
  modelIdSchema,
  modelViewSchema,
  refreshHistorySchema,
  refreshRequestSchema,
  refreshRunSchema,
  sessionIdSchema,
  uploadResultSchema,
} from '@understudy/shared/protocol/models'
import {
  type Api,
  type Audit,
  actorOf,
  answer,
  createRoutes,
  cursorAfter,
  numberOf,
  pageQuery,
  positionOf,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'
import type { ModelRow } from '../storage/database.ts'
import { firstBroken } from './ledger.ts'
import { modelDataView } from './model-data-views.ts'
import type { ModelGapFiller } from './model-gap-filler.ts'
import { activationView, factsOf, manifestOf, modelView, noModel, qualificationOf } from './model-store.ts'
import type { Models } from './models.ts'
import { refreshView } from './refresh.ts'
import { addSessionRoutes } from './session.routes.ts'
import { uploadHandler } from './upload.routes.ts'

const modelParams = z.object({ id: modelIdSchema })
const downloadQuery = z.strictObject({ part: z.enum(['model', 'scaler']).default('model') })
const uploadOf = ({ uploaded_at: at, id }: ModelRow) => ({ at, id })
const uploadQuery = z.strictObject({ session_id: sessionIdSchema.optional() })

/** Versions of models: in, out, and which of them counts. */
export function modelRoutes(models: Models, audit: Audit, data: Pick<ModelGapFiller, 'analyses'>): Api {
  const viewer = requireRole('viewer')
  const operator = requireRole('operator')
  const admin = requireRole('admin')
  const routes = createRoutes()
  addUpload(routes, models, audit)
  addSessionRoutes(routes, models, audit)
  return routes
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/models/list',
        summary: 'Versions of models, the latest first',
        middleware: viewer,
        request: { query: pageQuery },
        responses: { 200: answer('Versions', listedModelsSchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const rows = await models.store.list(positionOf(cursor), limit)
        const aliases = await models.store.aliases()
        const known = await data.analyses(rows)
        const items = rows.flatMap((row) => {
          const own = known.get(row.id)
          return own ? [{ ...modelView(row, aliases.get(row.id) ?? []), data: modelDataView(own) }] : []
        })
        return c.json({ items, next: cursorAfter(rows, limit, uploadOf) }, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/models/{id}/details',
        summary: 'One version: manifest, trial, and when it counted',
        middleware: viewer,
        request: { params: modelParams },
        responses: { 200: answer('The version', modelPageSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const row = await models.store.find(id)
        if (!row) throw noModel(id)
        const aliases = await models.store.aliases()
        const lines = (await models.store.ledger()).filter(
          ({ from_id, to_id }) => from_id === id || to_id === id,
        )
        const own = (await data.analyses([row])).get(id)
        if (!own) throw noModel(id)
        const details = {
          ...modelView(row, aliases.get(id) ?? []),
          data: modelDataView(own),
          manifest: manifestOf(row),
          facts: factsOf(row),
          qualification: qualificationOf(row),
          activations: lines.slice(-50).toReversed().map(activationView),
        }
        return c.json(details, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/ml/models/activate',
        summary: 'Let a version count from now on; nothing restarts',
        middleware: operator,
        request: { body: requiredJson(activateModelRequestSchema) },
        responses: { 200: answer('It counts', activationResultSchema), ...problems },
      }),
      async (c) => {
        const { model_id, version } = c.req.valid('json')
        const actor = actorOf(c.get('principal'))
        const id = await findId(models, model_id, version)
        const result = await models.registry.activate(id, actor, 'activated by hand')
        await audit.record({
          actor,
          action: 'model.activate',
          object: id,
          before: result.previous_model_id,
          after: id,
        })
        return c.json(result, 200)
      },
    )
    .openapi(
      route({
        method: 'delete',
        path: '/api/v1/ml/models/{id}',
        summary: 'Remove the files of a version that nothing uses; what is said of it stays',
        middleware: admin,
        request: { params: modelParams },
        responses: { 200: answer('Its files are gone', modelViewSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const row = await models.registry.remove(id)
        const view = modelView(row, [])
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'model.delete',
          object: id,
          before: row.model_sha256,
        })
        return c.json(view, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/models/{id}/download',
        summary: 'The file of a version, checked against its SHA-256',
        middleware: operator,
        request: { params: modelParams, query: downloadQuery },
        responses: {
          200: {
            description: 'The file',
            content: { 'application/octet-stream': { schema: z.string().meta({ format: 'binary' }) } },
          },
          ...problems,
        },
      }),
      async (c) => {
        const { name, sha256, content } = await models.file(
          c.req.valid('param').id,
          c.req.valid('query').part,
        )
        return c.body(content as Uint8Array<ArrayBuffer>, 200, {
          'content-type': 'application/octet-stream',
          'content-disposition': `attachment; filename="${name}"`,
          etag: `"${sha256}"`,
        })
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/models/activations',
        summary: 'The ledger: which version counted from when, who said so and why; the latest first',
        middleware: viewer,
        request: { query: pageQuery },
        responses: { 200: answer('Lines', activationListSchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const all = await models.store.ledger()
        const end = numberOf(cursor) ?? Number.POSITIVE_INFINITY
        const rows = all
          .filter(({ seq }) => seq < end)
          .slice(-limit)
          .toReversed()
        const first = rows.at(-1)?.seq ?? 1
        const next = first === 1 ? null : String(first)
        return c.json({ items: rows.map(activationView), next, intact: firstBroken(all) === undefined }, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/ml/models/refresh',
        summary: 'Read the active version again, check it, and give it a new process',
        middleware: operator,
        request: { body: requiredJson(refreshRequestSchema) },
        responses: { 200: answer('How it went', refreshRunSchema), ...problems },
      }),
      async (c) => {
        const actor = actorOf(c.get('principal'))
        const run = await models.refresh.run('manual', actor)
        await audit.record({ actor, action: 'model.refresh', object: run.model_id ?? '', after: run.status })
        return c.json(run, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/models/refresh/history',
        summary: 'Refreshes, the latest first',
        middleware: viewer,
        request: { query: pageQuery },
        responses: { 200: answer('Refreshes', refreshHistorySchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const rows = await models.refresh.history(positionOf(cursor), limit)
        return c.json(
          {
            items: rows.map(refreshView),
            next: cursorAfter(rows, limit, ({ started_at: at, id }) => ({ at, id })),
          },
          200,
        )
      },
    )
}

function addUpload(routes: Api, models: Models, audit: Audit): void {
  const path = '/api/v1/ml/models/upload'
  // The body is not described to the validator, which would read all of it into memory.
  routes.openAPIRegistry.registerPath({
    method: 'post',
    path,
    summary: 'Upload a version: it is read, tried in a process of its own, and kept if it passes',
    request: {
      query: uploadQuery,
      body: { required: true, content: { 'multipart/form-data': { schema: uploadForm } } },
    },
    responses: {
      200: answer('Exactly this was uploaded before', uploadResultSchema),
      201: answer('It has passed its trial', uploadResultSchema),
      ...problems,
    },
  })
  routes.post(path, requireRole('operator'), uploadHandler(models, audit, uploadQuery))
}

const uploadForm = z
  .object({
    file: z.string().meta({ format: 'binary', description: 'The .onnx file; also `model`' }),
    scaler: z
      .string()
      .optional()
      .meta({ format: 'binary', description: 'An .onnx file that is run before it' }),
    manifest: z.string().meta({ description: 'JSON, as a field or a file' }),
    name: z.string().optional().meta({ description: 'Must be what the manifest says; also `model_name`' }),
    version: z.string().optional(),
    trained_until: z.string().optional().meta({ description: 'also `trained_until_date`' }),
  })
  .meta({ id: 'ModelUploadForm' })

/** An id, or a name with its version. */
async function findId(models: Models, idOrName: string, version: string | undefined): Promise<string> {
  const row = await models.store.find(idOrName)
  if (row) {
    if (version !== undefined && row.version !== version)
      throw new AppError('conflict', `${row.id} is version ${row.version}, not ${version}`)
    return row.id
  }
  if (version !== undefined) {
    const named = await models.store.findVersion(idOrName, version)
    if (named) return named.id
    throw noModel(`${idOrName} ${version}`)
  }
  const [only, ...others] = await models.store.findName(idOrName)
  if (others.length > 0)
    throw new AppError(
      'input_invalid',
      `there are ${others.length + 1} versions of ${idOrName}: say which one`,
    )
  if (!only) throw noModel(idOrName)
  return only.id
}
