import { upgradeWebSocket } from '@hono/node-server'
import type { WebSocket } from 'ws'
import { type Api, createRoutes, requireRole } from '../http/http.ts'
import type { Readings } from './readings.ts'

/** Where pages watch readings. It is authenticated like any other request, before the upgrade, and again from time to time. */
export function readingRoutes(readings: Readings): Api {
  const routes = createRoutes()
  routes.get('/api/live/readings', requireRole('viewer'), (c) => {
    const caller = { principal: c.get('principal'), whoNow: c.get('whoNow') }
    let session: ReturnType<Readings['join']> | undefined
    return upgradeWebSocket(c, {
      onOpen: (_, ws) => {
        session = readings.join(ws.raw as unknown as WebSocket, caller)
      },
      onMessage: (event) => session?.receive(String(event.data)),
      onClose: () => session?.closed(),
    })
  })
  return routes
}
