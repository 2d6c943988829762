import { z } from '@hono/zod-openapi'
import { hours, instant } from '@understudy/shared/core/time'
import type { ExperimentPlan } from '@understudy/shared/experiments/plan'
import {
  experimentIdSchema,
  experimentListSchema,
  experimentResultsSchema,
  experimentSchema,
  type RegisterExperimentRequest,
  registerExperimentRequestSchema,
  registeredExperimentSchema,
} from '@understudy/shared/protocol/experiments'
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
import { experimentView } from './experiment-view.ts'
import type { Experiments } from './experiments.ts'
import type { ModelNames } from './model-names.ts'

const viewer = requireRole('viewer')
const operator = requireRole('operator')
const params = z.object({ experiment_id: experimentIdSchema })
const responses = { 200: answer('The experiment', experimentSchema), ...problems }

/** Experiments: registered first, and never changed after. */
export function experimentRoutes(experiments: Experiments, names: ModelNames, audit: Audit): Api {
  const routes = createRoutes()
  addRegistration(routes, { experiments, names, audit })
  addRunning(routes, experiments, audit)
  return routes
}

function addRegistration(
  routes: Api,
  { experiments, names, audit }: { experiments: Experiments; names: ModelNames; audit: Audit },
): void {
  routes
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/lab/experiments',
        summary: 'Register an experiment: what it will show, and how long that will take',
        middleware: operator,
        request: { body: requiredJson(registerExperimentRequestSchema) },
        responses: { 201: answer('It is registered', registeredExperimentSchema), ...problems },
      }),
      async (c) => {
        const body = c.req.valid('json')
        const actor = actorOf(c.get('principal'))
        const plan = await toPlan(body, names)
        const startsAt = body.starts_at === undefined ? null : instant(Date.parse(body.starts_at))
        const asked = { units: body.instance_ids, startsAt, ratio: body.expected_ratio }
        const { experiment, estimate } = await experiments.register(plan, asked, actor)
        const view = experimentView(experiment)
        await audit.record({ actor, action: 'experiment.register', object: view.experiment_id, after: view })
        return c.json({ ...view, estimate }, 201)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/lab/experiments',
        summary: 'Experiments, the latest first',
        middleware: viewer,
        request: { query: pageQuery },
        responses: { 200: answer('Experiments', experimentListSchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const all = await experiments.store.list(positionOf(cursor), limit)
        const next = cursorAfter(all, limit, ({ row }) => ({ at: row.created_at, id: row.id }))
        return c.json({ items: all.map(experimentView), next }, 200)
      },
    )
}

function addRunning(routes: Api, experiments: Experiments, audit: Audit): void {
  routes
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/lab/experiments/{experiment_id}/results',
        summary: 'What can be said of it now, and what is missing; it may be looked at as often as one likes',
        middleware: viewer,
        request: { params },
        responses: { 200: answer('Results', experimentResultsSchema), ...problems },
      }),
      async (c) => c.json(await experiments.results(c.req.valid('param').experiment_id), 200),
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/lab/experiments/{experiment_id}/start',
        summary: 'Start it now',
        middleware: operator,
        request: { params },
        responses,
      }),
      async (c) => {
        const { experiment_id: id } = c.req.valid('param')
        const actor = actorOf(c.get('principal'))
        const experiment = await experiments.start(id, actor)
        await audit.record({ actor, action: 'experiment.start', object: id })
        return c.json(experimentView(experiment), 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/lab/experiments/{experiment_id}/stop',
        summary: 'End it without a verdict: every unit goes back to control',
        middleware: operator,
        request: { params },
        responses,
      }),
      async (c) => {
        const { experiment_id: id } = c.req.valid('param')
        const actor = actorOf(c.get('principal'))
        const experiment = await experiments.stop(id, actor)
        await audit.record({ actor, action: 'experiment.stop', object: id })
        return c.json(experimentView(experiment), 200)
      },
    )
}

async function toPlan(body: RegisterExperimentRequest, names: ModelNames): Promise<ExperimentPlan> {
  const arms = []
  for (const { name, model_id: model, weight } of body.arms)
    arms.push({ name, modelId: (await names.find(model)).id, weight })
  return {
    kind: body.kind,
    hypothesis: body.hypothesis,
    metric: body.metric,
    direction: body.direction,
    margin: body.margin,
    alpha: body.alpha,
    arms,
    unit: body.unit ?? (body.kind === 'shadow' ? 'row' : 'instance'),
    blockLength: hours(body.block_hours),
    planned: body.planned,
    minDuration: hours(24 * body.min_duration_days),
    maxDuration: hours(24 * body.max_duration_days),
    guardrails: { missedMargin: body.guardrails.missed_margin },
  }
}
