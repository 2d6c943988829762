import { AppError } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import { between, type Clock, type Millis, type Mono, millis, seconds } from '@understudy/shared/core/time'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import { bootTime } from './boot-time.ts'
import { type GuardProcess, startGuardProcess } from './guard-process.ts'

export { bootTime } from './boot-time.ts'

/** How long it waits for the guard to take leave. */
const LEAVE_BUDGET = seconds(1)
/** One that has lived this long is started again at once. */
const SETTLED = seconds(10)
const AGAIN: BackoffPolicy = { base: millis(100), cap: seconds(5) }

const HINTS = {
  unusable:
    'Install bash, 4.4 or later: without the guard a workload whose agent is stopped or killed runs on beside a new primary.',
  ended: 'It is started again. If this comes back, look for what ends the process understudy-guard.',
}
const STARTING = { why: 'it is being started', hint: HINTS.unusable }
const STUCK = {
  why: 'it does not read what it is told',
  hint: 'See what has stopped the process understudy-guard: kill -CONT lets it go on, kill -KILL brings a new one.',
}

export interface GuardParts {
  /** Value of AGENT_WORKLOAD_KEY in the environment of the workload's processes; unique on this machine. */
  readonly key: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>
  /**
   * The guard has killed this many processes of the workload, never 0, of which so many had not ended after some seconds.
   * Late, if the agent itself stood still.
   */
  readonly onKilled?: (processes: number, left: number) => void
  /** Default: `bash` on the path. */
  readonly bash?: string
}

/**
 * A second, tiny process that kills the workload when the agent cannot: because it is stopped, starved or dead. It has
 * to be told again and again that the workload may run; silence ends the workload, and so does the end of the agent
 * (or of the thread that holds this object) without `close`.
 *
 * All calls return at once and none throws for what the guard does; `degraded` says when it is not there. At first
 * nothing is exposed. After a kill whatever appears later is killed as well (looked for every 0.5 s), until the next
 * call; a round of killing that is under way then is finished.
 */
export interface Guard {
  /**
   * The workload may run for `remaining`, counted from `from`; replaces what was said before. Read `from` (bootTime)
   * before `remaining` is worked out, or when the lease was asked for: a stop of the agent between the two then costs
   * time instead of giving some.
   */
  arm(remaining: Millis, from?: Mono): void
  /** The workload may run without end, but not without its agent. */
  solo(): void
  /** Nothing is exposed: the workload is stopped, or held still. Nothing is killed, whatever happens. */
  disarm(): void
  readonly degraded: Degradation | undefined
  /** Process id; undefined while there is none. */
  readonly pid: number | undefined
  /** The orderly end of the agent: the guard ends, and kills nothing. What is called afterwards has no effect. */
  close(): Promise<void>
}

/** @throws AppError `config_invalid` for a key that no environment can hold, `not_supported` without /proc */
export function startGuard({ key, clock, random, log, onKilled, bash = 'bash' }: GuardParts): Guard {
  if (key === '' || key.includes('\0'))
    throw new AppError('config_invalid', 'the key of a workload is neither empty nor has it a zero byte')
  readClock()
  let told = 'idle'
  let current: GuardProcess | undefined
  let ready = false
  let attempt = 0
  let unfit: string | undefined
  let trouble: { readonly why: string; readonly hint: string } | undefined
  let closed: Promise<void> | undefined
  let onGone = (): void => undefined
  let cancelStart = (): void => undefined

  function start(): void {
    const began = clock.mono()
    ready = false
    unfit = undefined
    current = startGuardProcess(bash, key, {
      onLine,
      onEnd(why) {
        const hint = ready ? HINTS.ended : HINTS.unusable
        current = undefined
        ready = false
        onGone()
        if (closed) return
        if (between(began, clock.mono()) >= SETTLED) attempt = 0
        again({ why: unfit ?? why, hint })
      },
    })
    current.tell(told)
  }

  function again(reason: { why: string; hint: string }): void {
    const wait = attempt === 0 ? millis(0) : fullJitter(AGAIN, attempt - 1, random)
    attempt += 1
    if (trouble?.why !== reason.why) log.warn({ event: 'guard.ended', ...reason })
    trouble = reason
    cancelStart = clock.timer(wait, start)
  }

  function onLine(line: string): void {
    const [word, count, , remain, , at] = line.split(' ')
    switch (word) {
      case 'ready':
        ready = true
        trouble = undefined
        log.info({ event: 'guard.ready', pid: current?.pid })
        return
      case 'killed':
        return killed(Number(count), Number(remain), Number(at) * 10)
      case 'unfit':
        unfit = line.slice('unfit '.length)
        return
      default:
        log.warn({ event: 'guard.not_understood', line: line.slice(0, 200) })
    }
  }

  function killed(processes: number, left: number, bootTimeMillis: number): void {
    log.warn({ event: 'guard.killed', processes, bootTimeMillis })
    if (left > 0) log.error({ event: 'guard.left', processes: left, bootTimeMillis })
    onKilled?.(processes, left)
  }

  function say(state: string): void {
    if (closed || (state === told && current?.reading)) return
    told = state
    current?.tell(state)
  }

  function degraded(): Degradation | undefined {
    if (closed || (ready && current?.reading)) return undefined
    const { why, hint } = ready ? STUCK : (trouble ?? STARTING)
    return {
      code: 'guard_missing',
      message: `there is no guard over the workload: ${why}`.slice(0, 500),
      hint,
    }
  }

  async function leave(): Promise<void> {
    cancelStart()
    const leaving = current
    if (!leaving) return
    const gone = new Promise<void>((resolve) => {
      onGone = resolve
    })
    leaving.leave()
    const cancel = clock.timer(LEAVE_BUDGET, () => leaving.kill())
    await gone
    cancel()
  }

  start()
  return {
    arm(remaining, from = bootTime()) {
      if (!Number.isFinite(remaining)) throw new RangeError(`a lease of ${remaining} ms`)
      // In steps of 10 ms, the earlier one.
      say(`until ${Math.max(0, Math.floor((from + remaining) / 10))}`)
    },
    solo: () => say('solo'),
    disarm: () => say('idle'),
    get degraded() {
      return degraded()
    },
    get pid() {
      return current?.pid
    },
    close() {
      closed ??= leave()
      return closed
    },
  }
}

function readClock(): void {
  try {
    bootTime()
  } catch (cause) {
    throw new AppError('not_supported', '/proc/uptime cannot be read', {
      hint: 'The agent needs Linux with /proc.',
      cause,
    })
  }
}
