import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import {
  between,
  type Clock,
  type Instant,
  type Millis,
  type Mono,
  millis,
} from '@understudy/shared/core/time'
import type { Heartbeat, Hello } from '@understudy/shared/protocol/link'

/** What one connected instance has said last. */
export interface Presence {
  readonly agentId: AgentId
  readonly hello: Hello
  /** When it last said anything. */
  readonly heardAt: Instant
  readonly heartbeat: { readonly message: Heartbeat; readonly mono: Mono } | undefined
  /** Its monotonic clock plus this is ours, but for the shortest way that a message had lately. */
  readonly clockOffset: Millis
  /** Speed of its receiving over the last seconds. */
  readonly bytesPerSecond: number | null
}

export interface PresenceBook {
  get(instance: InstanceId): Presence | undefined
  greeted(instance: InstanceId, agentId: AgentId, hello: Hello): void
  heard(instance: InstanceId, heartbeat: Heartbeat): void
  /** When each agent's primary was last heard, since the last call. */
  takeSeen(): ReadonlyMap<AgentId, Instant>
  forget(instance: InstanceId): void
}

/** The speed is taken over this long. */
const WINDOW = 3000
/** Heartbeats among which the one that came fastest sets the clock. */
const CLOCK_SAMPLES = 20

export function createPresenceBook(clock: Clock): PresenceBook {
  const book = new Map<InstanceId, Presence>()
  const samples = new Map<InstanceId, { at: Mono; bytes: number }[]>()
  const clocks = new Map<InstanceId, Millis[]>()
  let seen = new Map<AgentId, Instant>()

  const speedOf = (instance: InstanceId, bytes: number): number | null => {
    const now = clock.mono()
    const recent = (samples.get(instance) ?? []).filter(({ at }) => now - at <= WINDOW)
    recent.push({ at: now, bytes })
    samples.set(instance, recent)
    const first = recent[0]
    if (!first || now - first.at < 500) return null
    return Math.max(0, ((bytes - first.bytes) * 1000) / (now - first.at))
  }

  const offsetOf = (instance: InstanceId, sentAt: Mono): Millis => {
    const recent = [...(clocks.get(instance) ?? []), between(sentAt, clock.mono())].slice(-CLOCK_SAMPLES)
    clocks.set(instance, recent)
    return millis(Math.min(...recent))
  }

  return {
    get: (instance) => book.get(instance),
    greeted(instance, agentId, hello) {
      const before = book.get(instance)
      // Another process counts from another zero.
      if (before?.hello.boot !== hello.boot) clocks.delete(instance)
      book.set(instance, {
        agentId,
        hello,
        heardAt: clock.now(),
        heartbeat: before?.heartbeat,
        clockOffset: offsetOf(instance, hello.sentAt),
        bytesPerSecond: null,
      })
    },
    heard(instance, message) {
      const presence = book.get(instance)
      if (!presence) return
      const at = clock.now()
      const { progress } = message
      book.set(instance, {
        ...presence,
        heardAt: at,
        heartbeat: { message, mono: clock.mono() },
        clockOffset: offsetOf(instance, message.sentAt),
        bytesPerSecond: progress ? speedOf(instance, progress.bytesDone) : null,
      })
      if (message.role === 'primary' || message.role === 'handing-over') seen.set(presence.agentId, at)
    },
    takeSeen() {
      const taken = seen
      seen = new Map()
      return taken
    },
    forget(instance) {
      book.delete(instance)
      samples.delete(instance)
      clocks.delete(instance)
    },
  }
}
