import {
  agentId as asAgentId,
  instanceId as asInstanceId,
  type InstanceId,
  type ReplicaId,
} from '@understudy/shared/core/ids'
import type { Clock } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { Cloud } from '../cloud/cloud.ts'
import type { FleetStore } from '../fleet/fleet.ts'
import type { InstanceRow, ReplicaRow } from '../storage/database.ts'
import type { Entry, Registry } from './registry.ts'
import type { ReplicaStore } from './replica-store.ts'
import type { Standbys } from './standbys.ts'

/** Instances that enrol: members of their agent from then on, with the row that they were launched for. */
export interface Arrivals {
  onEnrolled(joined: { agentId: string; instanceId: string; replicaId: string | null }): Promise<void>
}

export function createArrivals(parts: {
  readonly registry: Pick<Registry, 'ensure'>
  readonly fleet: Pick<FleetStore, 'instance' | 'patchInstance'>
  readonly store: Pick<ReplicaStore, 'attach'>
  readonly standbys: Pick<Standbys, 'row'>
  readonly cloud: Pick<Cloud, 'canLaunch'>
  readonly clock: Clock
  readonly log: Logger
  readonly notePool: (row: InstanceRow) => void
  readonly onChange: (entry: Entry) => void
}): Arrivals {
  const { registry, fleet, store, standbys, cloud, clock, log, notePool, onChange } = parts

  /** Launched for a replica that was deleted or given up meanwhile: another one may be there in its place. */
  const isStray = ({ runner }: Entry, instance: InstanceId, { status }: ReplicaRow): boolean =>
    cloud.canLaunch && status !== 'promoted' && !runner.group.members.has(instance)

  /** It is no member, and housekeeping ends it. */
  async function turnAway(
    { agentId, dying }: Entry,
    instance: InstanceId,
    replica: ReplicaRow,
  ): Promise<void> {
    log.warn({ event: 'instance.stray', agent: agentId, replica: replica.id, instance })
    dying.set(instance, clock.mono())
    await fleet.patchInstance(instance, { retired: 1 })
  }

  return {
    async onEnrolled({ agentId, instanceId, replicaId }) {
      const entry = registry.ensure(asAgentId(agentId))
      const instance = asInstanceId(instanceId)
      const row = await fleet.instance(instance)
      if (row) notePool(row)
      const replica = replicaId === null ? undefined : await standbys.row(entry, replicaId as ReplicaId)
      const isWanted = replica?.is_active === 1 && (await store.attach(replica.id, instance))
      if (replica && !isWanted && isStray(entry, instance, replica)) return turnAway(entry, instance, replica)
      entry.runner.dispatch({ kind: 'joined', instance })
      if (!replica) return
      entry.replicas.delete(replica.id)
      if (!isWanted) return
      entry.replicas.set(instance, { ...replica, instance_id: instance })
      onChange(entry)
    },
  }
}
