import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, type Millis, type Mono, seconds } from '@understudy/shared/core/time'
import type { Member } from '@understudy/shared/failover/member-types'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { SnapshotProgress, SnapshotWriter, TakenSnapshot } from './snapshot-writer.ts'
import { whenToTake } from './when.ts'

const LOOK_EVERY = seconds(0.5)

/** What this instance is, as far as snapshots are concerned. */
export interface Situation {
  readonly primary: boolean
  readonly epoch: number
  /** The workload stands still. */
  readonly frozen: boolean
  readonly attached: number
  readonly noticed: boolean
}

export const situationOf = (
  { role, term, workload }: Member,
  lags: readonly { readonly lag: { readonly attached: boolean } }[],
  noticed: boolean,
): Situation => ({
  primary: role.kind === 'primary',
  epoch: term,
  frozen: workload === 'frozen' || workload === 'stopped',
  attached: lags.filter(({ lag }) => lag.attached).length,
  noticed,
})

/** What `status` says of snapshots. */
export const snapshotStatusSchema = z.object({
  store: z.string(),
  last_id: z.string().nullable(),
  /** How old the newest one of this run of the agent is. */
  age_ms: z.int().nullable(),
  /** Failures since then. */
  failures: z.int(),
  running: z
    .object({
      step: z.enum(['looking', 'sending', 'publishing']),
      packs: z.int(),
      bytes_sent: z.int(),
      bytes_there: z.int(),
      state_bytes: z.int(),
    })
    .nullable(),
})
export type SnapshotStatus = z.infer<typeof snapshotStatusSchema>

export type OnProgress = (progress: SnapshotProgress) => void

/** Makes snapshots while this instance is primary and nobody else has the state. */
export interface SnapshotService extends Service {
  readonly status: SnapshotStatus
  readonly degraded: Degradation | undefined
  /**
   * Makes one now, after the one that is being made.
   * @throws AppError `conflict` when this instance is not primary; what making it throws
   */
  takeNow(onProgress?: OnProgress): Promise<TakenSnapshot>
  /** The last one, after the workload has stopped: whatever else is being made is given up. */
  takeLast(epoch: number, budget: Millis): Promise<void>
}

export interface ServiceSurroundings {
  readonly storeName: string
  readonly writer: SnapshotWriter
  readonly interval: Millis
  readonly always: boolean
  readonly situation: () => Situation
  readonly clock: Clock
  readonly log: Logger
}

export function createSnapshotService(parts: ServiceSurroundings): SnapshotService {
  const { writer, interval, always, situation, clock, log } = parts
  let running:
    | { promise: Promise<TakenSnapshot>; stop: AbortController; progress: SnapshotProgress | null }
    | undefined
  let last: { taken: TakenSnapshot; at: Mono } | undefined
  let triedAt: Mono | undefined
  let failures = 0
  let failure: unknown
  let before: Situation | undefined
  let ended = false

  async function make(epoch: number, frozen: boolean, onProgress?: OnProgress): Promise<TakenSnapshot> {
    while (running) await running.promise.catch(() => undefined)
    const stop = new AbortController()
    const begun = clock.mono()
    triedAt = begun
    const mine = {
      stop,
      progress: null as SnapshotProgress | null,
      promise: writer.take({
        epoch,
        frozen,
        signal: stop.signal,
        onProgress: (progress) => {
          mine.progress = progress
          onProgress?.(progress)
        },
      }),
    }
    running = mine
    try {
      const taken = await mine.promise
      last = { taken, at: begun }
      failures = 0
      failure = undefined
      logTaken(taken, begun)
      return taken
    } catch (error) {
      if (!stop.signal.aborted) {
        failures += 1
        failure = error
        log.warn({ event: 'snapshot.failed', failures, why: messageOf(error) })
      }
      throw error
    } finally {
      running = undefined
    }
  }

  function logTaken({ snapshot, bytesSent, bytesThere, base }: TakenSnapshot, begun: Mono): void {
    log.info({
      event: 'snapshot.taken',
      id: snapshot.id,
      epoch: snapshot.epoch,
      workload: snapshot.workload,
      sent: bytesSent,
      there: bytesThere,
      packs: snapshot.packs.length,
      base,
      unreadable: snapshot.unreadable,
      ms: Math.round(clock.mono() - begun),
    })
  }

  /** Looks at what has changed since it last looked, and begins what is due. */
  function look(): void {
    const now = situation()
    const worse =
      before !== undefined &&
      ((now.noticed && !before.noticed) || (now.attached === 0 && before.attached > 0 && before.primary))
    before = now
    if (!now.primary) {
      running?.stop.abort(notPrimary())
      if (!running) writer.forget()
      return
    }
    if (running || ended) return
    const moment = { ...now, takenAt: last?.at, triedAt, failures, worse }
    const { kind, why } = whenToTake(moment, { interval, always }, clock.mono())
    if (kind !== 'now') return
    log.debug({ event: 'snapshot.due', why })
    // Its failure is kept and logged where it is made.
    make(now.epoch, now.frozen).catch(() => undefined)
  }

  return {
    name: 'snapshots',
    get status() {
      return {
        store: parts.storeName,
        last_id: last?.taken.snapshot.id ?? null,
        age_ms: last ? Math.round(clock.mono() - last.at) : null,
        failures,
        running: running?.progress ?? null,
      }
    },
    get degraded() {
      if (failures === 0 || !situation().primary) return undefined
      const since = last
        ? `the last one is ${Math.round((clock.mono() - last.at) / 1000)} s old`
        : 'there is none yet'
      return {
        code: 'snapshot_failed',
        message: `no snapshot can be made (${since}): ${messageOf(failure)}`.slice(0, 500),
        ...(isAppError(failure) && failure.hint ? { hint: failure.hint.slice(0, 500) } : {}),
      }
    },
    async run(signal) {
      await everyPeriod(clock, LOOK_EVERY, signal, look)
      ended = true
      running?.stop.abort(signal.reason)
      await running?.promise.catch(() => undefined)
    },
    async takeNow(onProgress) {
      const { primary, epoch, frozen } = situation()
      if (!primary || ended) throw notPrimary()
      return make(epoch, frozen, onProgress)
    },
    async takeLast(epoch, budget) {
      ended = true
      running?.stop.abort(notPrimary())
      const taking = make(epoch, true)
      const cancel = clock.timer(budget, () =>
        running?.stop.abort(new AppError('unavailable', `it did not end within ${Math.round(budget)} ms`)),
      )
      try {
        await taking
      } catch (error) {
        log.warn({ event: 'snapshot.last_failed', why: messageOf(error) })
      } finally {
        cancel()
        writer.forget()
      }
    },
  }
}

const notPrimary = (): AppError =>
  new AppError(
    'conflict',
    'this instance is not primary: only the primary has a state to make a snapshot of',
    {
      hint: 'Ask on the primary; understudy-agent status says what this instance is.',
    },
  )
