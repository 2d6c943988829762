import { isAppError } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import { type Clock, type Millis, millis, plus, seconds, sleep } from '@understudy/shared/core/time'

/** Calls to a service that limits how often it may be called. */
export interface Pacer {
  /**
   * Waits for its turn, calls, and calls again after a retryable failure until the patience is spent; then the last failure
   * is thrown. Each call gets a signal of its own that also ends it at the deadline.
   */
  run<T>(call: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T>
}

export interface PacerOptions {
  readonly clock: Clock
  readonly random: Random
  /** Calls per second in the long run. */
  readonly perSecond: number
  /** Calls that may follow each other at once after a pause. */
  readonly burst: number
  /** For how long one call is tried again, waits included. */
  readonly patience: Millis
  /** Of one attempt. */
  readonly deadline?: Millis
  readonly backoff?: BackoffPolicy
}

const DEADLINE = seconds(30)
const BACKOFF: BackoffPolicy = { base: seconds(1), cap: seconds(30) }

/** A token bucket in front, full jitter behind. */
export function createPacer(options: PacerOptions): Pacer {
  const { clock, random, perSecond, burst, patience, deadline = DEADLINE, backoff = BACKOFF } = options
  let tokens = burst
  let filledAt = clock.mono()

  /** Takes a token, if need be one that is still to come. Returns how long that takes. */
  function reserve(): Millis {
    const now = clock.mono()
    tokens = Math.min(burst, tokens + ((now - filledAt) / 1000) * perSecond) - 1
    filledAt = now
    return millis(tokens >= 0 ? 0 : Math.ceil((-tokens / perSecond) * 1000))
  }

  async function attempt<T>(call: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    const late = new AbortController()
    const cancel = clock.timer(deadline, () =>
      late.abort(new DOMException('no answer in time', 'TimeoutError')),
    )
    try {
      return await call(AbortSignal.any([signal, late.signal]))
    } finally {
      cancel()
    }
  }

  return {
    async run(call, signal) {
      const until = plus(clock.mono(), patience)
      for (let failures = 0; ; failures++) {
        const wait = reserve()
        if (wait > 0) await sleep(clock, wait, signal)
        signal.throwIfAborted()
        try {
          return await attempt(call, signal)
        } catch (error) {
          signal.throwIfAborted()
          const pause = fullJitter(backoff, failures, random)
          if (!isAppError(error) || !error.retryable || clock.mono() + pause > until) throw error
          await sleep(clock, pause, signal)
        }
      }
    },
  }
}
