import type { MicroUsd } from '../core/money.ts'
import type { Instant } from '../core/time.ts'
import { bucketOf } from './bucket.ts'

/** In hundredths: a primary's sample counts 1.00, a replica's 0.95. */
export type SampleConfidence = 100 | 95
export type SampleSource = 'primary' | 'replica'

/** One accepted sample and who sent it. */
export interface Observation {
  readonly poolId: string
  readonly sampledAt: Instant
  readonly price: MicroUsd
  readonly confidence: SampleConfidence
  readonly instanceId: string
  readonly agentId: string
}

/** The observation that stands for its pool in the bucket that starts at `at`. */
export interface Snapshot extends Observation {
  readonly at: Instant
}

export const sampleConfidence = (source: SampleSource): SampleConfidence => (source === 'primary' ? 100 : 95)

export const sampleSource = (confidence: SampleConfidence): SampleSource =>
  confidence === 100 ? 'primary' : 'replica'

/**
 * Whether `a` stands in place of `b` for the same pool and bucket. A total order on all that tells two observations
 * apart, so what settles does not depend on the order of arrival or on repetition: higher confidence, then
 * later, then cheaper, then the smaller instance id, then the smaller agent id (both compared by code unit).
 */
export function outranks(a: Observation, b: Observation): boolean {
  if (a.confidence !== b.confidence) return a.confidence > b.confidence
  if (a.sampledAt !== b.sampledAt) return a.sampledAt > b.sampledAt
  if (a.price !== b.price) return a.price < b.price
  if (a.instanceId !== b.instanceId) return a.instanceId < b.instanceId
  return a.agentId < b.agentId
}

/** The winner of every pool and bucket: pool id → bucket → snapshot. */
export function settle(
  observations: Iterable<Observation>,
): ReadonlyMap<string, ReadonlyMap<Instant, Snapshot>> {
  const pools = new Map<string, Map<Instant, Snapshot>>()
  for (const observation of observations) {
    const buckets = pools.get(observation.poolId) ?? new Map<Instant, Snapshot>()
    if (buckets.size === 0) pools.set(observation.poolId, buckets)
    const at = bucketOf(observation.sampledAt)
    const standing = buckets.get(at)
    if (!standing || outranks(observation, standing)) buckets.set(at, { ...observation, at })
  }
  return pools
}
