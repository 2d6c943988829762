import type { Instant, Millis } from '@understudy/shared/core/time'
import type { Arch } from '@understudy/shared/pipeline/context'

/** What happened, on a grid of equal ticks. */
export interface ReplayMarket {
  readonly start: Instant
  readonly tick: Millis
  readonly ticks: number
  readonly pools: readonly ReplayPool[]
  /** True for ticks of which nothing is known of any pool: they are passed over. */
  isBlind(tick: number): boolean
}

export interface ReplayPool {
  readonly id: string
  readonly instanceType: string
  readonly availabilityZone: string
  readonly vcpu: number
  readonly memGib: number
  readonly arch: Arch
  readonly gpu: number
  readonly onDemandUsd: number | null
  /** USD per hour for each tick; NaN where the pool could not be had. */
  readonly price: Float64Array
}

/** One instance to be kept running, in the pools that satisfy it. */
export interface Workload {
  readonly name: string
  /** Indexes into `ReplayMarket.pools`. */
  readonly pools: readonly number[]
  /** Where it begins: one of them. */
  readonly home: number
  readonly vcpu: number
  readonly memGib: number
  readonly arch: Arch
  readonly gpu: number
  readonly onDemandUsd: number | null
  /** The first tick at which its home can be had. */
  readonly from: number
}

export const priceOf = ({ pools }: ReplayMarket, pool: number, tick: number): number =>
  pools[pool]?.price[tick] ?? Number.NaN
