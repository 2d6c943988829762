import { messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, type Instant, type Millis, type Mono } from '@understudy/shared/core/time'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { ImdsClient } from './imds-client.ts'
import {
  type MaintenanceEvent,
  parseInterruption,
  parseMaintenance,
  parseRebalance,
  parseTargetLifecycle,
} from './imds-documents.ts'
import {
  emptyMemory,
  type NoticeMemory,
  type OpenNotice,
  seeInterruption,
  seeRebalance,
} from './notice-memory.ts'

/** The slow signals are read every so many rounds: they are announced long before they matter. */
const SLOW_EVERY = 5

/** What the watcher has to remember across restarts. */
export interface WatcherMemory {
  readonly handledUpTo: Instant | undefined
  readonly rebalanceAt: Instant | undefined
}

export interface NoticeListener {
  onInterruption(notice: OpenNotice, change: 'new' | 'moved'): void
  onWithdrawn(notice: OpenNotice): void
  onRebalance(noticeTime: Instant, firstSeen: Mono): void
  onMaintenance(event: MaintenanceEvent): void
  onTargetLifecycle(state: string): void
  /** To be kept on disk, so that a restarted agent does not act again on what is over. */
  remember(memory: WatcherMemory): void
}

export interface NoticeWatcher extends Service {
  /** Why notices cannot be read at the moment; undefined while they can. */
  readonly degraded: Degradation | undefined
}

/** Reads the metadata service for ever and reports what is new. Trouble with the service never ends it. */
export function createNoticeWatcher(parts: {
  readonly imds: ImdsClient
  readonly clock: Clock
  readonly interval: Millis
  readonly memory: WatcherMemory
  readonly listener: NoticeListener
  readonly log: Logger
}): NoticeWatcher {
  const { imds, clock, interval, listener, log } = parts
  let notices: NoticeMemory = { ...emptyMemory, handledUpTo: parts.memory.handledUpTo }
  let { rebalanceAt } = parts.memory
  const maintenance = new Map<string, string>()
  let lifecycle: string | undefined
  let degraded: Degradation | undefined
  let round = 0

  const remember = () => listener.remember({ handledUpTo: notices.handledUpTo, rebalanceAt })

  async function readInterruption(signal: AbortSignal): Promise<void> {
    const body = await imds.get('meta-data/spot/instance-action', signal)
    const seen = body === undefined ? undefined : parseInterruption(body)
    // It says nothing of a notice, neither that there is one nor that there is none.
    if (body !== undefined && !seen)
      return log.warn({ event: 'imds.unreadable_notice', body: body.slice(0, 200) })
    const { memory, change } = seeInterruption(notices, seen, {
      wall: clock.now(),
      mono: clock.mono(),
    })
    notices = memory
    if (change.kind === 'same') return
    remember()
    if (change.kind === 'withdrawn') listener.onWithdrawn(change.notice)
    else listener.onInterruption(change.notice, change.kind)
  }

  async function readRebalance(signal: AbortSignal): Promise<void> {
    const body = await imds.get('meta-data/events/recommendations/rebalance', signal)
    const seen = body === undefined ? undefined : parseRebalance(body)
    const fresh = seeRebalance(rebalanceAt, seen)
    if (fresh === undefined) return
    rebalanceAt = fresh
    remember()
    listener.onRebalance(fresh, clock.mono())
  }

  async function readMaintenance(signal: AbortSignal): Promise<void> {
    const body = await imds.get('meta-data/events/maintenance/scheduled', signal)
    for (const event of body === undefined ? [] : parseMaintenance(body)) {
      if (maintenance.get(event.eventId) === event.state) continue
      maintenance.set(event.eventId, event.state)
      listener.onMaintenance(event)
    }
  }

  async function readLifecycle(signal: AbortSignal): Promise<void> {
    const body = await imds.get('meta-data/autoscaling/target-lifecycle-state', signal)
    const state = body === undefined ? undefined : parseTargetLifecycle(body)
    if (state === undefined || state === lifecycle) return
    lifecycle = state
    listener.onTargetLifecycle(state)
  }

  async function look(signal: AbortSignal): Promise<void> {
    const slow = round % SLOW_EVERY === 0
    round += 1
    try {
      await readInterruption(signal)
      await readRebalance(signal)
      if (slow) {
        await readMaintenance(signal)
        await readLifecycle(signal)
      }
      if (degraded) log.info({ event: 'imds.recovered' })
      degraded = undefined
    } catch (error) {
      if (signal.aborted) return
      if (degraded?.message !== messageOf(error)) log.warn({ event: 'imds.degraded', why: messageOf(error) })
      degraded = toDegradation(error)
    }
  }

  return {
    name: 'notice-watcher',
    get degraded() {
      return degraded
    },
    run: (signal) => everyPeriod(clock, interval, signal, () => look(signal)),
  }
}

function toDegradation(error: unknown): Degradation {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'imds_unreachable'
  const hint = error instanceof Error && 'hint' in error ? error.hint : undefined
  return { code, message: messageOf(error).slice(0, 500), ...(typeof hint === 'string' ? { hint } : {}) }
}
