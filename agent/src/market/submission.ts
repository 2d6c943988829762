import { createHash } from 'node:crypto'
import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, type Millis, type Mono, millis, minutes, seconds } from '@understudy/shared/core/time'
import type { PriceSubmission, PriceSubmissionResult } from '@understudy/shared/protocol/market'
import type { Logger } from 'pino'
import type { PriceSample } from './price-lines.ts'
import type { PriceQueue } from './price-queue.ts'
import { createRest } from './rest.ts'

/** Some 65 KB. */
const BATCH = 500
const BACKOFF: BackoffPolicy = { base: seconds(1), cap: minutes(5) }
/** The same when there is a deadline. */
const URGENT: BackoffPolicy = { base: millis(250), cap: seconds(2) }
/** Without anything that wakes it. */
const IDLE = minutes(5)
/** How long the last tries may take when the agent ends, in milliseconds. */
const LAST_WORDS = 500

export interface Submitter extends Service {
  /** Of the last try; undefined when it went well. */
  readonly error: string | undefined
  /** Rows that the coordinator would not have, since the start. */
  readonly refused: number
  /** There is something to send, or somebody to send it to. */
  wake(): void
  /** What waits has to be gone by then: no long waits any more. */
  hurry(until: Mono): void
}

/**
 * Sends what waits in the queues, the oldest first, until the coordinator has answered for it. A row is the same row
 * however often it is sent, so nothing is lost when an answer is. A row that is refused is refused for ever.
 */
export function createSubmitter(parts: {
  readonly queues: readonly PriceQueue[]
  /** @throws AppError of the coordinator, or `unavailable` */
  readonly post: (
    submission: PriceSubmission,
    signal: AbortSignal,
  ) => Promise<Pick<PriceSubmissionResult, 'refused'> & { readonly errors: readonly unknown[] }>
  readonly isConnected: () => boolean
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}): Submitter {
  const { queues, clock, random, log } = parts
  const rest = createRest(clock)
  let error: string | undefined
  let refused = 0
  let attempt = 0
  let batch = BATCH
  let urgentUntil: Mono | undefined

  async function send(samples: readonly PriceSample[], signal: AbortSignal): Promise<void> {
    const result = await parts.post(toSubmission(samples), signal)
    if (result.refused === 0) return
    refused += result.refused
    log.warn({ event: 'prices.refused', rows: result.refused, first: result.errors.slice(0, 3) })
  }

  /** One batch of a queue. A batch that cannot be taken as it is comes again in halves; one row alone is given up. */
  async function sendSome(
    queue: PriceQueue,
    samples: readonly PriceSample[],
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await send(samples, signal)
      batch = Math.min(BATCH, batch * 2)
    } catch (cause) {
      if (!isAppError(cause, 'input_invalid') && !isAppError(cause, 'payload_too_large')) throw cause
      if (samples.length > 1) {
        batch = Math.ceil(samples.length / 2)
        return
      }
      refused += 1
      log.warn({ event: 'prices.refused', rows: 1, first: samples, why: cause.message })
    }
    queue.settle(samples)
  }

  /** @throws what `post` throws; what was answered for is settled on disk all the same */
  async function drain(signal: AbortSignal): Promise<void> {
    for (const queue of queues) {
      try {
        for (let some = queue.waiting(batch); some.length > 0 && !signal.aborted; some = queue.waiting(batch))
          await sendSome(queue, some, signal)
      } finally {
        await queue.save()
      }
    }
  }

  const isUrgent = (): boolean => urgentUntil !== undefined && clock.mono() < urgentUntil
  const hasSome = (): boolean => queues.some((queue) => queue.waiting(1).length > 0)

  /** How long to rest. */
  async function turn(signal: AbortSignal): Promise<Millis> {
    if (!hasSome() || !parts.isConnected()) {
      attempt = 0
      return IDLE
    }
    try {
      await drain(signal)
      if (error !== undefined) log.info({ event: 'prices.submitted_again' })
      error = undefined
      attempt = 0
      return IDLE
    } catch (cause) {
      if (signal.aborted) return millis(0)
      if (messageOf(cause) !== error)
        log.warn({
          event: 'prices.not_submitted',
          why: messageOf(cause),
          hint: isAppError(cause) ? cause.hint : undefined,
        })
      error = messageOf(cause)
      const wait = millis(100 + fullJitter(isUrgent() ? URGENT : BACKOFF, attempt, random))
      attempt += 1
      return wait
    }
  }

  return {
    name: 'price-submitter',
    get error() {
      return error
    },
    get refused() {
      return refused
    },
    wake: rest.wake,
    hurry(until) {
      urgentUntil = until
      attempt = 0
      rest.wake()
    },
    async run(signal) {
      let connected = false
      while (!signal.aborted) {
        const wait = await turn(signal)
        connected = parts.isConnected()
        await rest.sleep(wait, signal)
      }
      if (connected && error === undefined && hasSome())
        await drain(AbortSignal.timeout(LAST_WORDS)).catch((cause) =>
          log.info({ event: 'prices.left', why: messageOf(cause) }),
        )
    },
  }
}

function toSubmission(samples: readonly PriceSample[]): PriceSubmission {
  const rows = samples.map(({ pool, at, usd, instance, role }) => ({
    pool_id: pool,
    at,
    price: usd,
    instance_id: instance,
    role,
  }))
  return { submission_id: nameOf(JSON.stringify(rows)), samples: rows }
}

/** A UUID of the content (version 8): the same batch has the same name when it is sent again, also after a restart. */
function nameOf(content: string): string {
  const hex = createHash('sha256').update(content).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
