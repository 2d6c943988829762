import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve, type WebSocketServerLike } from '@hono/node-server'
import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'
import { WebSocketServer } from 'ws'
import type { CoordinatorConfig } from './config/options.ts'
import type { Api } from './http/http.ts'

/** No message of an agent is longer. */
const MAX_MESSAGE = 1024 * 1024

/** Under which agents and people reach it. */
export function publicUrlOf(config: CoordinatorConfig, port: number): string {
  if (config.public_url) return config.public_url.replace(/\/+$/, '')
  const any = config.api_host === '0.0.0.0' || config.api_host === '::'
  const host = any ? '127.0.0.1' : config.api_host
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

interface Listening {
  readonly port: number
  /** Requests are answered from now on; those that came before have waited. */
  attach(api: Api): void
  close(): Promise<void>
}

/** Takes the port first, so that a port in use is known before anything else is done. */
export async function listen({ api_host: hostname, api_port: port }: CoordinatorConfig): Promise<Listening> {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_MESSAGE })
  let attach: (api: Api) => void = () => undefined
  const attached = new Promise<Api>((resolve) => {
    attach = resolve
  })
  const server = serve({
    fetch: async (request, env) => (await attached).fetch(request, env),
    hostname,
    port,
    // ws declares `noServer` as perhaps undefined; it is not, as one line above shows.
    websocket: { server: sockets as WebSocketServerLike },
  }) as Server
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', (error) =>
      reject(
        systemCodeOf(error) === 'EADDRINUSE'
          ? new AppError('port_in_use', `the port ${hostname}:${port} is in use`, {
              hint: 'Stop what uses it, or choose another one with --api-port.',
              cause: error,
            })
          : error,
      ),
    )
  })
  return {
    port: (server.address() as AddressInfo).port,
    attach,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets.clients) socket.terminate()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
