/**
 * A unit with a life of its own. `run` resolves when `signal` aborts and everything it started has ended; aborting is
 * the only way to stop it. It rejects only on a bug or on a failure that makes the process useless.
 */
export interface Service {
  readonly name: string
  run(signal: AbortSignal): Promise<void>
}

/** What a service without work of its own waits for. */
export const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })

/** Runs all services until `signal` aborts or one of them fails; a failure stops the others and is thrown. */
export async function runServices(services: readonly Service[], signal: AbortSignal): Promise<void> {
  const stop = new AbortController()
  const both = AbortSignal.any([signal, stop.signal])
  const settled = await Promise.allSettled(
    services.map((service) =>
      service.run(both).catch((error: unknown) => {
        stop.abort(error)
        throw error
      }),
    ),
  )
  const failed = settled.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}
