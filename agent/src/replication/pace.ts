import { type Clock, millis, sleep } from '@understudy/shared/core/time'

/** At most this much is sent at once after a pause, in seconds of the limit. */
const BURST_SECONDS = 0.25
/** Whoever waits looks this often whether there is a hurry by now, in milliseconds. */
const LOOK_EVERY = 20

/** Holds the sending of all replicas together to so many bytes per second: a token bucket. */
export interface Pace {
  /** Waits for its turn; what is `urgent` does not wait, or not any longer, and is not counted. */
  take(bytes: number, urgent: () => boolean, signal: AbortSignal): Promise<void>
}

/** `bytesPerSecond` 0 is no limit. */
export function createPace(bytesPerSecond: number, clock: Clock): Pace {
  if (bytesPerSecond === 0) return { take: () => Promise.resolve() }
  let tokens = bytesPerSecond * BURST_SECONDS
  let at = clock.mono()
  return {
    async take(bytes, urgent, signal) {
      if (urgent()) return
      const now = clock.mono()
      tokens = Math.min(tokens + ((now - at) * bytesPerSecond) / 1000, bytesPerSecond * BURST_SECONDS)
      at = now
      // Debt is paid by waiting: a batch larger than the bucket goes out whole.
      tokens -= bytes
      const until = now + (-tokens * 1000) / bytesPerSecond
      for (let left = until - now; left > 0 && !urgent(); left = until - clock.mono())
        await sleep(clock, millis(Math.min(left, LOOK_EVERY)), signal)
    },
  }
}
