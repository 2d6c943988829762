import { upgradeWebSocket } from '@hono/node-server'
import type { Clock } from '@understudy/shared/core/time'
import type { Context } from 'hono'
import type { WebSocket } from 'ws'
import type { AppEnv, Role } from '../http/http.ts'
import type { LiveSocket } from './topics.ts'
import { SIGNED_OUT, whileAllowed } from './while-allowed.ts'

/** Who may listen, and by which clock that is looked at again. */
export interface Listening {
  readonly clock: Clock
  readonly role: Role
}

/**
 * A WebSocket on which a page only listens, for as long as it may. To be used behind the middleware that checks the same role.
 * @param join returns what to call when the page has gone
 */
export function pageSocket(
  c: Context<AppEnv>,
  { clock, role }: Listening,
  join: (socket: LiveSocket) => () => void,
) {
  const whoNow = c.get('whoNow')
  let leave: (() => void) | undefined
  return upgradeWebSocket(c, {
    onOpen: (_, ws) => {
      const socket = ws.raw as unknown as WebSocket
      const leaveFeed = join(socket)
      const stopLooking = whileAllowed({
        ...{ clock, role, whoNow },
        onEnd() {
          leaveFeed()
          socket.close(SIGNED_OUT, 'signed out')
        },
      })
      leave = () => {
        stopLooking()
        leaveFeed()
      }
    },
    onClose: () => leave?.(),
  })
}
