import { upgradeWebSocket } from '@hono/node-server'
import { AppError } from '@understudy/shared/core/app-error'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import type { Clock } from '@understudy/shared/core/time'
import { type Api, createRoutes, requireRole } from '../http/http.ts'
import type { LinkSession, Links } from './links.ts'
import { pageSocket } from './page-socket.ts'
import type { Topics } from './topics.ts'
import type { VoterSockets } from './voter-sockets.ts'

/** The WebSockets. All are authenticated like any other request, before the upgrade; pages again from time to time. */
export function liveRoutes(links: Links, voters: VoterSockets, topics: Topics, clock: Clock): Api {
  const routes = createRoutes()
  for (const [path, sockets] of [
    ['/api/agents/:id/link', links],
    ['/api/agents/:id/voter', voters],
  ] as const)
    routes.get(path, async (c) => {
      const principal = c.get('principal')
      if (principal?.kind !== 'agent')
        throw new AppError('unauthenticated', 'a link needs the credential of an enrolled instance')
      if (principal.agentId !== c.req.param('id'))
        throw new AppError('forbidden', `this credential is for ${principal.agentId}`)
      let session: LinkSession | undefined
      return upgradeWebSocket(c, {
        onOpen: (_, ws) => {
          session = sockets.accept(agentId(principal.agentId), instanceId(principal.instanceId), ws)
        },
        onMessage: (event) => session?.receive(String(event.data)),
        onClose: () => session?.closed(),
      })
    })
  routes.get('/api/live', requireRole('viewer'), (c) =>
    pageSocket(c, { clock, role: 'viewer' }, topics.subscribe),
  )
  return routes
}
