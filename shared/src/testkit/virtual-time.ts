import { type Clock, type Instant, instant, type Millis, type Mono, mono } from '../core/time.ts'

/** A clock that only moves when a test moves it. Timers fire in order of their time, then of their creation. */
export interface VirtualTime {
  readonly clock: Clock
  /** Moves time forward, firing what is due; waits for promises between two timers. */
  advance(by: Millis | number): Promise<void>
  /** Timers that have not fired: what a test that cleans up leaves at zero. */
  pending(): number
  /** Makes the wall clock jump without touching the monotonic one. */
  jumpWall(by: number): void
}

interface Timer {
  at: number
  order: number
  fire: () => void
}

export function createVirtualTime(start = 1_700_000_000_000): VirtualTime {
  let now = 0
  let wall = start
  let order = 0
  const timers = new Set<Timer>()
  const clock: Clock = {
    now: (): Instant => instant(wall + now),
    mono: (): Mono => mono(now),
    timer: (delay, fire) => {
      const timer = { at: now + Math.max(0, delay), order: order++, fire }
      timers.add(timer)
      return () => timers.delete(timer)
    },
  }
  const due = (until: number) =>
    [...timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at || a.order - b.order)[0]
  return {
    clock,
    async advance(by) {
      const until = now + by
      await settle()
      for (let next = due(until); next; next = due(until)) {
        timers.delete(next)
        now = Math.max(now, next.at)
        next.fire()
        await settle()
      }
      now = until
    },
    pending: () => timers.size,
    jumpWall: (by) => {
      wall += by
    },
  }
}

/** Lets every promise that can go on do so. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
