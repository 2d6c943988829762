import type { Clock } from '@understudy/shared/core/time'
import { Counter, Gauge, type Registry } from 'prom-client'
import type { ReceiverState } from './outbox.ts'
import type { Receiver } from './receivers.ts'

const PREFIX = 'understudy_notification'
const results = ['sent', 'failed', 'given-up'] as const

/** What Prometheus sees of notifications. Receivers are few, and named by the operator. */
export function createNotificationMetrics(
  registry: Registry,
  receivers: () => readonly Receiver[],
  states: () => Promise<ReadonlyMap<string, ReceiverState>>,
  clock: Clock,
): { attempted(receiver: string, result: (typeof results)[number]): void } {
  const registers = [registry]
  const attempts = new Counter({
    name: `${PREFIX}s_total`,
    help: 'Attempts to tell a receiver something: sent, failed and tried again, or given up',
    labelNames: ['receiver', 'result'],
    registers,
  })
  const oldest = new Gauge({
    name: `${PREFIX}_oldest_waiting_seconds`,
    help: 'Age of the oldest message that a receiver has not got yet; 0 when none waits',
    labelNames: ['receiver'],
    registers,
  })
  new Gauge({
    name: `${PREFIX}s_waiting`,
    help: 'Messages that a receiver has not got yet',
    labelNames: ['receiver'],
    registers,
    async collect() {
      this.reset()
      oldest.reset()
      if (receivers().length === 0) return
      const known = await states()
      for (const { name: receiver } of receivers()) {
        for (const result of results) attempts.inc({ receiver, result }, 0)
        const { waiting = 0, oldestWaitingAt = null } = known.get(receiver) ?? {}
        this.set({ receiver }, waiting)
        const age = oldestWaitingAt === null ? 0 : Math.max(0, clock.now() - oldestWaitingAt)
        oldest.set({ receiver }, age / 1000)
      }
    },
  })
  return { attempted: (receiver, result) => attempts.inc({ receiver, result }) }
}
