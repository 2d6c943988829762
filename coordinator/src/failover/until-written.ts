import { type Clock, millis, sleep } from '@understudy/shared/core/time'

const RETRY = millis(250)

/** A database that is busy or full takes it later. @throws what ends `signal` */
export async function untilWritten<T>(
  write: () => Promise<T>,
  parts: {
    readonly clock: Clock
    readonly signal: AbortSignal
    readonly onFailure: (error: unknown) => void
  },
): Promise<T> {
  for (;;) {
    try {
      return await write()
    } catch (error) {
      parts.onFailure(error)
      await sleep(parts.clock, RETRY, parts.signal)
    }
  }
}
