import { createRoute, type RouteConfig, z } from '@hono/zod-openapi'
import { agentIdSchema, incidentIdSchema, replicaIdSchema } from '@understudy/shared/protocol/primitives'
import { problemSchema } from '@understudy/shared/protocol/problem'

/** A JSON body in a route's description. */
const json = <S extends z.ZodType>(schema: S) => ({ content: { 'application/json': { schema } } })

/** A JSON body that has to be there, also when no content type says so. */
export const requiredJson = <S extends z.ZodType>(schema: S) => ({ ...json(schema), required: true as const })

export const answer = <S extends z.ZodType>(description: string, schema: S) => ({
  description,
  ...json(schema),
})

const problem = {
  description: 'What went wrong, and what to do',
  content: { 'application/problem+json': { schema: problemSchema } },
}

/** Every call can end in a problem document. */
export const problems = { '4XX': problem, '5XX': problem } as const

export const agentParams = z.object({ id: agentIdSchema })
export const replicaParams = z.object({ id: agentIdSchema, rid: replicaIdSchema })
export const incidentParams = z.object({ id: incidentIdSchema })

/** `limit` and `cursor` of every list. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(100).optional(),
})

export const route = <const R extends RouteConfig>(config: R) => createRoute(config)
