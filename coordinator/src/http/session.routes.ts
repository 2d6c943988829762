import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import { hours } from '@understudy/shared/core/time'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { type AuthMode, SESSION_COOKIE } from './auth.ts'
import { type Api, createRoutes } from './env.ts'
import { answer, problems, requiredJson, route } from './route.ts'
import { roles } from './tokens.ts'

const SESSION_LIFE = hours(12)

const sessionSchema = z
  .object({ name: z.string(), role: z.enum(roles), needs_login: z.literal(false) })
  .or(z.object({ needs_login: z.literal(true) }))
  .meta({ id: 'Session' })

/** The dashboard signs in with an operator's token and gets a cookie that no script can read. */
export function sessionRoutes({ tokens }: AuthMode): Api {
  return createRoutes()
    .openapi(
      route({
        method: 'post',
        path: '/api/session',
        summary: 'Sign in with a token',
        request: { body: requiredJson(z.strictObject({ token: z.string().min(1).max(200) })) },
        responses: { 200: answer('Signed in', sessionSchema), ...problems },
      }),
      async (c) => {
        const made = await tokens.createSession(c.req.valid('json').token, SESSION_LIFE)
        if (!made)
          throw new AppError('unauthenticated', 'the token is not valid', {
            hint: 'Create one with `coordinator token create --role operator` and paste it whole.',
          })
        const { session, ...operator } = made
        setCookie(c, SESSION_COOKIE, session, {
          httpOnly: true,
          sameSite: 'Strict',
          // Behind a proxy that ends TLS the request itself is plain.
          secure: c.req.header('x-forwarded-proto') === 'https' || c.req.url.startsWith('https:'),
          path: '/',
          maxAge: SESSION_LIFE / 1000,
        })
        return c.json({ ...operator, needs_login: false as const }, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/session',
        summary: 'Who is signed in',
        responses: { 200: answer('The caller', sessionSchema), ...problems },
      }),
      (c) => {
        const principal = c.get('principal')
        if (principal?.kind !== 'operator') return c.json({ needs_login: true as const }, 200)
        const { name, role } = principal
        return c.json({ name, role, needs_login: false as const }, 200)
      },
    )
    .openapi(
      route({
        method: 'delete',
        path: '/api/session',
        summary: 'Sign out',
        responses: { 204: { description: 'Signed out' }, ...problems },
      }),
      async (c) => {
        const session = getCookie(c, SESSION_COOKIE)
        if (session) await tokens.endSession(session)
        deleteCookie(c, SESSION_COOKIE, { path: '/' })
        return c.body(null, 204)
      },
    )
}
