import { z } from '@hono/zod-openapi'
import { agentViewSchema, epochViewSchema, replicaViewSchema } from '@understudy/shared/protocol/agents'
import {
  emergencyReplicaRequestSchema,
  emergencyReplicaResponseSchema,
  failoverResponseSchema,
  instanceGoneRequestSchema,
  instanceGoneResponseSchema,
  rebalanceRequestSchema,
  rebalanceResponseSchema,
  terminationImminentRequestSchema,
} from '@understudy/shared/protocol/failover'
import { switchViewSchema } from '@understudy/shared/protocol/incidents'
import { agentIdSchema, instanceIdSchema } from '@understudy/shared/protocol/primitives'
import {
  createReplicaRequestSchema,
  createReplicaResponseSchema,
  promoteRequestSchema,
  promotionPlanSchema,
  syncStatusRequestSchema,
} from '@understudy/shared/protocol/replicas'
import {
  type Api,
  type Audit,
  actorOf,
  agentParams,
  answer,
  createRoutes,
  cursorAfter,
  numberOf,
  pageQuery,
  positionOf,
  problems,
  replicaParams,
  requiredJson,
  requireOperatorOrAgent,
  requireRole,
  route,
} from '../http/http.ts'
import type { Failover } from './failover.ts'

const status = (response: { incident: { outcome: string } }): 200 | 202 =>
  response.incident.outcome === 'running' ? 202 : 200

const instanceParams = z.object({ id: agentIdSchema, iid: instanceIdSchema })

const moved = {
  200: answer('The move has ended', failoverResponseSchema),
  202: answer('It is still under way; the incident says how far', failoverResponseSchema),
  ...problems,
}

/** Replicas, and everything that moves an agent. */
export function failoverRoutes(failover: Failover, audit: Audit): Api {
  const viewer = requireRole('viewer')
  const operator = requireRole('operator')
  return createRoutes()
    .openapi(
      route({
        method: 'get',
        path: '/api/agents',
        summary: 'The fleet',
        middleware: viewer,
        responses: { 200: answer('All agents', z.object({ items: z.array(agentViewSchema) })), ...problems },
      }),
      async (c) => c.json({ items: [...(await failover.agents())] }, 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}',
        summary: 'One agent',
        middleware: viewer,
        request: { params: agentParams },
        responses: { 200: answer('The agent', agentViewSchema), ...problems },
      }),
      async (c) => c.json(await failover.agent(c.req.valid('param').id), 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/replicas',
        summary: 'Standbys of an agent, past ones too, the latest first',
        middleware: viewer,
        request: { params: agentParams },
        responses: {
          200: answer('Replicas', z.object({ items: z.array(replicaViewSchema) })),
          ...problems,
        },
      }),
      async (c) => c.json({ items: [...(await failover.replicas(c.req.valid('param').id))] }, 200),
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/replicas',
        summary: 'Create a standby by hand',
        middleware: operator,
        request: { params: agentParams, body: requiredJson(createReplicaRequestSchema) },
        responses: { 201: answer('It is being launched', createReplicaResponseSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const actor = actorOf(c.get('principal'))
        const body = c.req.valid('json')
        const created = await failover.createReplica(id, body, actor)
        await audit.record({
          actor,
          action: 'replica.create',
          object: id,
          after: { ...body, id: created.replica_id },
        })
        return c.json(created, 201)
      },
    )
    .openapi(
      route({
        method: 'delete',
        path: '/api/agents/{id}/replicas/{rid}',
        summary: 'Terminate a standby',
        middleware: operator,
        request: { params: replicaParams },
        responses: { 200: answer('It is gone', replicaViewSchema), ...problems },
      }),
      async (c) => {
        const { id, rid } = c.req.valid('param')
        const gone = await failover.deleteReplica(id, rid)
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'replica.delete',
          object: `${id}/${rid}`,
          after: gone.status,
        })
        return c.json(gone, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/replicas/{rid}/sync-status',
        summary: 'Progress, from the replica itself',
        request: { params: replicaParams, body: requiredJson(syncStatusRequestSchema) },
        responses: { 200: answer('The replica as it is known now', replicaViewSchema), ...problems },
      }),
      async (c) => {
        const { id, rid } = c.req.valid('param')
        const principal = requireOperatorOrAgent(c, id)
        const caller = principal.kind === 'agent' ? principal.instanceId : undefined
        return c.json(await failover.syncStatus(id, rid, c.req.valid('json'), caller), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/replicas/{rid}/promote',
        summary: 'What a promotion would do now; changes nothing',
        middleware: viewer,
        request: { params: replicaParams, query: z.object({ dry_run: z.string().optional() }) },
        responses: { 200: answer('The facts', promotionPlanSchema), ...problems },
      }),
      async (c) => {
        const { id, rid } = c.req.valid('param')
        return c.json(await failover.plan(id, rid), 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/replicas/{rid}/promote',
        summary: 'Promote a standby: a planned move without loss',
        middleware: operator,
        request: { params: replicaParams, body: requiredJson(promoteRequestSchema) },
        responses: moved,
      }),
      async (c) => {
        const { id, rid } = c.req.valid('param')
        const before = failover.primaryOf(id)
        const response = await failover.promote(id, rid, c.req.valid('json'))
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'replica.promote',
          object: `${id}/${rid}`,
          before,
          after: response.new_primary,
        })
        return c.json(response, status(response))
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/create-emergency-replica',
        summary: 'A replica in the safest pool',
        request: { params: agentParams, body: requiredJson(emergencyReplicaRequestSchema) },
        responses: {
          200: answer('One was there already', emergencyReplicaResponseSchema),
          201: answer('It is being launched', emergencyReplicaResponseSchema),
          ...problems,
        },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const actor = actorOf(requireOperatorOrAgent(c, id))
        const made = await failover.emergencyReplica(id, c.req.valid('json'), actor)
        if (made.created)
          await audit.record({
            actor,
            action: 'replica.create-emergency',
            object: id,
            after: { id: made.replica_id },
          })
        return c.json(made, made.created ? 201 : 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/rebalance-recommendation',
        summary: 'A rebalance recommendation was seen',
        request: { params: agentParams, body: requiredJson(rebalanceRequestSchema) },
        responses: {
          200: answer('The probability, and what was done', rebalanceResponseSchema),
          ...problems,
        },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const actor = actorOf(requireOperatorOrAgent(c, id))
        const body = c.req.valid('json')
        const response = await failover.rebalance(id, body)
        await audit.record({
          actor,
          action: 'signal.rebalance',
          object: id,
          after: { ...body, action: response.action },
        })
        return c.json(response, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/termination-imminent',
        summary: 'An interruption notice was seen: move at once',
        request: { params: agentParams, body: requiredJson(terminationImminentRequestSchema) },
        responses: moved,
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const actor = actorOf(requireOperatorOrAgent(c, id))
        const body = c.req.valid('json')
        const before = failover.primaryOf(id)
        const response = await failover.terminationImminent(id, body)
        await audit.record({
          actor,
          action: 'signal.termination',
          object: id,
          before,
          after: response.new_primary,
        })
        return c.json(response, status(response))
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/instances/{iid}/gone',
        summary: 'An operator has seen in EC2 that the instance is terminated',
        middleware: operator,
        request: { params: instanceParams, body: requiredJson(instanceGoneRequestSchema) },
        responses: { 200: answer('It counts as ended', instanceGoneResponseSchema), ...problems },
      }),
      async (c) => {
        const { id, iid } = c.req.valid('param')
        const response = await failover.instanceGone(id, iid)
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'instance.gone',
          object: `${id}/${iid}`,
          after: { incident: response.incident_id },
        })
        return c.json(response, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/switches',
        summary: 'Changes of primary, the latest first',
        middleware: viewer,
        request: { query: pageQuery.extend({ agent_id: agentIdSchema.optional() }) },
        responses: { 200: answer('Switches', switchPage), ...problems },
      }),
      async (c) => {
        const { agent_id: agentId, ...page } = c.req.valid('query')
        return c.json(await pageOf(page, agentId), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/switches',
        summary: 'Changes of primary of one agent, the latest first',
        middleware: viewer,
        request: { params: agentParams, query: pageQuery },
        responses: { 200: answer('Switches', switchPage), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        await failover.agent(id)
        return c.json(await pageOf(c.req.valid('query'), id), 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/agents/{id}/epochs',
        summary: 'Changes of epoch of one agent with their votes, the latest first',
        middleware: viewer,
        request: { params: agentParams, query: pageQuery },
        responses: { 200: answer('Epochs', epochPage), ...problems },
      }),
      async (c) => {
        const { limit, cursor } = c.req.valid('query')
        const found = await failover.epochs(c.req.valid('param').id, limit + 1, numberOf(cursor))
        const items = found.slice(0, limit)
        const next = found.length > limit ? String(items.at(-1)?.epoch) : null
        return c.json({ items: [...items], next }, 200)
      },
    )

  async function pageOf(
    { limit, cursor }: z.infer<typeof pageQuery>,
    agentId?: z.infer<typeof agentParams>['id'],
  ): Promise<z.infer<typeof switchPage>> {
    const items = await failover.switches({
      limit: limit + 1,
      before: positionOf(cursor),
      ...(agentId === undefined ? {} : { agentId }),
    })
    const page = items.slice(0, limit)
    const more = cursorAfter(page, limit, ({ switched_at: at, id }) => ({ at: Date.parse(at), id }))
    return { items: page, next: items.length > limit ? more : null }
  }
}

const epochPage = z.object({ items: z.array(epochViewSchema), next: z.string().nullable() })
const switchPage = z.object({ items: z.array(switchViewSchema), next: z.string().nullable() })
