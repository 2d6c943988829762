import { OpenAPIHono } from '@hono/zod-openapi'
import type { Logger } from 'pino'
import { invalidInput } from './problems.ts'
import type { Principal } from './tokens.ts'

/** What every handler finds in its context. */
export interface AppEnv {
  Variables: {
    log: Logger
    requestId: string
    principal: Principal | undefined
    /** The same caller a while later, as on a WebSocket: undefined once nobody knows them any more. */
    whoNow: () => Promise<Principal | undefined>
  }
}

export type Api = OpenAPIHono<AppEnv>

/** A router whose validation errors are ours. */
export const createRoutes = (): Api =>
  new OpenAPIHono<AppEnv>({
    defaultHook: (result) => {
      if (!result.success) throw invalidInput(result.error, result.target === 'json' ? 'body' : result.target)
    },
  })
