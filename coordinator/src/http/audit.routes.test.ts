import { systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { auditRoutes } from './audit.routes.ts'
import { createAudit } from './audit.ts'
import { createAuditLog } from './audit-log.ts'
import { createApi, createTokens } from './http.ts'

test('changes are for whoever may look, and for nobody else', async () => {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  await migrate(database.db)
  const tokens = createTokens(database.db, systemClock)
  const agents = { find: async () => ({ agentId: 'a', instanceId: 'i-1' }) }
  const api = createApi(pino({ level: 'silent' }), { open: false, tokens, agents }, (_, next) => next())
  api.route('/', auditRoutes(createAuditLog(database.db)))
  await createAudit(database.db, systemClock).record({ actor: 'ada', action: 'agent.drill', object: 'a' })
  const viewer = await tokens.createOperator('ada', 'viewer', undefined)
  const ask = (token: string, query = '') =>
    api.request(`/api/audit${query}`, { headers: { authorization: `Bearer ${token}` } })
  expect([(await ask('nobody')).status, (await ask('uc_1_2')).status]).toEqual([401, 403])
  expect(await (await ask(viewer, '?actor=ada')).json()).toMatchObject({
    items: [{ actor: 'ada', action: 'agent.drill', object: 'a' }],
    next: null,
  })
  for (const bad of ['?limit=0', '?cursor=x', '?actor=']) expect((await ask(viewer, bad)).status).toBe(400)
})
