import { z } from '@hono/zod-openapi'
import {
  accountChangeSchema,
  accountIdSchema,
  accountListSchema,
  accountSchema,
} from '@understudy/shared/protocol/accounts'
import {
  type Api,
  type Audit,
  actorOf,
  answer,
  createRoutes,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'
import type { Accounts } from './accounts.ts'

/** What AWS accounts are for. */
export function accountRoutes(accounts: Accounts, audit: Audit): Api {
  return createRoutes()
    .openapi(
      route({
        method: 'get',
        path: '/api/accounts',
        summary: 'AWS accounts in which instances run, and what each is for',
        middleware: requireRole('viewer'),
        responses: { 200: answer('Accounts', accountListSchema), ...problems },
      }),
      async (c) => c.json({ items: [...(await accounts.list())] }, 200),
    )
    .openapi(
      route({
        method: 'put',
        path: '/api/accounts/{account_id}',
        summary: 'Say what an account is for: the Lab acts only in LAB_INTERNAL',
        middleware: requireRole('admin'),
        request: {
          params: z.object({ account_id: accountIdSchema }),
          body: requiredJson(accountChangeSchema),
        },
        responses: { 200: answer('The account', accountSchema), ...problems },
      }),
      async (c) => {
        const { account_id: id } = c.req.valid('param')
        const actor = actorOf(c.get('principal'))
        const before = await accounts.put(id, c.req.valid('json'), actor)
        const after = (await accounts.list()).find(({ account_id: one }) => one === id) as z.infer<
          typeof accountSchema
        >
        await audit.record({ actor, action: 'account.set', object: id, before, after })
        return c.json(after, 200)
      },
    )
}
