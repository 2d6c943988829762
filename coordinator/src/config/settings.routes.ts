import { z } from '@hono/zod-openapi'
import { type SettingView, settingViewSchema } from '@understudy/shared/protocol/settings'
import { type Api, answer, createRoutes, problems, requireRole, route } from '../http/http.ts'

/** What this coordinator runs with. */
export const settingsRoutes = (settings: readonly SettingView[]): Api =>
  createRoutes().openapi(
    route({
      method: 'get',
      path: '/api/settings',
      summary: 'The configuration in force, with the origin of each value; no secrets',
      middleware: requireRole('viewer'),
      responses: { 200: answer('Settings', z.object({ items: z.array(settingViewSchema) })), ...problems },
    }),
    (c) => c.json({ items: [...settings] }, 200),
  )
