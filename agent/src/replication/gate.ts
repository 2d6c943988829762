import type { AppError } from '@understudy/shared/core/app-error'

/** Lets tasks wait until something holds, which is asked again at every `wake`. */
export interface Gate {
  wake(): void
  /** Everything that waits, now or later, ends with this. */
  fail(error: AppError): void
  readonly failure: AppError | undefined
  /** Rejects with the failure, or with the signal's reason. */
  until(holds: () => boolean, signal?: AbortSignal): Promise<void>
}

export function createGate(): Gate {
  const waiters = new Set<() => void>()
  let failure: AppError | undefined

  const wake = () => {
    for (const waiter of [...waiters]) waiter()
  }
  const nextWake = (signal?: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const leave = () => {
        waiters.delete(onWake)
        signal?.removeEventListener('abort', onAbort)
      }
      const onAbort = () => {
        leave()
        reject(signal?.reason)
      }
      const onWake = () => {
        leave()
        resolve()
      }
      waiters.add(onWake)
      signal?.addEventListener('abort', onAbort, { once: true })
    })

  return {
    wake,
    fail(error) {
      failure ??= error
      wake()
    },
    get failure() {
      return failure
    },
    async until(holds, signal) {
      while (failure === undefined && !holds()) await nextWake(signal)
      if (failure) throw failure
    },
  }
}
