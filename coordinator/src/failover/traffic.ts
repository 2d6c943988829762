import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { type Clock, type Mono, millis, sleep } from '@understudy/shared/core/time'
import type { Group } from '@understudy/shared/failover/group'
import type { Logger } from 'pino'
import type { Address } from '../cloud/cloud.ts'
import type { Flight } from './flight.ts'

const CALL_TIMEOUT = 5000
const RETRY = millis(250)
const RETRY_SLOW = millis(2000)
const QUICK_RETRIES = 10

/** Leads the traffic of one agent away from a primary that has ended, and to the one that serves. */
export interface Traffic {
  /** Cuts the connections of epochs below `epoch`. Tried once: `point` does it too. */
  drain(epoch: number, flight: Flight | undefined): Promise<void>
  /** Leads to `instance`; tried again for as long as it is primary, and says so with `routed`. */
  point(instance: InstanceId, flight: Flight | undefined): Promise<void>
}

export function createTraffic(parts: {
  readonly agent: AgentId
  readonly address: Address
  readonly clock: Clock
  readonly log: Logger
  /** As it is now. */
  readonly group: () => Group
  /** A step that has just ended. */
  readonly timed: (of: Flight | undefined, step: string, began: Mono, ok: boolean, detail: string) => void
  readonly routed: (epoch: number) => void
  readonly signal: AbortSignal
}): Traffic {
  const { agent, address, clock, log, group, timed, routed, signal } = parts

  async function tryPoint(
    instance: InstanceId,
    attempt: number,
    flight: Flight | undefined,
  ): Promise<'led' | 'stale' | 'again'> {
    const { epoch } = group()
    const began = clock.mono()
    const target = { agentId: agent, instanceId: instance, epoch }
    try {
      const did = await address.point(target, AbortSignal.timeout(CALL_TIMEOUT))
      if (did !== undefined) timed(flight, 'address-moved', began, true, did)
      return 'led'
    } catch (error) {
      if (isAppError(error, 'stale_epoch')) return 'stale'
      log.error({ event: 'address.point_failed', epoch, attempt, why: messageOf(error) })
      if (attempt === 0)
        timed(flight, 'address-moved', began, false, `${messageOf(error)}; it is tried again`)
      return 'again'
    }
  }

  return {
    async drain(epoch, flight) {
      const began = clock.mono()
      try {
        const did = await address.drain({ agentId: agent, epoch }, AbortSignal.timeout(CALL_TIMEOUT))
        if (did !== undefined) timed(flight, 'traffic-cut', began, true, did)
      } catch (error) {
        log.warn({ event: 'address.drain_failed', epoch, why: messageOf(error) })
        timed(flight, 'traffic-cut', began, false, messageOf(error))
      }
    },

    async point(instance, flight) {
      const term = termOf(group())
      // A change of successor is an epoch of the same term: the address has to lead here all the same.
      const isMeant = () => group().primary === instance && termOf(group()) === term
      for (let attempt = 0; isMeant(); attempt += 1) {
        const outcome = await tryPoint(instance, attempt, flight)
        if (outcome === 'led' && isMeant()) routed(group().epoch)
        if (outcome !== 'again') return
        await sleep(clock, attempt < QUICK_RETRIES ? RETRY : RETRY_SLOW, signal)
      }
    },
  }
}

const termOf = ({ certificate }: Group): number | undefined => certificate?.proposal.term
