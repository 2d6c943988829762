import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import type { Random } from '@understudy/shared/core/random'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import {
  type Clock,
  everyPeriod,
  hours,
  type Millis,
  minutes,
  plus,
  seconds,
} from '@understudy/shared/core/time'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import {
  type NotificationDelivery,
  type NotificationReceiver,
  type NotificationTest,
  type NotifiedAlert,
  notifiedAlertSchema,
} from '@understudy/shared/protocol/notifications'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { Incidents } from '../fleet/fleet.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { createCourier } from './courier.ts'
import { alertMessages, incidentMessages, testMessage } from './messages.ts'
import { createNotificationMetrics } from './notification-metrics.ts'
import { createOutbox, type NewMessage, type OutboxFilter } from './outbox.ts'
import type { Poster } from './posting.ts'
import type { Receiver } from './receivers.ts'
import { deliveryView, receiverView } from './views.ts'

export { createPoster, type Poster } from './posting.ts'
export type { Receiver } from './receivers.ts'

import { createReceiversBook } from './receivers-book.ts'

export { parseReceivers } from './receivers-file.ts'

/**
 * Tells people of incidents and alerts. Nothing of it is on the path of a move: what is to be said is written down beside it, and
 * sent by a service of its own.
 */
export interface Notifications {
  readonly service: Service
  /** What is known of an incident has changed. */
  onIncident(incident: IncidentView): void
  /** Something is wrong with a model, or worse than it was. */
  onAlert(alert: Readonly<Record<keyof NotifiedAlert, string>>): void
  /** Sends a message to a receiver now, once, beside the outbox. @throws AppError `not_found` */
  test(receiver: string): Promise<NotificationTest>
  receivers(): Promise<{
    readonly items: readonly NotificationReceiver[]
    /** Why the file as it is now is not in force; null when it is. */
    readonly problem: string | null
  }>
  /** Reads the file of receivers now. @throws AppError `config_invalid` with its lines; then those of before are told */
  reload(): void
  /** The latest first, and where the next page begins. */
  deliveries(filter: OutboxFilter): Promise<{
    readonly items: readonly NotificationDelivery[]
    readonly next: number | null
  }>
}

/** What was missed, as when a coordinator was killed, is looked for so far back. */
const LOOKED_BACK = hours(24)
const LOOK_BACK_EVERY = minutes(5)
const REREAD_EVERY = seconds(10)
const KEPT = hours(24 * 30)
/** Incidents of which is remembered what was written down of them. */
const REMEMBERED = 500

export function openNotifications(parts: {
  readonly receivers: readonly Receiver[]
  /** Reads their file anew; undefined where there is none. @throws AppError `config_invalid` */
  readonly reread?: (() => readonly Receiver[]) | undefined
  readonly db: Kysely<Schema>
  readonly incidents: Pick<Incidents, 'list'>
  readonly poster: Poster
  /** Where the dashboard is. */
  readonly publicUrl: string
  readonly registry: Registry
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}): Notifications {
  const { reread, db, incidents, poster, publicUrl, clock, log } = parts
  const book = createReceiversBook({ initial: parts.receivers, read: reread, log })
  const receivers = book.current
  const outbox = createOutbox(db)
  const metrics = createNotificationMetrics(parts.registry, receivers, () => outbox.states(), clock)
  const courier = createCourier({ ...parts, receivers, outbox, onAttempt: metrics.attempted })
  /** Who is told of what from when on; everything that is told waits for it. */
  let begun: Promise<ReadonlyMap<string, number>> | undefined
  const since = () =>
    (begun ??= outbox.since(
      receivers().map(({ name }) => name),
      clock.now(),
    ))
  /** By thread: what was written down already. */
  const known = new Map<string, Set<string>>()

  function isNew({ receiver, thread, stage }: NewMessage): boolean {
    const told = known.get(thread) ?? new Set()
    known.set(thread, told)
    const key = `${receiver} ${stage}`
    if (told.has(key)) return false
    told.add(key)
    if (known.size > REMEMBERED) known.delete([...known.keys()][0] ?? '')
    return true
  }

  /** One after the other: the order in which they are added is that in which they are sent. */
  const inOrder = createSerial()
  const tell = (messages: readonly NewMessage[], happenedAt: number): Promise<void> =>
    inOrder(async () => {
      const from = await since()
      const wanted = messages.filter(
        ({ receiver }) => happenedAt >= (from.get(receiver) ?? Number.POSITIVE_INFINITY),
      )
      const added = await outbox.add(wanted, clock.now())
      if (added.length > 0) courier.wake()
    })

  /** Beside everything else: what could not be written down is looked for again later. */
  function later(messages: readonly NewMessage[], happenedAt: number): void {
    const fresh = messages.filter(isNew)
    if (fresh.length === 0) return
    tell(fresh, happenedAt).catch((error: unknown) => {
      for (const { thread } of fresh) known.delete(thread)
      log.error({ event: 'notification.not_written', err: error })
    })
  }

  const ofIncident = (incident: IncidentView) =>
    incidentMessages(receivers(), incident, publicUrl, clock.now())

  /** Whatever was recorded and not told, such as by a coordinator that was killed in between. */
  async function lookBack(): Promise<void> {
    await since()
    const oldest = plus(clock.now(), -LOOKED_BACK as Millis)
    const missed: IncidentView[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await incidents.list({ limit: 100, ...(cursor === undefined ? {} : { cursor }) })
      const recent = page.items.filter(({ detected_at: at }) => Date.parse(at) >= oldest)
      missed.push(...recent)
      cursor = recent.length < page.items.length ? null : page.next
    }
    for (const incident of missed.reverse())
      await tell(ofIncident(incident), Date.parse(incident.detected_at))
    await outbox.purge(plus(clock.now(), -KEPT as Millis))
  }

  /** Who is new is told of what happens from now on. */
  function onChanged(): void {
    begun = undefined
    courier.wake()
    since().catch((error: unknown) => {
      begun = undefined
      log.error({ event: 'notification.not_written', err: error })
    })
  }

  const service: Service = {
    name: 'notifications',
    async run(signal) {
      if (receivers().length === 0 && !reread) return
      await Promise.all([
        courier.run(signal),
        everyPeriod(clock, REREAD_EVERY, signal, () => {
          if (book.look()) onChanged()
        }),
        everyPeriod(clock, LOOK_BACK_EVERY, signal, () =>
          lookBack().catch((error: unknown) => {
            begun = undefined
            log.error({ event: 'notification.look_back_failed', err: error })
          }),
        ),
      ])
      await poster.close()
    },
  }

  return {
    service,
    onIncident: (incident) => later(ofIncident(incident), Date.parse(incident.detected_at)),
    onAlert: (alert) =>
      later(
        alertMessages(receivers(), notifiedAlertSchema.parse(alert), publicUrl, clock.now()),
        Number.MAX_SAFE_INTEGER,
      ),
    async test(name) {
      const receiver = receivers().find((known) => known.name === name)
      if (!receiver)
        throw new AppError('not_found', `there is no receiver "${name.slice(0, 40)}"`, {
          hint: 'GET /api/notifications/receivers lists them.',
        })
      const began = clock.mono()
      const message = testMessage(receiver, randomUUID(), publicUrl, clock.now())
      const { ok, status, error } = await poster.post(receiver, message, AbortSignal.timeout(15_000))
      return { receiver: name, ok, status, took_ms: Math.round(clock.mono() - began), error }
    },
    async receivers() {
      const states = receivers().length === 0 ? new Map() : await outbox.states()
      const items = receivers().map((receiver) => receiverView(receiver, states.get(receiver.name)))
      return { items, problem: book.problem() }
    },
    reload() {
      if (book.reload()) onChanged()
    },
    async deliveries(filter) {
      const rows = await outbox.list({ ...filter, limit: filter.limit + 1 })
      const page = rows.slice(0, filter.limit)
      return {
        items: page.map(deliveryView),
        next: rows.length > filter.limit ? (page.at(-1)?.seq ?? null) : null,
      }
    },
  }
}
