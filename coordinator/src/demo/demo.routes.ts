import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import { millis } from '@understudy/shared/core/time'
import { type DemoView, demoViewSchema } from '@understudy/shared/protocol/live'
import type { RemoteCloud } from '../cloud/simulated/remote-cloud.ts'
import type { Failover } from '../failover/failover.ts'
import {
  type Api,
  agentParams,
  answer,
  createRoutes,
  problems,
  requiredJson,
  requireRole,
  route,
} from '../http/http.ts'

const interruptSchema = z
  .strictObject({
    /** Seconds of notice; null for an end without one. */
    notice_seconds: z.number().min(0).max(120).nullable().default(120),
  })
  .meta({ id: 'InterruptRequest' })

/** What only the demo has: the page may pull the strings of the simulated cloud. */
export function demoRoutes(remote: RemoteCloud, failover: Failover, showDemo: (demo: DemoView) => void): Api {
  return createRoutes()
    .openapi(
      route({
        method: 'post',
        path: '/api/demo/interrupt/{id}',
        summary: 'Lets the simulated cloud take the primary of an agent back',
        middleware: requireRole('operator'),
        request: { params: agentParams, body: requiredJson(interruptSchema) },
        responses: { 200: answer('Done', z.object({ instance_id: z.string() })), ...problems },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const primary = failover.primaryOf(id)
        if (primary === undefined) throw new AppError('not_found', `the agent ${id} has no primary`)
        const { notice_seconds: seconds } = c.req.valid('json')
        await remote.interrupt(primary, seconds === null ? undefined : millis(seconds * 1000))
        return c.json({ instance_id: primary }, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/demo/show',
        summary: "The demo client's counters and the story so far",
        middleware: requireRole('operator'),
        request: { body: requiredJson(demoViewSchema) },
        responses: { 204: { description: 'Shown' }, ...problems },
      }),
      (c) => {
        showDemo(c.req.valid('json'))
        return c.body(null, 204)
      },
    )
}
