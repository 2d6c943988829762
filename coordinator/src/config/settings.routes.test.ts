import { systemClock } from '@understudy/shared/core/time'
import type { SettingView } from '@understudy/shared/protocol/settings'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { createApi, createTokens } from '../http/http.ts'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { settingsRoutes } from './settings.routes.ts'

const setting: SettingView = {
  ...{ name: 'api_port', value: '8000', origin: 'default', is_set: true },
  ...{ secret: false, doc: 'Port', env: 'API_PORT' },
}

test('settings are for whoever may look, and for nobody else', async () => {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  await migrate(database.db)
  const tokens = createTokens(database.db, systemClock)
  const agents = { find: async () => ({ agentId: 'a', instanceId: 'i-1' }) }
  const api = createApi(pino({ level: 'silent' }), { open: false, tokens, agents }, (_, next) => next())
  api.route('/', settingsRoutes([setting]))
  const viewer = await tokens.createOperator('ada', 'viewer', undefined)
  const ask = (token: string) =>
    api.request('/api/settings', { headers: { authorization: `Bearer ${token}` } })
  expect([(await ask('nobody')).status, (await ask('uc_1_2')).status]).toEqual([401, 403])
  expect(await (await ask(viewer)).json()).toEqual({ items: [setting] })
})
