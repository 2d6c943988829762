import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { toProblem } from '@understudy/shared/protocol/problem'
import type { Logger } from 'pino'

/** Answers one request; what it throws becomes a problem document, as in the API of the coordinator. */
export type LocalRoute = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void

/** By method and path, such as `POST /commit`. */
export type LocalRoutes = Readonly<Record<string, LocalRoute>>

const MAX_BODY_BYTES = 4096
/** Whoever opens connections and says nothing must not keep others out for long. */
const PATIENCE_MILLIS = 5000

/** The HTTP server of the agent's unix sockets. */
export function createLocalServer(routes: LocalRoutes, log: Logger): Server {
  const server = createServer(
    {
      headersTimeout: PATIENCE_MILLIS,
      requestTimeout: PATIENCE_MILLIS,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: 8192,
    },
    (request, response) => void answer(request, response),
  )
  server.maxConnections = 256

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await routeOf(routes, request)(request, response)
    } catch (error) {
      const known = isAppError(error)
      if (!known) log.error({ event: 'local.bug', err: error, path: request.url })
      const problem = toProblem(
        known ? error : new AppError('internal', 'an unexpected error; the log has its cause'),
      )
      if (response.headersSent) response.destroy()
      else answerJson(response, problem, problem.status, 'application/problem+json')
    }
  }
  return server
}

function routeOf(routes: LocalRoutes, { method = '', url = '' }: IncomingMessage): LocalRoute {
  const path = url.split('?')[0]
  const route = routes[`${method} ${path}`]
  if (route) return route
  throw new AppError('not_found', `there is no ${method} ${path} here`, {
    hint: `This socket answers ${Object.keys(routes).join(', ')}.`,
  })
}

export function answerJson(
  response: ServerResponse,
  body: unknown,
  status = 200,
  type = 'application/json',
): void {
  response.writeHead(status, { 'content-type': type })
  response.end(`${JSON.stringify(body)}\n`)
}

/**
 * The JSON body of a request; undefined when it is empty.
 * @throws AppError `payload_too_large`, `input_invalid`
 */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > MAX_BODY_BYTES)
      throw new AppError('payload_too_large', `the body is longer than ${MAX_BODY_BYTES} bytes`)
    parts.push(part)
  }
  const text = Buffer.concat(parts).toString('utf8').trim()
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new AppError('input_invalid', 'the body is not valid JSON', { cause })
  }
}
