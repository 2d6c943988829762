import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import type { Context, MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Logger } from 'pino'
import { type AuthMode, authenticate } from './auth.ts'
import { type Api, type AppEnv, createRoutes } from './env.ts'
import { toProblemResponse } from './problems.ts'

export { type Audit, createAudit } from './audit.ts'
export {
  type AuthMode,
  actorOf,
  assertRole,
  requireOperatorOrAgent,
  requireRole,
} from './auth.ts'
export { type Api, type AppEnv, createRoutes } from './env.ts'
export { createIdempotency } from './idempotency.ts'
export { type Ask, createInnerApi } from './inner-api.ts'
export { cursorAfter, numberOf, positionOf } from './position.ts'
export { invalidInput } from './problems.ts'
export {
  agentParams,
  answer,
  incidentParams,
  pageQuery,
  problems,
  replicaParams,
  requiredJson,
  route,
} from './route.ts'
export { createTokens, type Principal, type Role, roles, type Tokens } from './tokens.ts'

/** No body of this API is longer. */
const MAX_BODY = 256 * 1024

/**
 * A file in parts goes to its handler as it comes, and the handler has a limit of its own: this is to be read by nobody else,
 * since a model does not fit into a string.
 */
const isUpload = (c: Context<AppEnv>): boolean =>
  c.req.method === 'POST' &&
  c.req.path.endsWith('/upload') &&
  (c.req.header('content-type') ?? '').toLowerCase().startsWith('multipart/form-data')

/** What comes before every route: identity of the request, limits, who is calling. */
export function createApi(log: Logger, auth: AuthMode, idempotency: MiddlewareHandler<AppEnv>): Api {
  const api = createRoutes()
  api.onError((error, c) => toProblemResponse(error, c, c.get('log') ?? log))
  api.notFound((c) =>
    toProblemResponse(
      new AppError('not_found', `there is nothing at ${c.req.method} ${c.req.path}`, {
        hint: 'GET /openapi.json lists every call.',
      }),
      c,
      log,
    ),
  )
  api.use(async (c, next) => {
    const requestId = randomUUID()
    c.set('requestId', requestId)
    c.set('log', log.child({ requestId }))
    await next()
    c.header('x-request-id', requestId)
    c.header('x-content-type-options', 'nosniff')
    c.header('referrer-policy', 'no-referrer')
  })
  const limit = bodyLimit({
    maxSize: MAX_BODY,
    onError: () => {
      throw new AppError('payload_too_large', `a body may have ${MAX_BODY} bytes`)
    },
  })
  api.use((c, next) => (isUpload(c) ? next() : limit(c, next)))
  api.use(refuseForeignPages(auth))
  api.use(authenticate(auth))
  api.use(acceptJson)
  api.use((c, next) => (isUpload(c) ? next() : idempotency(c, next)))
  return api
}

/**
 * A page of another site may not change anything here, whoever is signed in; nor may one reach an open demo. Nor may it
 * connect: a browser lets every page read what comes over a WebSocket.
 */
const refuseForeignPages =
  (auth: AuthMode): MiddlewareHandler<AppEnv> =>
  (c, next) => {
    const origin = c.req.header('origin')
    const host = c.req.header('host') ?? ''
    if (origin !== undefined && originHost(origin) !== host) {
      if (!isReading(c.req.method))
        throw new AppError('forbidden', `a page of ${origin} may not change anything here`)
      if (c.req.header('upgrade') !== undefined)
        throw new AppError('forbidden', `a page of ${origin} may not connect here`)
    }
    if (auth.open && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/.test(host))
      throw new AppError('forbidden', `the demo answers on the loopback address only, not as ${host}`)
    return next()
  }

const originHost = (origin: string): string | undefined =>
  URL.canParse(origin) ? new URL(origin).host : undefined

const isReading = (method: string): boolean => method === 'GET' || method === 'HEAD' || method === 'OPTIONS'

/**
 * The customer's curl calls name no content type, so a body is JSON whatever it says it is, and an empty one is `{}`.
 * Not for cookies: there the right content type is what a form on another site cannot send.
 */
const acceptJson: MiddlewareHandler<AppEnv> = async (c, next) => {
  const { method } = c.req
  if (isReading(method)) return next()
  const type = c.req.header('content-type') ?? ''
  if (type.startsWith('multipart/')) return next()
  const isJson = /^application\/(.+\+)?json\b/.test(type)
  const principal = c.get('principal')
  if (principal?.kind === 'operator' && principal.viaCookie && !isJson)
    throw new AppError('forbidden', 'a signed-in page must send application/json')
  const text = await c.req.text()
  if (isJson && text !== '') return next()
  const headers = new Headers(c.req.raw.headers)
  headers.set('content-type', 'application/json')
  headers.delete('content-length')
  c.req.raw = new Request(c.req.raw.url, { method, headers, body: text === '' ? '{}' : text })
  c.req.bodyCache = {}
  return next()
}
