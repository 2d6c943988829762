import { messageOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import { type Service, untilAborted } from '@understudy/shared/core/service'
import { type Clock, seconds } from '@understudy/shared/core/time'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'

const AGAIN_AFTER = seconds(10)

/** Something that only a restart would miss: nothing waits for the disk, and a disk that refuses it ends nothing. */
export interface KeptOnDisk<T> extends Service {
  /** While the disk does not have the newest. */
  readonly degraded: Degradation | undefined
  /** Writes it instead of whatever was to be kept before, again and again until the disk takes it. */
  keep(value: T): void
}

export function keepOnDisk<T>(parts: {
  /** For people: what a restart would not know. */
  readonly what: string
  readonly write: (value: T) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}): KeptOnDisk<T> {
  const { what, write, clock, log } = parts
  const serial = createSerial()
  let refused: string | undefined
  let cancel: () => void = () => undefined
  let ended = false

  async function attempt(value: T): Promise<void> {
    // An older value need not be tried again.
    cancel()
    try {
      await write(value)
      if (refused !== undefined) log.info({ event: 'data.kept', what })
      refused = undefined
    } catch (error) {
      const why = messageOf(error)
      if (why !== refused) log.error({ event: 'data.not_kept', what, why })
      refused = why
      if (!ended) cancel = clock.timer(AGAIN_AFTER, () => keep(value))
    }
  }

  const keep = (value: T): void => void serial(() => attempt(value))

  return {
    name: 'kept-on-disk',
    keep,
    get degraded() {
      if (refused === undefined) return undefined
      return {
        code: 'data_not_kept',
        message: `${what} cannot be written down, so a restart would not know: ${refused}`.slice(0, 500),
        hint: 'Free space on the disk of data_dir, or see why it refuses; it is tried again.',
      }
    },
    async run(signal) {
      await untilAborted(signal)
      ended = true
      cancel()
      await serial(() => undefined)
    },
  }
}
