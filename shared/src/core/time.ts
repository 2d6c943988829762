declare const unit: unique symbol

/** A length of time in milliseconds. */
export type Millis = number & { readonly [unit]: 'Millis' }

/** A point in time: UTC milliseconds since 1970, from one machine's wall clock. */
export type Instant = number & { readonly [unit]: 'Instant' }

/**
 * A reading of one machine's monotonic clock in milliseconds. It never goes back and means nothing on another
 * machine, which is why leases and deadlines use it and messages between machines never carry a comparison of two.
 */
export type Mono = number & { readonly [unit]: 'Mono' }

export const millis = (value: number): Millis => value as Millis
export const seconds = (value: number): Millis => (value * 1000) as Millis
export const hours = (value: number): Millis => (value * 3_600_000) as Millis
export const minutes = (value: number): Millis => (value * 60_000) as Millis
export const instant = (value: number): Instant => value as Instant
export const mono = (value: number): Mono => value as Mono

/** `point` moved by `by`; keeps the kind of clock that `point` came from. */
export const plus = <T extends Instant | Mono>(point: T, by: Millis): T => (point + by) as T

/** Time from `from` to `to`, negative when `to` is earlier. Both must come from the same clock. */
export const between = <T extends Instant | Mono>(from: T, to: T): Millis => (to - from) as Millis

/** The clocks and timers of one process. Tests pass a virtual one (testkit/virtual-clock.ts). */
export interface Clock {
  /** Wall time, for records that people read. It may jump. */
  now(): Instant
  /** Monotonic time, for every deadline, lease and measurement. */
  mono(): Mono
  /** Runs `fire` once after `delay`; the returned function cancels it. */
  timer(delay: Millis, fire: () => void): () => void
}

/** The clock of this process. */
export const systemClock: Clock = {
  now: () => Date.now() as Instant,
  mono: () => performance.now() as Mono,
  timer: (delay, fire) => {
    const handle = setTimeout(fire, Math.max(0, delay))
    return () => clearTimeout(handle)
  },
}

/** Resolves after `delay`; rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, delay: Millis, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = clock.timer(delay, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/**
 * Calls `tick` every `period` until `signal` aborts. The next wait starts when `tick` has settled, so a slow tick is
 * never overtaken by the next one.
 */
export async function everyPeriod(
  clock: Clock,
  period: Millis,
  signal: AbortSignal,
  tick: () => Promise<void> | void,
): Promise<void> {
  while (!signal.aborted) {
    await tick()
    await sleep(clock, period, signal).catch(() => undefined)
  }
}

/** Milliseconds for people: `ms` below one second, two decimals below ten, one below a hundred. */
export function formatMillis(value: number): string {
  const size = Math.abs(value)
  if (size < 1000) return `${Math.round(value)} ms`
  if (size < 10_000) return `${(value / 1000).toFixed(2)} s`
  if (size < 100_000) return `${(value / 1000).toFixed(1)} s`
  return `${Math.round(value / 1000)} s`
}
