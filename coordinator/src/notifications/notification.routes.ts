import { z } from '@hono/zod-openapi'
import {
  deliveryStatuses,
  notificationDeliverySchema,
  notificationReceiverSchema,
  notificationTestSchema,
} from '@understudy/shared/protocol/notifications'
import { incidentIdSchema } from '@understudy/shared/protocol/primitives'
import {
  type Api,
  type Audit,
  actorOf,
  answer,
  createRoutes,
  pageQuery,
  problems,
  requireRole,
  route,
} from '../http/http.ts'
import type { Notifications } from './notifications.ts'

const receiversAnswer = z.object({
  items: z.array(notificationReceiverSchema),
  /** Why the file as it is now is not in force; null when it is. */
  problem: z.string().nullable(),
})
const receiverName = z.string().regex(/^[a-z0-9-]{1,40}$/)
const deliveryQuery = pageQuery.extend({
  cursor: z.coerce.number().int().nonnegative().optional(),
  receiver: receiverName.optional(),
  incident_id: incidentIdSchema.optional(),
  status: z.enum(deliveryStatuses).optional(),
})

/** Who is told of incidents, and how that went. */
export function notificationRoutes(notifications: Notifications, audit: Audit): Api {
  const viewer = requireRole('viewer')
  const receiversView = async () => {
    const { items, problem } = await notifications.receivers()
    return { items: [...items], problem }
  }
  return createRoutes()
    .openapi(
      route({
        method: 'get',
        path: '/api/notifications/receivers',
        summary: 'Who is told of incidents and alerts, and how that goes; no secrets',
        middleware: viewer,
        responses: {
          200: answer('Receivers', receiversAnswer),
          ...problems,
        },
      }),
      async (c) => c.json(await receiversView(), 200),
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/notifications/receivers/reload',
        summary:
          'Reads the file of receivers now; one that is wrong changes nothing, and the answer names its lines',
        middleware: requireRole('admin'),
        responses: { 200: answer('Those who are told from now on', receiversAnswer), ...problems },
      }),
      async (c) => {
        notifications.reload()
        const view = await receiversView()
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'notification.reload',
          object: 'receivers',
          after: { receivers: view.items.map(({ name }) => name) },
        })
        return c.json(view, 200)
      },
    )
    .openapi(
      route({
        method: 'get',
        path: '/api/notifications/deliveries',
        summary: 'Messages, the latest first, with how far each is',
        middleware: viewer,
        request: { query: deliveryQuery },
        responses: {
          200: answer(
            'Messages',
            z.object({ items: z.array(notificationDeliverySchema), next: z.string().nullable() }),
          ),
          ...problems,
        },
      }),
      async (c) => {
        const { limit, cursor, receiver, incident_id: thread, status } = c.req.valid('query')
        const { items, next } = await notifications.deliveries({
          ...{ limit, receiver, thread, status },
          before: cursor,
        })
        return c.json({ items: [...items], next: next === null ? null : String(next) }, 200)
      },
    )
    .openapi(
      route({
        method: 'post',
        path: '/api/notifications/receivers/{name}/test',
        summary: 'Sends one message to a receiver now, and says how that went',
        middleware: requireRole('admin'),
        request: { params: z.object({ name: receiverName }) },
        responses: { 200: answer('How it went', notificationTestSchema), ...problems },
      }),
      async (c) => {
        const { name } = c.req.valid('param')
        const tested = await notifications.test(name)
        await audit.record({
          actor: actorOf(c.get('principal')),
          action: 'notification.test',
          object: name,
          after: { ok: tested.ok, status: tested.status },
        })
        return c.json(tested, 200)
      },
    )
}
