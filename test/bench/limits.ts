import { setTimeout as sleep } from 'node:timers/promises'

/** The time that one invocation of a benchmark has, in milliseconds. */
export interface Budget {
  left(): number
  /** A part of it, of which the rest is kept for what comes later. */
  keeping(millis: number): Budget
}

export function createBudget(millis: number, now: () => number = () => performance.now()): Budget {
  const end = now() + millis
  const until = (deadline: number): Budget => ({
    left: () => Math.max(0, deadline - now()),
    keeping: (kept) => until(deadline - kept),
  })
  return until(end)
}

/** Waits for `task`, and no longer than `millis`. @throws Error that names `what` */
export async function within<T>(what: string, millis: number, task: Promise<T>): Promise<T> {
  const done = new AbortController()
  const late = sleep(millis, undefined, { signal: done.signal }).then(() => {
    throw new Error(`${what}: given up after ${Math.round(millis / 1000)} s`)
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
