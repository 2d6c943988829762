import { z } from '@hono/zod-openapi'
import { auditEntrySchema } from '@understudy/shared/protocol/settings'
import type { AuditLog } from './audit-log.ts'
import { requireRole } from './auth.ts'
import { type Api, createRoutes } from './env.ts'
import { answer, pageQuery, problems, route } from './route.ts'

const word = z.string().min(1).max(200).optional()
const auditQuery = pageQuery.extend({ actor: word, action: word, object: word })

/** Who has changed what. */
export const auditRoutes = (log: AuditLog): Api =>
  createRoutes().openapi(
    route({
      method: 'get',
      path: '/api/audit',
      summary: 'Who changed what, the latest first',
      middleware: requireRole('viewer'),
      request: { query: auditQuery },
      responses: {
        200: answer('Changes', z.object({ items: z.array(auditEntrySchema), next: z.string().nullable() })),
        ...problems,
      },
    }),
    async (c) => {
      const { limit, cursor, ...filter } = c.req.valid('query')
      const { items, next } = await log.list(filter, cursor, limit)
      return c.json({ items: [...items], next }, 200)
    },
  )
