import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, type Mono, minutes, seconds } from '@understudy/shared/core/time'
import type { Degradation } from '@understudy/shared/protocol/link'
import { countSchema } from '@understudy/shared/protocol/primitives'
import type { Logger } from 'pino'
import { z } from 'zod'
import { openEc2 } from '../aws/aws.ts'
import type { AgentConfig } from '../config/options.ts'
import type { ImdsClient } from '../imds/imds-client.ts'
import { postJson } from '../link/http.ts'
import type { SampledAs } from './price-lines.ts'
import { openPriceQueue, type PriceQueue } from './price-queue.ts'
import { createSampler } from './sampler.ts'
import { latenessOf } from './schedule.ts'
import { createSubmitter } from './submission.ts'

/** Samples that wait longer although the coordinator is connected are told. */
const TOO_LONG = minutes(20)

/** The prices of this agent's market, as the status shows them. */
export const marketStatusSchema = z.object({
  /** What it samples as; null while it does not. */
  sampling_as: z.enum(['primary', 'replica']).nullable(),
  last_sample_at: z.iso.datetime().nullable(),
  pools: z.int(),
  /** Samples that the coordinator does not have yet. */
  queued: z.int(),
  /** Since the start: too old or too many to be kept, and not taken by the coordinator. */
  dropped: z.int(),
  refused: z.int(),
  last_error: z.string().nullable(),
})
export type MarketStatus = z.infer<typeof marketStatusSchema>

/**
 * What an agent needs of a PriceSubmissionResult. That schema itself brings those of all market data with it, which take
 * some 8 MiB of every agent.
 */
const resultSchema = z.object({ refused: countSchema, errors: z.array(z.unknown()) })

export interface Market {
  readonly services: readonly Service[]
  readonly status: MarketStatus
  readonly degraded: Degradation | undefined
  /** The role may have changed, or whether there is a notice. */
  changed(): void
  connected(): void
  /** The instance ends at about then: no more samples, and what waits is sent before. */
  noticed(end: Mono): void
  useCredential(credential: string): void
}

/**
 * Samples prices and hands them to the coordinator. The primary's wait in the record, which travels with the state, so
 * whoever is promoted sends what is left; a replica's wait in its own data directory.
 */
export function openMarket(parts: {
  readonly config: AgentConfig
  /** A replica's own samples. */
  readonly path: string
  /** The primary's: those of the record. */
  readonly record: PriceQueue
  readonly imds: ImdsClient
  readonly agent: AgentId
  readonly self: InstanceId
  readonly credential: string
  readonly role: () => string
  readonly hasNotice: () => boolean
  readonly isConnected: () => boolean
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}): Market {
  const { config, record, imds, agent, self, clock, random, log } = parts
  let { credential } = parts
  const url = `${config.coordinator_url.replace(/\/+$/, '')}/api/agents/${agent}/pricing`
  const own = openPriceQueue({ path: parts.path, isOpen: () => true, write: createSerial(), clock, log })
  own.reload()
  const queues = [own, record]

  const as = (): SampledAs | undefined => {
    const role = parts.role()
    return (role === 'primary' || role === 'replica') && !parts.hasNotice() ? role : undefined
  }
  let before = as()
  const submitter = createSubmitter({
    queues,
    post: async (submission, signal) =>
      resultSchema.parse(await postJson(url, submission, { credential, signal })),
    isConnected: parts.isConnected,
    clock,
    random,
    log,
  })
  const interval = seconds(config.price_interval)
  const sampler = createSampler({
    open: (signal) => openEc2(imds, clock, config.ec2_endpoint, signal),
    alternatives: config.alternative_types,
    instance: self,
    slots: { interval, lateness: latenessOf(self, interval) },
    as,
    async keep(samples, role) {
      await (role === 'primary' ? record : own).add(samples)
      submitter.wake()
    },
    clock,
    random,
    log,
  })

  const size = () => queues.reduce((sum, queue) => sum + queue.size, 0)
  const dropped = () => queues.reduce((sum, queue) => sum + queue.dropped, 0)

  function notSent(): Degradation | undefined {
    const since = queues.flatMap((queue) => queue.since ?? []).map((at) => Date.parse(at))
    if (submitter.error === undefined || !parts.isConnected()) return undefined
    if (clock.now() - Math.min(...since) < TOO_LONG) return undefined
    return {
      code: 'prices_not_submitted',
      message: `${size()} prices wait: ${submitter.error}`.slice(0, 500),
    }
  }

  return {
    services: config.price_sampling ? [sampler, submitter] : [submitter],
    get status() {
      const { lastAt, error, pools } = sampler
      return {
        sampling_as: config.price_sampling ? (as() ?? null) : null,
        last_sample_at: lastAt === undefined ? null : new Date(lastAt).toISOString(),
        pools,
        queued: size(),
        dropped: dropped(),
        refused: submitter.refused,
        last_error: error ?? submitter.error ?? null,
      }
    },
    get degraded() {
      return sampler.degraded ?? own.degraded ?? record.degraded ?? notSent()
    },
    changed() {
      if (as() === before) return
      before = as()
      sampler.wake()
      submitter.wake()
    },
    connected: () => submitter.wake(),
    noticed(end) {
      before = as()
      submitter.hurry(end)
    },
    useCredential(next) {
      credential = next
    },
  }
}
