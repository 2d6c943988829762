import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { AppError, errorCodes, isAppError } from '@understudy/shared/core/app-error'
import { millis } from '@understudy/shared/core/time'
import { agentIdSchema, epochSchema, instanceIdSchema } from '@understudy/shared/protocol/primitives'
import { Hono } from 'hono'
import { z } from 'zod'
import type { SimulatedCloud } from './simulated-cloud.ts'

/**
 * The simulated cloud over HTTP, as EC2 is: a coordinator that is killed and started again finds its instances as
 * they were. Loopback only, for the coordinator and for tests.
 */

const launchBodySchema = z.strictObject({
  requestId: z.string(),
  pool: z.strictObject({ instanceType: z.string(), availabilityZone: z.string() }),
  lifeCycle: z.enum(['spot', 'on-demand']).optional(),
  agentId: agentIdSchema,
  userData: z.strictObject({ coordinatorUrl: z.string(), joinToken: z.string() }),
})

const pointBodySchema = z.strictObject({
  agentId: agentIdSchema,
  instanceId: instanceIdSchema,
  epoch: epochSchema,
})

const drainBodySchema = z.strictObject({ agentId: agentIdSchema, epoch: epochSchema })

const interruptBodySchema = z.strictObject({
  /** Absent: the end comes without a notice. */
  leadMillis: z.number().nonnegative().optional(),
  action: z.enum(['terminate', 'stop', 'hibernate']).optional(),
})

const instanceOf = (id: string) => instanceIdSchema.parse(id)

function controlRoutes(simulated: SimulatedCloud): Hono {
  const { cloud, address } = simulated
  return new Hono()
    .onError((error, c) => {
      const known = isAppError(error)
        ? error
        : new AppError(error instanceof z.ZodError ? 'input_invalid' : 'internal', error.message)
      const { code, message, hint, retryable, facts } = known
      return c.json({ code, message, hint, retryable, facts }, errorCodes[code].status as 500)
    })
    .get('/offers', async (c) => c.json(await cloud.offers(c.req.raw.signal)))
    .post('/launch', async (c) =>
      c.json(await cloud.launch(launchBodySchema.parse(await c.req.json()), c.req.raw.signal)),
    )
    .get('/instances/:id', async (c) =>
      c.json({ instance: await cloud.describe(instanceOf(c.req.param('id')), c.req.raw.signal) }),
    )
    .delete('/instances/:id', async (c) => {
      await cloud.terminate(instanceOf(c.req.param('id')), c.req.raw.signal)
      return c.json({})
    })
    .post('/address/point', async (c) => {
      const did = await address.point(pointBodySchema.parse(await c.req.json()), c.req.raw.signal)
      return c.json({ did })
    })
    .post('/address/drain', async (c) => {
      const did = await address.drain(drainBodySchema.parse(await c.req.json()), c.req.raw.signal)
      return c.json({ did })
    })
    .post('/instances/:id/interrupt', async (c) => {
      const { leadMillis, action } = interruptBodySchema.parse(await c.req.json())
      simulated.interrupt(
        instanceOf(c.req.param('id')),
        leadMillis === undefined ? undefined : millis(leadMillis),
        action,
      )
      return c.json({})
    })
    .post('/instances/:id/rebalance', (c) => {
      simulated.rebalance(instanceOf(c.req.param('id')))
      return c.json({})
    })
}

/** Serves the control API on a loopback port. */
export async function serveControl(
  simulated: SimulatedCloud,
): Promise<{ url: string; close: () => Promise<void> }> {
  const routes = controlRoutes(simulated)
  const server = serve({ fetch: routes.fetch, hostname: '127.0.0.1', port: 0 }) as Server
  if (!server.listening) await new Promise<void>((resolve) => server.once('listening', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
