import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import { toUsd } from '@understudy/shared/core/money'
import type { Random } from '@understudy/shared/core/random'
import type { Service } from '@understudy/shared/core/service'
import {
  between,
  type Clock,
  type Instant,
  type Millis,
  type Mono,
  millis,
  minutes,
  seconds,
} from '@understudy/shared/core/time'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import { type CurrentPrices, type Ec2OfInstance, readCurrentPrices } from '../aws/aws.ts'
import type { PriceSample, SampledAs } from './price-lines.ts'
import { createRest } from './rest.ts'
import { isDue, type Look, type Slots, slotOf, startOf } from './schedule.ts'

/** After a failure that may pass; the slot ends the tries. */
const BACKOFF: BackoffPolicy = { base: seconds(4), cap: seconds(60) }
/** What may pass by itself is told only when it has lasted. */
const LASTING = minutes(15)

export interface Sampler extends Service {
  /** By the clock of AWS; undefined before the first one. */
  readonly lastAt: Instant | undefined
  /** How many pools it had a price for. */
  readonly pools: number
  /** Why there is none; undefined while there is. */
  readonly error: string | undefined
  readonly degraded: Degradation | undefined
  /** What it is may have changed. */
  wake(): void
}

/** Looks at the prices of its own type and the alternatives, in every zone of the region, once per slot. */
export function createSampler(parts: {
  readonly open: (signal: AbortSignal) => Promise<Ec2OfInstance>
  readonly alternatives: readonly string[]
  readonly instance: string
  readonly slots: Slots
  /** What this instance is; undefined while it does not sample. */
  readonly as: () => SampledAs | undefined
  readonly keep: (samples: readonly PriceSample[], as: SampledAs) => Promise<void>
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}): Sampler {
  const { slots, clock, random, log } = parts
  const rest = createRest(clock)
  let ec2: Ec2OfInstance | undefined
  let last: Look | undefined
  let lastAt: Instant | undefined
  let pools = 0
  let failure: { readonly error: unknown; readonly since: Mono; readonly attempt: number } | undefined
  let missing = ''

  async function look(as: SampledAs, signal: AbortSignal): Promise<void> {
    ec2 ??= await parts.open(signal)
    const types = [...new Set([ec2.instanceType, ...parts.alternatives])]
    const found = await readCurrentPrices(ec2.ec2, types, signal)
    // A notice, or another role, while EC2 was asked: what it was asked as counts no more.
    if (parts.as() !== as) return
    tellMissing(found)
    lastAt = found.at
    pools = found.prices.size
    await parts.keep(toSamples(found, parts.instance, as), as)
  }

  function tellMissing(found: CurrentPrices): void {
    const names = found.missing.join(', ')
    if (names !== missing && names !== '')
      log.warn({
        event: 'prices.no_offer',
        types: found.missing,
        hint: 'EC2 does not sell them as Spot in this region.',
      })
    missing = names
  }

  /** How long to rest before the next look. */
  async function turn(signal: AbortSignal): Promise<Millis> {
    const as = parts.as()
    const slot = slotOf(clock.now(), slots)
    if (as !== undefined && isDue(last, { slot, as })) {
      try {
        await look(as, signal)
        if (failure) log.info({ event: 'prices.sampled_again' })
        failure = undefined
        last = { slot, as }
      } catch (error) {
        if (signal.aborted) return millis(0)
        const wait = failed(error)
        if (wait !== undefined) return wait
        last = { slot, as }
      }
    }
    return between(clock.now(), startOf(slotOf(clock.now(), slots) + 1, slots))
  }

  /** How long until it is tried again within this slot; undefined when that cannot help. */
  function failed(error: unknown): Millis | undefined {
    if (messageOf(failure?.error) !== messageOf(error))
      log.warn({
        event: 'prices.not_sampled',
        why: messageOf(error),
        ...(error instanceof AppError ? { hint: error.hint } : { err: error }),
      })
    failure = { error, since: failure?.since ?? clock.mono(), attempt: (failure?.attempt ?? -1) + 1 }
    if (!mayPass(error)) return undefined
    return millis(1000 + fullJitter(BACKOFF, failure.attempt, random))
  }

  return {
    name: 'price-sampler',
    get lastAt() {
      return lastAt
    },
    get pools() {
      return pools
    },
    get error() {
      return failure && messageOf(failure.error)
    },
    get degraded() {
      if (!failure || parts.as() === undefined) return undefined
      if (mayPass(failure.error) && between(failure.since, clock.mono()) < LASTING) return undefined
      return toDegradation(failure.error)
    },
    wake: rest.wake,
    async run(signal) {
      while (!signal.aborted) await rest.sleep(await turn(signal), signal)
    },
  }
}

const mayPass = (error: unknown): boolean => error instanceof AppError && error.retryable

const toSamples = ({ at, prices }: CurrentPrices, instance: string, role: SampledAs): PriceSample[] =>
  [...prices].map(([pool, price]) => ({
    pool,
    at: new Date(at).toISOString(),
    usd: toUsd(price),
    instance,
    role,
  }))

const toDegradation = (error: unknown): Degradation => ({
  code: 'prices_not_sampled',
  message: messageOf(error).slice(0, 500),
  ...(error instanceof AppError && error.hint ? { hint: error.hint.slice(0, 500) } : {}),
})
