import { z } from '@hono/zod-openapi'
import type { Clock } from '@understudy/shared/core/time'
import { decisionNames } from '@understudy/shared/pipeline/decision'
import {
  cycleViewSchema,
  type DecisionFrame,
  decisionListSchema,
} from '@understudy/shared/protocol/decision-log'
import { decisionTraceSchema } from '@understudy/shared/protocol/decisions'
import { agentIdSchema, instanceIdSchema, timeSchema } from '@understudy/shared/protocol/primitives'
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
  requireRole,
  route,
} from '../http/http.ts'
import { listenTo, type Stream } from '../live/live.ts'
import type { Batch } from './batch.ts'
import type { DecisionStore } from './decision-store.ts'
import { toCycleView, toDecisionView, toTraceView } from './decision-views.ts'

/** So many decisions a page gets when it comes. */
const LATEST = 50

const listQuery = pageQuery.extend({
  agent_id: agentIdSchema.optional(),
  instance_id: instanceIdSchema.optional(),
  cycle_id: z.uuid().optional(),
  decision: z.enum(decisionNames).optional(),
  from: timeSchema.optional(),
  to: timeSchema.optional(),
})

/** Decisions that were made, as a list and as they are made; and a cycle by hand. */
export function decisionRoutes(parts: {
  readonly store: Pick<DecisionStore, 'list' | 'replay'>
  readonly stream: Stream<DecisionFrame>
  readonly batch: Batch
  readonly audit: Audit
  readonly clock: Clock
}): Api {
  const { store, stream, batch, audit, clock } = parts
  const routes = createRoutes()
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/decisions',
        summary: 'Decisions, the latest first, with what was done about each',
        middleware: requireRole('viewer'),
        request: { query: listQuery },
        responses: { 200: answer('Decisions', decisionListSchema), ...problems },
      }),
      async (c) => {
        const { limit, cursor, from, to, ...asked } = c.req.valid('query')
        const rows = await store.list({
          limit,
          targetId: asked.agent_id,
          instanceId: asked.instance_id,
          cycleId: asked.cycle_id,
          decision: asked.decision,
          from: from === undefined ? undefined : Date.parse(from),
          to: to === undefined ? undefined : Date.parse(to),
          after: positionOf(cursor),
        })
        return c.json({ items: rows.map(toDecisionView), next: cursorAfter(rows, limit, (row) => row) }, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/v1/ml/decisions/{id}/trace',
        summary: 'A decision made again from its stored input: every stage, and why each pool fell',
        middleware: requireRole('viewer'),
        request: { params: z.object({ id: z.uuid() }) },
        responses: { 200: answer('The stages', decisionTraceSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        return c.json(toTraceView(id, await store.replay(id)), 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/v1/ml/decisions/run',
        summary:
          'Decide for the whole fleet now, as every cycle does; what is done depends on the level of each',
        middleware: requireRole('operator'),
        responses: { 200: answer('What came of it', cycleViewSchema), ...problems },
      }),
      async (c) => {
        const actor = actorOf(c.get('principal'))
        const cycle = toCycleView(await batch.run(actor))
        const { cycle_id: id, decisions, acted } = cycle
        await audit.record({ actor, action: 'decisions.run', object: id, after: { decisions, acted } })
        return c.json(cycle, 200)
      },
    )
  routes.get('/api/v1/ml/decisions/live', requireRole('viewer'), (c) =>
    listenTo(
      c,
      { clock, role: 'viewer' },
      stream,
      async (): Promise<DecisionFrame> => ({
        type: 'snapshot',
        at: new Date(clock.now()).toISOString(),
        items: (await store.list({ limit: LATEST })).map(toDecisionView),
      }),
    ),
  )
  return routes
}
