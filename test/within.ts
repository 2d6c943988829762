import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits for `task`, and no longer than `millis`.
 * @param failure makes the error that says what was given up
 * @throws what `failure` makes
 */
export async function within<T>(
  what: string,
  millis: number,
  task: Promise<T>,
  failure: (why: string) => Error = (why) => new Error(why),
): Promise<T> {
  const done = new AbortController()
  const late = sleep(millis, undefined, { signal: done.signal }).then(() => {
    throw failure(`${what}: given up after ${Number((millis / 1000).toPrecision(3))} s`)
  })
  // Whichever loses is nobody's concern any more.
  late.catch(() => undefined)
  task.catch(() => undefined)
  try {
    return await Promise.race([task, late])
  } finally {
    done.abort()
  }
}
