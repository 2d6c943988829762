import { execFile } from 'node:child_process'
import { type Clock, type Millis, millis, seconds } from '@understudy/shared/core/time'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'

/** One call takes some 10 ms; it waits until systemd has read what it said. */
const CALL_BUDGET = seconds(3)

export interface ServiceWatchdog {
  readonly degraded: Degradation | undefined
  /** Tells systemd that the daemon ends. Nothing is said afterwards. */
  close(): Promise<void>
}

/**
 * Tells systemd that the daemon is ready, then three times per WatchdogSec= that it is alive; systemd ends the whole
 * unit when it hears nothing. A last resort beside the guard: seconds, not milliseconds, but it also sees a daemon that
 * runs and does nothing. Does nothing where systemd does not ask for it (sd_watchdog_enabled(3)).
 *
 * To be called once, before anything else is started: it removes the variables from `environment`, or what hooks start
 * could speak for the daemon. PostgreSQL, for one, would say that the service stops.
 */
export function startServiceWatchdog(parts: {
  readonly environment: NodeJS.ProcessEnv
  readonly clock: Clock
  readonly log: Logger
}): ServiceWatchdog {
  const { environment, clock, log } = parts
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: micros, WATCHDOG_PID: pid, PATH } = environment
  delete environment.NOTIFY_SOCKET
  delete environment.WATCHDOG_USEC
  delete environment.WATCHDOG_PID
  if (!socket) return { degraded: undefined, close: async () => undefined }

  const every = pid === undefined || Number(pid) === process.pid ? thirdOf(micros) : undefined
  let failure: string | undefined
  let closed: Promise<void> | undefined
  let cancel = (): void => undefined
  let last: Promise<void> = Promise.resolve()

  function say(...words: string[]): Promise<void> {
    return new Promise((resolve) => {
      const options = {
        env: { PATH, NOTIFY_SOCKET: socket },
        timeout: CALL_BUDGET,
        killSignal: 'SIGKILL',
      } as const
      execFile('systemd-notify', words, options, (error) => {
        // Of what went wrong the last line says why; the first one is the command.
        const why = error?.message.trim().split('\n').at(-1)
        if (why !== undefined && failure === undefined) log.warn({ event: 'watchdog.failed', why })
        if (why === undefined && failure !== undefined) log.info({ event: 'watchdog.recovered' })
        failure = why
        resolve()
      })
    })
  }

  function pet(period: Millis): void {
    cancel = clock.timer(period, () => {
      const began = clock.mono()
      last = say('WATCHDOG=1').then(() => {
        if (!closed) pet(millis(Math.max(0, period - (clock.mono() - began))))
      })
    })
  }

  last = say('READY=1', ...(every === undefined ? [] : ['WATCHDOG=1'])).then(() => {
    if (every !== undefined && !closed) pet(every)
  })
  return {
    get degraded() {
      if (failure === undefined) return undefined
      return {
        code: 'watchdog_failed',
        message: `systemd cannot be told that the agent is alive: ${failure}`.slice(0, 500),
        hint: 'The unit needs NotifyAccess=all, and systemd-notify has to be installed; or remove WatchdogSec= from the unit.',
      }
    },
    close() {
      cancel()
      closed ??= last.then(() => say('STOPPING=1'))
      return closed
    },
  }
}

/** A third of WATCHDOG_USEC; undefined when it is none or makes no sense. */
function thirdOf(micros: string | undefined): Millis | undefined {
  const value = Number(micros)
  return micros !== undefined && Number.isFinite(value) && value > 0 ? millis(value / 3000) : undefined
}
