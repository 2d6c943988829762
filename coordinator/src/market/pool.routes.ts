import { z } from '@hono/zod-openapi'
import { poolListSchema } from '@understudy/shared/protocol/market'
import { type Api, answer, createRoutes, problems, requireRole, route } from '../http/http.ts'
import type { PoolViews } from './pool-views.ts'

const poolQuerySchema = z.strictObject({
  instance_type: z.string().max(64).optional(),
  region: z.string().max(40).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(200),
  cursor: z.string().max(120).optional(),
})

/** Every pool of which a price is known, as it is now. */
export function poolRoutes(pools: PoolViews): Api {
  return createRoutes().openapi(
    route({
      method: 'get',
      path: '/api/pools',
      summary: 'Pools with their price, discount and interruption band; what is not known is null',
      middleware: requireRole('viewer'),
      request: { query: poolQuerySchema },
      responses: { 200: answer('Pools, in the order of their names', poolListSchema), ...problems },
    }),
    async (c) => {
      const { instance_type: instanceType, ...rest } = c.req.valid('query')
      return c.json(await pools.list({ instanceType, ...rest }), 200)
    },
  )
}
