import type { Clock, Millis } from '@understudy/shared/core/time'

/** A pause that can be cut short. */
export interface Rest {
  /** Resolves after `length`, at the next `wake`, or when `signal` aborts; at once after a `wake` that nobody heard. */
  sleep(length: Millis, signal: AbortSignal): Promise<void>
  wake(): void
}

export function createRest(clock: Clock): Rest {
  let woken = false
  let end: (() => void) | undefined
  return {
    wake() {
      woken = true
      end?.()
    },
    sleep(length, signal) {
      return new Promise((resolve) => {
        if (woken || signal.aborted) {
          woken = false
          return resolve()
        }
        const stop = () => {
          cancel()
          signal.removeEventListener('abort', stop)
          end = undefined
          woken = false
          resolve()
        }
        const cancel = clock.timer(length, stop)
        end = stop
        signal.addEventListener('abort', stop, { once: true })
      })
    },
  }
}
