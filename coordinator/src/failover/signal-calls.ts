import { AppError } from '@understudy/shared/core/app-error'
import {
  instanceId as asInstanceId,
  type IncidentId,
  type InstanceId,
  type ReplicaId,
} from '@understudy/shared/core/ids'
import { type Clock, instant } from '@understudy/shared/core/time'
import { readyTargets } from '@understudy/shared/failover/group'
import type {
  RebalanceRequest,
  RebalanceResponse,
  TerminationImminentRequest,
} from '@understudy/shared/protocol/failover'
import type { FleetStore } from '../fleet/fleet.ts'
import type { Entry } from './registry.ts'
import type { Signals } from './signals.ts'
import type { Standbys } from './standbys.ts'
import type { Views } from './views.ts'

/** Signals that somebody else has seen and tells of over HTTP. */
export interface SignalCalls {
  /** The incident that the notice belongs to. @throws AppError `not_found`, `not_ready` */
  terminationImminent(entry: Entry, body: TerminationImminentRequest): Promise<IncidentId>
  /** @throws AppError `not_found` */
  rebalance(entry: Entry, body: RebalanceRequest): Promise<RebalanceResponse>
}

export function createSignalCalls(parts: {
  readonly fleet: FleetStore
  readonly signals: Signals
  readonly standbys: Standbys
  readonly views: Pick<Views, 'replica'>
  readonly clock: Clock
}): SignalCalls {
  const { fleet, signals, standbys, views, clock } = parts

  return {
    async terminationImminent(entry, body) {
      const { agentId } = entry
      const instance = asInstanceId(body.instance_id)
      const known = await fleet.instance(instance)
      if (known?.agent_id !== agentId)
        throw new AppError('not_found', `${instance} is not an instance of ${agentId}`, {
          hint: `Its primary is ${entry.runner.group.primary ?? 'not there yet'}: GET /api/agents/${agentId}`,
        })
      const prefer = body.replica_id ? await readyInstanceOf(entry, body.replica_id) : undefined
      return signals.terminate(entry, instance, {
        signal: 'termination-notice',
        time: instant(Date.parse(body.termination_time)),
        seenAt: clock.mono(),
        via: 'api',
        prefer,
      })
    },
    async rebalance(entry, body) {
      const { agentId } = entry
      const instance = asInstanceId(body.instance_id)
      const known = await fleet.instance(instance)
      if (known?.agent_id !== agentId)
        throw new AppError('not_found', `${instance} is not an instance of ${agentId}`, {
          hint: `GET /api/agents/${agentId} names its instances.`,
        })
      const outcome = await signals.rebalance(entry, instance, {
        signal: 'rebalance-recommendation',
        time: body.notice_time === undefined ? instant(0) : instant(Date.parse(body.notice_time)),
        seenAt: clock.mono(),
        via: 'api',
      })
      const row =
        outcome.replicaId === null ? undefined : await standbys.row(entry, outcome.replicaId as ReplicaId)
      return {
        incident_id: outcome.incidentId,
        interruption_probability: Math.round(outcome.probability.value * 1000) / 1000,
        because: outcome.probability.because,
        threshold: outcome.threshold,
        action: outcome.action,
        reason: outcome.reason,
        replica: row ? views.replica(entry, row) : null,
      }
    },
  }

  /** A replica that the caller names must be able to take over, unless something else is under way already. */
  async function readyInstanceOf(entry: Entry, id: ReplicaId): Promise<InstanceId | undefined> {
    const row = await standbys.row(entry, id)
    const { group } = entry.runner
    const ready = readyTargets(group, clock.mono()).find(({ instance }) => instance === row.instance_id)
    if (ready || entry.runner.flight) return ready?.instance
    throw new AppError('not_ready', `the replica ${id} is not ready (${row.status})`, {
      hint: 'Leave replica_id out: the best replica is chosen, or a new one is made.',
      facts: { epoch: group.epoch, primary: group.primary ?? null, status: row.status },
    })
  }
}
