import { type Health, healthSchema } from '@understudy/shared/protocol/health'
import { type Api, createRoutes } from './env.ts'
import { answer, route } from './route.ts'

/** One thing that has to work for this coordinator to be of use. */
export interface ReadinessCheck {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
}

export interface HealthPorts {
  readonly health: () => Promise<Health>
  readonly readiness: () => Promise<readonly ReadinessCheck[]>
}

/** `/livez` says that the process answers; `/readyz` that it can do its work; the others are for people. None needs a token. */
export function healthRoutes({ health, readiness }: HealthPorts): Api {
  const routes = createRoutes()
  for (const path of ['/api/health', '/health', '/api/v1/ml/health'])
    routes.openapi(
      route({
        method: 'get',
        path,
        summary: 'How the coordinator is',
        responses: { 200: answer('Healthy or degraded', healthSchema) },
      }),
      async (c) => c.json(await health(), 200),
    )
  routes.get('/livez', (c) => c.text('ok\n'))
  routes.get('/readyz', async (c) => {
    const checks = await readiness()
    const ok = checks.every((check) => check.ok)
    const verbose = c.req.query('verbose') !== undefined
    const lines = checks.map((check) => `${check.ok ? 'ok' : 'FAIL'} ${check.name}: ${check.detail}\n`)
    return c.text(verbose ? lines.join('') : ok ? 'ok\n' : 'not ready\n', ok ? 200 : 503)
  })
  return routes
}
