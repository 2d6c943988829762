import { z } from '@hono/zod-openapi'
import type { Clock } from '@understudy/shared/core/time'
import {
  engineIdSchema,
  engineListSchema,
  enginePageSchema,
  selectEngineRequestSchema,
  selectEngineResultSchema,
  testEngineRequestSchema,
  testEngineResultSchema,
} from '@understudy/shared/protocol/engines'
import {
  type SpotOptimizeRequest,
  type SpotOptimizeResponse,
  spotOptimizeRequestSchema,
  spotOptimizeResponseSchema,
} from '@understudy/shared/protocol/spot-optimizer'
import {
  type Api,
  type Audit,
  actorOf,
  answer,
  createRoutes,
  invalidInput,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'
import type { Engine } from './engine.ts'
import { enginePage, engineView } from './engine-views.ts'
import type { Registry } from './registry.ts'
import { assertConfig, type SelectedEngines } from './selected-engines.ts'

const engineParams = z.object({ id: engineIdSchema })

export interface EngineRouteParts {
  readonly registry: Registry
  readonly selected: SelectedEngines
  readonly spotOptimize: (asked: SpotOptimizeRequest) => Promise<SpotOptimizeResponse>
  readonly audit: Audit
  readonly clock: Clock
}

/** Engines: which there are, which counts, what one makes of an input, and what is decided on demand. */
export function engineRoutes(parts: EngineRouteParts): Api {
  const routes = createRoutes()
  addReading(routes, parts)
  addSelection(routes, parts)
  addTest(routes, parts)
  addDecisions(routes, parts)
  return routes
}

function addReading(routes: Api, { registry, selected }: EngineRouteParts): void {
  routes
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/engines/list',
        summary: 'The decision engines of this version, and which of them counts',
        middleware: requireRole('viewer'),
        responses: { 200: answer('Engines', engineListSchema), ...problems },
      }),
      async (c) => {
        const items = await Promise.all(registry.all.map((engine) => engineView(engine, selected)))
        return c.json({ items }, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/engines/{id}/metadata',
        summary: 'One engine: what it takes and gives as JSON Schema, how it is set, and a sample',
        middleware: requireRole('viewer'),
        request: { params: engineParams },
        responses: { 200: answer('The engine', enginePageSchema), ...problems },
      }),
      async (c) => c.json(await enginePage(registry.get(c.req.valid('param').id), selected), 200),
    )
}

function addSelection(routes: Api, { selected, audit }: EngineRouteParts): void {
  routes.openapi(
    route({
      method: 'post',
      path: '/api/v1/ml/engines/select',
      summary: 'Let an engine count from the next decision on, set as config says; nothing restarts',
      middleware: requireRole('operator'),
      request: { body: requiredJson(selectEngineRequestSchema) },
      responses: { 200: answer('What counts, and what did before', selectEngineResultSchema), ...problems },
    }),
    async (c) => {
      const asked = c.req.valid('json')
      const actor = actorOf(c.get('principal'))
      const wish = {
        engineId: asked.engine_id,
        config: asked.config,
        expectedRevision: asked.expected_revision,
        dryRun: asked.dry_run,
      }
      const result = await selected.select(wish, actor)
      const { before, after, dry_run: dryRun } = result
      if (!dryRun)
        await audit.record({ actor, action: 'engine.select', object: asked.engine_id, before, after })
      return c.json(result, 200)
    },
  )
}

function addTest(routes: Api, { registry, selected, clock }: EngineRouteParts): void {
  routes.openapi(
    route({
      method: 'post',
      path: '/api/v1/ml/engines/{id}/test',
      summary: 'What an engine makes of an input; nothing is kept and nothing is done',
      middleware: requireRole('viewer'),
      request: { params: engineParams, body: requiredJson(testEngineRequestSchema) },
      responses: { 200: answer('Its output, and how long it took', testEngineResultSchema), ...problems },
    }),
    (c) => {
      const engine = registry.get(c.req.valid('param').id)
      const { input, config } = c.req.valid('json')
      const parsed = assertInput(engine, input)
      const set = config === undefined ? selected.configOf(engine) : assertConfig(engine, config)
      const began = clock.mono()
      const output = engine.decide(parsed, set)
      const took = clock.mono() - began
      const what = { engine_id: engine.id, version: engine.version, config: { ...set } }
      return c.json({ ...what, output, execution_time_ms: took, recorded: false as const }, 200)
    },
  )
}

/** @throws AppError `input_invalid` */
function assertInput(engine: Engine, input: unknown): unknown {
  const parsed = engine.input.safeParse(input)
  if (parsed.success) return parsed.data
  throw invalidInput(parsed.error, `input of ${engine.id}`, '/input')
}

function addDecisions(routes: Api, { registry, spotOptimize }: EngineRouteParts): void {
  routes.openapi(
    route({
      method: 'post',
      path: '/api/v1/ml/decision/spot-optimize',
      summary: 'Where instances would run best now; nothing is kept and nothing is done',
      middleware: requireRole('viewer'),
      request: { body: requiredJson(spotOptimizeRequestSchema) },
      responses: {
        200: answer('Pools, the best first, and a plan', spotOptimizeResponseSchema),
        ...problems,
      },
    }),
    async (c) => c.json(await spotOptimize(c.req.valid('json')), 200),
  )
  routes.post('/api/v1/ml/decision/:decision', requireRole('viewer'), (c) => {
    throw registry.noDecision(c.req.param('decision').slice(0, 64))
  })
}
