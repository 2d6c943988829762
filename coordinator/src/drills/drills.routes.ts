import { z } from '@hono/zod-openapi'
import { drillRequestSchema, drillViewSchema } from '@understudy/shared/protocol/drills'
import { agentIdSchema } from '@understudy/shared/protocol/primitives'
import {
  type Api,
  type Audit,
  actorOf,
  agentParams,
  answer,
  createRoutes,
  cursorAfter,
  pageQuery,
  positionOf,
  problems,
  requiredJson,
  requireOperatorOrAgent,
  requireRole,
  route,
} from '../http/http.ts'
import type { Drills } from './drills.ts'

const drillParams = z.object({ id: agentIdSchema, did: z.uuid('a drill id is a UUID') })

/** Rehearsals of failovers. */
export function drillRoutes(drills: Drills, audit: Audit): Api {
  return createRoutes()
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/drills',
        summary: 'Rehearse a failover: a planned move to a ready replica, and back if wished',
        request: { params: agentParams, body: requiredJson(drillRequestSchema) },
        responses: { 202: answer('It is under way', drillViewSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const actor = actorOf(requireOperatorOrAgent(c, id))
        const body = c.req.valid('json')
        const drill = await drills.begin(id, body, actor)
        await audit.record({ actor, action: 'agent.drill', object: id, after: { ...body, drill: drill.id } })
        return c.json(drill, 202, { location: `/api/agents/${id}/drills/${drill.id}` })
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/drills',
        summary: 'Drills of an agent, the latest first',
        middleware: requireRole('viewer'),
        request: { params: agentParams, query: pageQuery },
        responses: {
          200: answer('Drills', z.object({ items: z.array(drillViewSchema), next: z.string().nullable() })),
          ...problems,
        },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const items = await drills.list(c.req.valid('param').id, positionOf(cursor), limit)
        const next = cursorAfter(items, limit, ({ started_at: at, id }) => ({ at: Date.parse(at), id }))
        return c.json({ items: [...items], next }, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/drills/{did}',
        summary: 'One drill: how far it is, and its report',
        request: { params: drillParams },
        responses: { 200: answer('The drill', drillViewSchema), ...problems },
      }),
      async (c) => {
        const { id, did } = c.req.valid('param')
        requireOperatorOrAgent(c, id, 'viewer')
        return c.json(await drills.get(id, did), 200)
      },
    )
}
