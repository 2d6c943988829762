import { z } from '@hono/zod-openapi'
import type { AgentId } from '@understudy/shared/core/ids'
import type { Instant } from '@understudy/shared/core/time'
import { settingsPatchSchema, settingsSchema } from '@understudy/shared/protocol/agents'
import { enrolRequestSchema, enrolResponseSchema } from '@understudy/shared/protocol/enrolment'
import { incidentViewSchema } from '@understudy/shared/protocol/incidents'
import { agentIdSchema, instanceIdSchema } from '@understudy/shared/protocol/primitives'
import {
  type Api,
  type Audit,
  actorOf,
  agentParams,
  answer,
  createRoutes,
  incidentParams,
  pageQuery,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'
import { type EnrolmentPorts, enrol } from './enrolment.ts'
import { settingsOf } from './fleet-store.ts'
import { toText, toZip } from './flight-recorder.ts'
import type { Incidents } from './incidents.ts'

const joinTokenRequestSchema = z
  .strictObject({
    /** Shown instead of the id; taken when the agent is new. */
    name: z.string().min(1).max(80).optional(),
    client_id: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,40}$/)
      .optional(),
    /** Lets an instance in again that has enrolled before. */
    instance_id: instanceIdSchema.optional(),
  })
  .meta({ id: 'JoinTokenRequest' })

const joinTokenResponseSchema = z
  .object({ agent_id: agentIdSchema, join_token: z.string(), expires_at: z.string() })
  .meta({ id: 'JoinTokenResponse' })

export interface FleetRoutesPorts {
  readonly enrolment: EnrolmentPorts
  readonly incidents: Incidents
  readonly audit: Audit
  readonly createJoinToken: (token: {
    agentId: AgentId
    replicaId: null
    instanceId: string | null
  }) => Promise<{ token: string; expiresAt: Instant }>
  readonly onNewAgent: (agentId: AgentId) => void
  readonly onSettings: (agentId: AgentId) => void
}

/** How instances come in, what agents may do, and what happened to them. */
export function fleetRoutes(ports: FleetRoutesPorts): Api {
  const { enrolment, incidents, audit } = ports
  const { store } = enrolment
  const viewer = requireRole('viewer')
  return createRoutes()
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/enroll',
        summary: 'An instance joins: join token and signed identity document for a credential',
        request: { body: requiredJson(enrolRequestSchema) },
        responses: { 201: answer('It is in', enrolResponseSchema), ...problems },
      }),
      async (c) => {
        const response = await enrol(c.req.valid('json'), enrolment)
        const { agent_id, instance_id, role } = response
        await audit.record({
          actor: `instance ${instance_id}`,
          action: 'instance.enrol',
          object: agent_id,
          after: { instance_id, role },
        })
        return c.json(response, 201)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/agents/{id}/join-tokens',
        summary: 'A one-time token with which an instance joins an agent; makes the agent if it is new',
        middleware: requireRole('admin'),
        request: { params: agentParams, body: requiredJson(joinTokenRequestSchema) },
        responses: { 201: answer('Shown once', joinTokenResponseSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const { name, client_id, instance_id } = c.req.valid('json')
        const isNew = await store.ensureAgent({ id, name: name ?? id, clientId: client_id ?? 'default' })
        if (isNew) ports.onNewAgent(id)
        const { token, expiresAt } = await ports.createJoinToken({
          agentId: id,
          replicaId: null,
          instanceId: instance_id ?? null,
        })
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'token.join',
          object: id,
          after: { instance_id: instance_id ?? null },
        })
        return c.json({ agent_id: id, join_token: token, expires_at: new Date(expiresAt).toISOString() }, 201)
      },
    )
    .openapi(
      route({
        method: 'patch',
        path: '/api/agents/{id}',
        summary: 'Settings of an agent',
        middleware: requireRole('operator'),
        request: { params: agentParams, body: requiredJson(settingsPatchSchema) },
        responses: { 200: answer('The settings now', settingsSchema), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const before = settingsOf(await store.mustAgent(id))
        await store.patchSettings(id, c.req.valid('json'))
        const after = settingsOf(await store.mustAgent(id))
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'agent.settings',
          object: id,
          before,
          after,
        })
        ports.onSettings(id)
        return c.json(after, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/incidents',
        summary: 'What happened, the latest first',
        middleware: viewer,
        request: { query: pageQuery.extend({ agent_id: agentIdSchema.optional() }) },
        responses: {
          200: answer(
            'Incidents with their steps',
            z.object({ items: z.array(incidentViewSchema), next: z.string().nullable() }),
          ),
          ...problems,
        },
      }),
      async (c) => {
        const { limit, cursor, agent_id } = c.req.valid('query')
        const { items, next } = await incidents.list({
          limit,
          ...(cursor === undefined ? {} : { cursor }),
          ...(agent_id === undefined ? {} : { agentId: agent_id }),
        })
        return c.json({ items: [...items], next }, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/incidents/{id}',
        summary: 'One incident, step by step',
        middleware: viewer,
        request: { params: incidentParams },
        responses: { 200: answer('The incident', incidentViewSchema), ...problems },
      }),
      async (c) => c.json(await incidents.get(c.req.valid('param').id), 200),
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/incidents/{id}/export',
        summary: 'The flight recorder as JSON, plain text or a zip of both',
        middleware: viewer,
        request: {
          params: incidentParams,
          query: z.object({ format: z.enum(['json', 'text', 'zip']).default('json') }),
        },
        responses: {
          200: {
            description: 'The incident, to keep',
            content: {
              'application/json': { schema: incidentViewSchema },
              'text/plain': { schema: z.string() },
              'application/zip': { schema: z.string() },
            },
          },
          ...problems,
        },
      }),
      async (c) => {
        const incident = await incidents.get(c.req.valid('param').id)
        const { format } = c.req.valid('query')
        const name = `incident-${incident.agent_id}-${incident.id.slice(0, 8)}`
        const attach = (ending: string) => ({
          'content-disposition': `attachment; filename="${name}.${ending}"`,
        })
        if (format === 'text')
          return c.body(toText(incident), 200, {
            'content-type': 'text/plain; charset=utf-8',
            ...attach('txt'),
          })
        if (format === 'zip')
          return c.body(toZip(incident).slice().buffer, 200, {
            'content-type': 'application/zip',
            ...attach('zip'),
          })
        return c.json(incident, 200, attach('json'))
      },
    )
}
