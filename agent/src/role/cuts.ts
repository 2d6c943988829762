import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import {
  between,
  type Clock,
  type Millis,
  type Mono,
  millis,
  seconds,
  sleep,
} from '@understudy/shared/core/time'
import type { Member } from '@understudy/shared/failover/member-types'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { Workload } from '../config/workload.ts'
import type { HookFacts, HookOutcome, Hooks } from './hooks.ts'
import { pauseMarked, resumeMarked } from './process-tree.ts'

/** Below this a pause is nothing to speak of in the log. */
const LONG_PAUSE = 100

/**
 * Cuts: every so often the workload is held still for a moment, and what has changed is captured and sent as one group.
 * A replica then always holds the state of one moment, at the price of the pause and of being a period behind.
 *
 * The workload is held by its own hooks `freeze` and `thaw` where there are any, else by SIGSTOP and SIGCONT of every
 * process that the start hook has left.
 */
export interface Cuts {
  readonly service: Service
  /** The workload's hooks: none of them begins while a cut holds the workload still. */
  readonly hooks: Hooks
  readonly degraded: Degradation | undefined
  readonly status: CutsStatus
}

export interface CutsStatus {
  readonly taken: number
  readonly failed: number
  /** How long the last one held the workload still, and how long ago it was; null before the first. */
  readonly pause_ms: number | null
  readonly age_ms: number | null
}

export interface CutsSurroundings {
  readonly every: Millis
  readonly hooks: Hooks
  /** The workload has hooks to hold it still. */
  readonly hasHooks: boolean
  /** Marks the processes of the workload. */
  readonly key: string
  readonly clock: Clock
  readonly log: Logger
  /** Captures and sends the state; `hold` is called with what has to happen while the workload stands still. */
  readonly cut: (hold: (capture: () => Promise<void>) => Promise<void>) => Promise<void>
  /** The facts for hooks, while the workload runs here and there is somebody to send it to; else undefined. */
  readonly wanted: () => HookFacts | undefined
  /** The workload can neither go on nor be started: it may stand still while it counts as running. */
  readonly onStuck: (why: string) => void
}

/** A cut that is under way. */
interface Cut {
  readonly calledOff: AbortController
  killed: boolean
  readonly ended: Promise<void>
}

/** The cuts that the workload asks for; undefined when it asks for none. */
export function openCuts(
  { cut_every_seconds: every, hooks: commands }: Workload,
  parts: Omit<CutsSurroundings, 'every' | 'hasHooks' | 'wanted'> & {
    readonly self: Pick<HookFacts, 'agent' | 'instance'>
    readonly member: () => Member
    /** Somebody receives the state. */
    readonly isFollowed: () => boolean
  },
): Cuts | undefined {
  if (every === undefined) return undefined
  const { self, member, isFollowed, ...surroundings } = parts
  return createCuts({
    ...surroundings,
    every: seconds(every),
    hasHooks: commands.freeze !== undefined,
    wanted() {
      const { role, workload, term } = member()
      const isWanted = role.kind === 'primary' && workload === 'running' && isFollowed()
      return isWanted ? { ...self, epoch: term } : undefined
    },
  })
}

export function createCuts(surroundings: CutsSurroundings): Cuts {
  const { every, hooks, hasHooks, key, clock, log, cut, wanted, onStuck } = surroundings
  let current: Cut | undefined
  let trouble: string | undefined
  let last: { readonly at: Mono; readonly pause: Millis } | undefined
  let taken = 0
  let failed = 0

  // Left behind by an agent that was killed in the middle of a cut.
  if (!hasHooks) resumeMarked(key)

  /** Whatever is ordered comes first: a cut that is under way lets go and is forgotten. */
  async function yieldToOrders(): Promise<void> {
    if (!current) return
    current.calledOff.abort()
    await current.ended
  }

  /** Whether anything was captured. */
  async function takeOne(facts: HookFacts): Promise<boolean> {
    let done: () => void = () => undefined
    const mine: Cut = {
      calledOff: new AbortController(),
      killed: false,
      ended: new Promise<void>((resolve) => (done = resolve)),
    }
    const calledOff = mine.calledOff.signal
    current = mine
    let captured = false
    try {
      await cut(async (capture) => {
        if (calledOff.aborted) return
        const started = clock.mono()
        try {
          // A part of it may stand still even when this fails.
          await hold(facts)
          if (calledOff.aborted) return
          await capture()
          captured = true
        } finally {
          // What is fenced stays so.
          if (!mine.killed) await letGo(facts, calledOff)
          last = { at: clock.mono(), pause: between(started, clock.mono()) }
          // Orders need not wait for the sending.
          current = undefined
          done()
        }
      })
    } finally {
      if (current === mine) current = undefined
      done()
    }
    return captured
  }

  async function hold(facts: HookFacts): Promise<void> {
    if (hasHooks) return assertOk(await hooks.run('freeze', facts, new AbortController().signal))
    const processes = await pauseMarked(key)
    if (processes > 0) return
    throw new AppError('config_invalid', 'there is no process of the workload that a cut could hold still', {
      hint: 'What a service manager starts needs the hooks `freeze` and `thaw` for workload.cut_every_seconds.',
    })
  }

  /** What does not go on is started; after an order, by whoever gave it. */
  async function letGo(facts: HookFacts, calledOff: AbortSignal): Promise<void> {
    if (!hasHooks) return resumeMarked(key)
    const thawed = await hooks.run('thaw', facts, new AbortController().signal)
    if (thawed.ok || calledOff.aborted) return assertOk(thawed)
    log.error({ event: 'cut.thaw_failed', why: thawed.why })
    const started = await hooks.run('start', facts, calledOff)
    if (!started.ok && !calledOff.aborted) onStuck(`${thawed.why}; ${started.why}`)
    assertOk(thawed)
  }

  async function period(): Promise<void> {
    const facts = wanted()
    if (!facts) return
    try {
      if (!(await takeOne(facts))) return
      taken += 1
      trouble = undefined
      if (last && last.pause > LONG_PAUSE)
        log.info({ event: 'cut.long_pause', millis: Math.round(last.pause) })
    } catch (error) {
      // A first copy, or a slow network: the next one comes soon.
      if (isAppError(error, 'not_ready')) return
      failed += 1
      if (trouble === undefined) log.warn({ event: 'cut.failed', why: messageOf(error) })
      trouble = messageOf(error)
    }
  }

  return {
    service: {
      name: 'cuts',
      async run(signal) {
        while (!signal.aborted) {
          const started = clock.mono()
          await period()
          const rest = millis(Math.max(every - between(started, clock.mono()), 10))
          await sleep(clock, rest, signal).catch(() => undefined)
        }
      },
    },
    hooks: {
      async run(hook, facts, signal) {
        // Asking for its health disturbs nobody.
        if (hook !== 'health') await yieldToOrders()
        return hooks.run(hook, facts, signal)
      },
      kill() {
        if (current) current.killed = true
        current?.calledOff.abort()
        return hooks.kill()
      },
    },
    get degraded() {
      return trouble === undefined
        ? undefined
        : {
            code: 'cut_failed',
            message: `the last cut of the state failed: ${trouble}`.slice(0, 500),
            hint: 'The replicas keep the state of the last cut that succeeded.',
          }
    },
    get status() {
      return {
        taken,
        failed,
        pause_ms: last ? Math.round(last.pause * 10) / 10 : null,
        age_ms: last ? Math.round(between(last.at, clock.mono())) : null,
      }
    },
  }
}

function assertOk(outcome: HookOutcome): void {
  if (!outcome.ok) throw new AppError('unavailable', outcome.why ?? 'the hook failed', { retryable: true })
}
