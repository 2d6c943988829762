import { AppError, messageOf } from '@understudy/shared/core/app-error'
import {
  type Clock,
  hours,
  type Instant,
  type Millis,
  millis,
  minutes,
  seconds,
} from '@understudy/shared/core/time'
import type { ModelRefusal } from '@understudy/shared/protocol/model-refusals'
import type { Logger } from 'pino'
import type { Batch } from './host/frames.ts'
import type { ModelHost } from './host/model-host.ts'
import { toProbabilities } from './probability.ts'
import { refusalOf } from './refusal.ts'
import type { ServedModel } from './served-model.ts'
import { createSlowness } from './slowness.ts'

/** Crashes within this time that a model is allowed less one. */
const CRASH_WINDOW = minutes(5)
const CRASHES = 2
const RESTART: readonly Millis[] = [millis(0), seconds(1), seconds(5), seconds(30), minutes(2)]
/** A process that has grown to so many times what it was at its start is replaced by a new one. */
const GROWTH = 2
/** …but not below this, which is what an idle Node may come to by itself. In bytes. */
const GROWTH_FLOOR = 256 * 1024 * 1024
const GROWTH_CHECK = minutes(1)

/** Why a version is taken back by itself. */
export interface Trouble {
  readonly reason: Extract<
    ModelRefusal,
    'HOST_DIED' | 'OUTPUT_NOT_FINITE' | 'OUTPUT_OUT_OF_RANGE' | 'TOO_SLOW' | 'LOAD_FAILED'
  >
  readonly said: string
}

/**
 * One version that serves, with its process, which is started again when it ends. What owns it is told when the version should be
 * taken back; until that is done it does what it can.
 */
export interface Slot {
  readonly model: ServedModel
  /** A process that would answer now. */
  readonly ready: boolean
  readonly inFlight: number
  readonly rss: number | undefined
  readonly pid: number | undefined
  /**
   * @throws AppError `unavailable` when there is no process, `model_refused` when the output is none; another version may
   * answer in its place
   */
  run(batch: Batch): Promise<{ readonly values: Float64Array; readonly millis: number }>
  /** Resolves when a process is ready, or after `limit`. */
  whenReady(limit: Millis): Promise<boolean>
  close(): Promise<void>
}

export interface SlotPorts {
  readonly clock: Clock
  readonly log: Logger
  readonly prepare: (model: ServedModel) => Promise<ModelHost>
  /** Returns whether something will be done about it; until then it is told again. */
  readonly onTrouble: (slot: Slot, trouble: Trouble) => boolean
}

/** @param first a process that is ready, or undefined to start one */
export function createSlot(model: ServedModel, first: ModelHost | undefined, ports: SlotPorts): Slot {
  const { clock, log } = ports
  const slowness = createSlowness(model.qualification?.batch_p99_ms ?? 0)
  let host: ModelHost | undefined
  let closed = false
  let troubled = false
  let attempts = 0
  let crashes: Instant[] = []
  let cancelTimer = () => {}
  let cancelGrowth = () => {}
  const waiters = new Set<() => void>()

  function trouble(reason: Trouble['reason'], said: string): void {
    if (troubled || closed) return
    troubled = ports.onTrouble(slot, { reason, said })
  }

  function use(next: ModelHost): void {
    host = next
    attempts = 0
    const baseline = next.rss()
    const watchGrowth = () => {
      cancelGrowth = clock.timer(GROWTH_CHECK, () => {
        if (host !== next) return
        const rss = next.rss()
        if (baseline === undefined || rss === undefined || rss < Math.max(GROWTH * baseline, GROWTH_FLOOR))
          return watchGrowth()
        log.info({ event: 'model.host_replaced', model: model.id, rss, baseline })
        replace(next).catch((error: unknown) => {
          log.warn({ event: 'model.host_not_replaced', model: model.id, why: messageOf(error) })
          watchGrowth()
        })
      })
    }
    watchGrowth()
    void next.ended.then((end) => {
      if (host !== next || closed) return
      host = undefined
      onCrash(end.said)
    })
    for (const wake of waiters) wake()
  }

  /** A new process takes over before the old one ends. */
  async function replace(old: ModelHost): Promise<void> {
    const next = await ports.prepare(model)
    if (closed || host !== old) return next.close()
    use(next)
    await drained(old, clock)
    await old.close()
  }

  function onCrash(said: string): void {
    const now = clock.now()
    crashes = [...crashes.filter((at) => now - at < CRASH_WINDOW), now]
    log.warn({ event: 'model.host_died', model: model.id, said, crashes: crashes.length })
    if (crashes.length >= CRASHES)
      trouble('HOST_DIED', `its process ended ${crashes.length} times within 5 minutes (${said})`)
    restart()
  }

  function restart(): void {
    const delay = RESTART[Math.min(attempts, RESTART.length - 1)] ?? hours(1)
    attempts += 1
    cancelTimer = clock.timer(delay, () => void startOne())
  }

  async function startOne(): Promise<void> {
    try {
      const next = await ports.prepare(model)
      if (closed) await next.close()
      else use(next)
    } catch (error) {
      if (closed) return
      log.warn({ event: 'model.host_not_started', model: model.id, why: messageOf(error) })
      const reason = refusalOf(error)
      // A start that was too slow or was ended says more of the machine than of the model.
      if (reason === 'TIME_LIMIT' || reason === 'MEMORY_LIMIT' || reason === 'HOST_DIED')
        return onCrash(messageOf(error))
      if (reason) trouble('LOAD_FAILED', messageOf(error))
      restart()
    }
  }

  const slot: Slot = {
    model,
    get ready() {
      return host?.alive === true
    },
    get inFlight() {
      return host?.inFlight ?? 0
    },
    get rss() {
      return host?.rss()
    },
    get pid() {
      return host?.pid
    },
    async run(batch) {
      if (!host?.alive)
        throw new AppError('unavailable', `the process of ${model.id} is being started`, { retryable: true })
      try {
        const { values, millis: took } = await host.run(batch)
        const said = slowness.add(took, batch.rows)
        if (said) trouble('TOO_SLOW', said)
        return { values: toProbabilities(model.manifest, values), millis: took }
      } catch (error) {
        const reason = refusalOf(error)
        if (reason === 'OUTPUT_NOT_FINITE' || reason === 'OUTPUT_OUT_OF_RANGE')
          trouble(reason, messageOf(error))
        throw error
      }
    },
    whenReady(limit) {
      if (slot.ready) return Promise.resolve(true)
      return new Promise((resolve) => {
        const done = () => {
          cancel()
          waiters.delete(done)
          resolve(slot.ready)
        }
        const cancel = clock.timer(limit, done)
        waiters.add(done)
      })
    },
    async close() {
      closed = true
      cancelTimer()
      cancelGrowth()
      for (const wake of waiters) wake()
      await host?.close()
    },
  }
  if (first) use(first)
  else void startOne()
  return slot
}

/** How long what is under way may take when a version is replaced. */
const DRAIN = seconds(2)

/** Resolves when nothing is under way, or after two seconds. */
export async function drained(of: { readonly inFlight: number }, clock: Clock): Promise<void> {
  const end = clock.mono() + DRAIN
  while (of.inFlight > 0 && clock.mono() < end)
    await new Promise<void>((resolve) => void clock.timer(millis(5), resolve))
}
