import type { Logger } from 'pino'
import { type Api, createRoutes } from './env.ts'
import { toProblemResponse } from './problems.ts'
import type { Role } from './tokens.ts'

/** A GET as the API answers it, inside this process. Errors are answers too: problem documents. */
export type Ask = (path: string) => Promise<{ readonly status: number; readonly text: string }>

/** The same routes without a port, for whoever has found out already that its caller has `role`. */
export function createInnerApi(log: Logger, routes: readonly Api[], role: Role): Ask {
  const api = createRoutes()
  api.onError((error, c) => toProblemResponse(error, c, log))
  api.use((c, next) => {
    c.set('log', log)
    c.set('requestId', 'inner')
    c.set('principal', { kind: 'operator', name: 'coordinator', role, viaCookie: false })
    return next()
  })
  for (const one of routes) api.route('/', one)
  return async (path) => {
    const response = await api.request(path)
    return { status: response.status, text: await response.text() }
  }
}
