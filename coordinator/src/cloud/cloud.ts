import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import type { Instant } from '@understudy/shared/core/time'
import type { InterruptionBand, Pool } from '@understudy/shared/market/pool'

/**
 * Where instances come from. One port, several worlds: `simulated/` for the demo and the tests, `manual/` where
 * instances are started by hand. Every implementation passes cloud.conformance.ts.
 */
export interface Cloud {
  readonly kind: 'simulated' | 'manual'
  /** Whether `launch` can work at all. */
  readonly canLaunch: boolean
  /**
   * Pools that an instance could be launched into now, with what is known of each. Empty where nothing is known.
   * @throws AppError `unavailable`
   */
  offers(signal: AbortSignal): Promise<readonly PoolOffer[]>
  /**
   * Starts an instance. The same `requestId` given twice starts one.
   * @throws AppError `no_capacity` (retryable), `not_supported`, `unavailable`
   */
  launch(spec: LaunchSpec, signal: AbortSignal): Promise<{ instanceId: InstanceId }>
  /** What the cloud says of an instance; undefined when it does not know it. @throws AppError `unavailable` */
  describe(instanceId: InstanceId, signal: AbortSignal): Promise<InstanceDescription | undefined>
  /** Ends an instance. Ending one that has ended is no error. @throws AppError `unavailable` */
  terminate(instanceId: InstanceId, signal: AbortSignal): Promise<void>
}

export interface PoolOffer {
  readonly pool: Pool
  readonly spotPrice: MicroUsd
  readonly onDemandPrice: MicroUsd
  /** Spot Advisor's band of monthly interruptions; null where it says nothing. */
  readonly interruptionBand: InterruptionBand | null
  readonly at: Instant
}

export interface LaunchSpec {
  readonly requestId: string
  readonly pool: Pool
  /** `spot` if not said. */
  readonly lifeCycle?: 'spot' | 'on-demand' | undefined
  readonly agentId: AgentId
  /** How the new instance finds its coordinator and says who it is. */
  readonly userData: { readonly coordinatorUrl: string; readonly joinToken: string }
}

export interface InstanceDescription {
  readonly instanceId: InstanceId
  readonly pool: Pool
  /** EC2's names. `stopped` only after an interruption with that action. */
  readonly state: 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped'
  readonly privateIp: string | null
  readonly launchedAt: Instant
}

/** A machine in one of these states will never run a workload again by itself. */
export const hasEnded = ({ state }: InstanceDescription): boolean =>
  state === 'shutting-down' || state === 'terminated' || state === 'stopped'

/**
 * The address that clients use and that moves with the primary. Both calls are conditional on the epoch: one with an
 * epoch below the highest that was seen changes nothing and throws `stale_epoch`, so a late call of a former
 * coordinator or primary can never move traffic back. Both say in a sentence what they did; undefined when there is
 * nothing here to move.
 */
export interface Address {
  /** Leads new connections to the instance. Repeating it changes nothing. @throws AppError `stale_epoch`, `unavailable` */
  point(
    target: { agentId: AgentId; instanceId: InstanceId; epoch: number },
    signal: AbortSignal,
  ): Promise<string | undefined>
  /** Cuts connections to whoever has it at a lower epoch. @throws AppError `stale_epoch`, `unavailable` */
  drain(target: { agentId: AgentId; epoch: number }, signal: AbortSignal): Promise<string | undefined>
}
