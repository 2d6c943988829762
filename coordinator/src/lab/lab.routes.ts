import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import {
  assignModelRequestSchema,
  assignModelResponseSchema,
  experimentLogListSchema,
  type LabModel,
  labConfigChangeSchema,
  labConfigSchema,
  labModelListSchema,
  modelPerformanceSchema,
  nameModelRequestSchema,
  pipelineStatusSchema,
} from '@understudy/shared/protocol/lab'
import { modelIdSchema } from '@understudy/shared/protocol/models'
import { targetIdSchema } from '@understudy/shared/protocol/primitives'
import type { Context } from 'hono'
import {
  type Api,
  type AppEnv,
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
import { listenTo } from '../live/live.ts'
import { logView } from './experiment-logs.ts'
import type { Lab, LabLive } from './lab.ts'

const targetParams = z.object({ instance_id: targetIdSchema })
const liveQuery = z.strictObject({ instance_id: targetIdSchema })
const modelParams = z.object({ model_id: modelIdSchema })
const viewer = requireRole('viewer')
const operator = requireRole('operator')

/** One target and one model: assignment, status, configuration, and what came of it. */
export function labRoutes(lab: Lab, live: LabLive, audit: Audit, clock: Clock): Api {
  const routes = createRoutes()
  addAssignment(routes, lab, audit)
  addConfig(routes, lab, audit)
  addModels(routes, lab, audit)
  addLogs(routes, lab)
  addLive(routes, live, clock)
  return routes
}

function addAssignment(routes: Api, lab: Lab, audit: Audit): void {
  routes
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/lab/assign-model',
        summary: 'Let a version answer for one instance from now on; nothing restarts',
        middleware: operator,
        request: { body: requiredJson(assignModelRequestSchema) },
        responses: { 200: answer('It answers', assignModelResponseSchema), ...problems },
      }),
      async (c) => {
        const { instance_id: instance, model_id: model } = c.req.valid('json')
        const actor = actorOf(c.get('principal'))
        const { before, modelId, tookMs } = await lab.assign(instance, model, actor)
        await audit.record({
          actor,
          action: 'lab.assign-model',
          object: instance,
          before: { model_id: before.modelId, pipeline_mode: before.pipelineMode },
          after: { model_id: modelId, pipeline_mode: 'SINGLE_LINEAR' },
        })
        return c.json(
          {
            status: 'updated' as const,
            mode: 'Lab Experiment Active' as const,
            instance_id: instance,
            model_id: model,
            assigned_model_id: modelId,
            took_ms: tookMs,
          },
          200,
        )
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/lab/pipeline-status/{instance_id}',
        summary: 'Every stage of the pipeline for one instance: on or off and why, and which version answers',
        middleware: viewer,
        request: { params: targetParams },
        responses: { 200: answer('The stages', pipelineStatusSchema), ...problems },
      }),
      async (c) => c.json(await lab.status(c.req.valid('param').instance_id), 200),
    )
}

function addConfig(routes: Api, lab: Lab, audit: Audit): void {
  routes
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/lab/config/{instance_id}',
        summary: 'How decisions are made for an instance; the defaults where nobody has said anything',
        middleware: viewer,
        request: { params: targetParams },
        responses: { 200: answer('The configuration', labConfigSchema), ...problems },
      }),
      async (c) => c.json(await lab.config(c.req.valid('param').instance_id), 200),
    )
    .openapi(
      route({
        method: 'put',
        path: '/api/v1/lab/config/{instance_id}',
        summary: 'Change how decisions are made for an instance; what is left out stays',
        middleware: operator,
        request: { params: targetParams, body: requiredJson(labConfigChangeSchema) },
        responses: { 200: answer('What holds now', labConfigSchema), ...problems },
      }),
      async (c) => {
        const { instance_id: instance } = c.req.valid('param')
        const change = c.req.valid('json')
        if (change.account_environment !== undefined) assertAdmin(c)
        const actor = actorOf(c.get('principal'))
        const { before, after } = await lab.change(instance, change, actor)
        await audit.record({ actor, action: 'lab.config', object: instance, before, after })
        return c.json(after, 200)
      },
    )
}

/** What an account is for decides whether the Lab may act there. */
function assertAdmin(c: Context<AppEnv>): void {
  const principal = c.get('principal')
  if (principal?.kind === 'operator' && principal.role === 'admin') return
  throw new AppError('forbidden', 'account_environment is changed with the role admin', {
    hint: 'Use a token with that role: coordinator token create --role admin',
  })
}

function addModels(routes: Api, lab: Lab, audit: Audit): void {
  routes
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/lab/models',
        summary: 'Versions that can be assigned, and what they are used as, the latest first',
        middleware: viewer,
        request: { query: pageQuery },
        responses: { 200: answer('Versions', labModelListSchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const items = [...(await lab.models(positionOf(cursor), limit))]
        const position = ({ created_at: at, model_id: id }: LabModel) => ({ at: Date.parse(at), id })
        return c.json({ items, next: cursorAfter(items, limit, position) }, 200)
      },
    )
    .openapi(
      route({
        method: 'put',
        path: '/api/v1/lab/models/{model_id}/name',
        summary: 'Let a short name, such as model-002, mean a version',
        middleware: operator,
        request: { params: modelParams, body: requiredJson(nameModelRequestSchema) },
        responses: {
          200: answer('It means that version', z.object({ id: modelIdSchema, model_id: modelIdSchema })),
          ...problems,
        },
      }),
      async (c) => {
        const { model_id: name } = c.req.valid('param')
        const { model_id: id } = c.req.valid('json')
        const actor = actorOf(c.get('principal'))
        const before = await lab.names.name(name, id, actor)
        await audit.record({ actor, action: 'lab.name-model', object: name, before, after: id })
        return c.json({ id: name, model_id: id }, 200)
      },
    )
}

function addLogs(routes: Api, lab: Lab): void {
  routes
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/lab/experiments/model/{model_id}',
        summary: 'What came of the decisions that a version has answered',
        middleware: viewer,
        request: { params: modelParams },
        responses: { 200: answer('Its performance', modelPerformanceSchema), ...problems },
      }),
      async (c) => c.json(await lab.performance(c.req.valid('param').model_id), 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/lab/experiments/{instance_id}',
        summary: 'Decisions of an instance while it was in the Lab, the latest first',
        middleware: viewer,
        request: { params: targetParams, query: pageQuery },
        responses: { 200: answer('Decisions', experimentLogListSchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const id = await lab.targetOf(c.req.valid('param').instance_id)
        const rows = await lab.logs.list(id, positionOf(cursor), limit)
        const next = cursorAfter(rows, limit, (row) => ({ at: row.execution_time, id: row.id }))
        return c.json({ items: rows.map(logView), next }, 200)
      },
    )
}

function addLive(routes: Api, live: LabLive, clock: Clock): void {
  routes.get('/api/v1/lab/live', viewer, (c) => {
    const asked = liveQuery.safeParse(c.req.query())
    if (!asked.success)
      throw new AppError('input_invalid', 'the stream of the Lab is of one target', {
        hint: 'Add ?instance_id= with the id of an agent or an instance.',
        errors: asked.error.issues.map(({ path, message }) => ({
          pointer: `/query/${path.join('/')}`,
          message,
        })),
      })
    const target = asked.data.instance_id
    return listenTo(c, { clock, role: 'viewer' }, live.streamOf(target), () => live.first(target))
  })
}
