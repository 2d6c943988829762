import { instanceId as asInstanceId, type InstanceId } from '@understudy/shared/core/ids'
import type { Clock, Millis } from '@understudy/shared/core/time'
import type { AgentView, ReplicaView } from '@understudy/shared/protocol/agents'
import { type FleetStore, toAgentView, toReplicaView } from '../fleet/fleet.ts'
import type { ReplicaRow } from '../storage/database.ts'
import type { Offers } from './offers.ts'
import type { PresenceBook } from './presence.ts'
import type { Entry } from './registry.ts'

/** Agents and replicas as they are at this moment: rows, what the machines say, and prices. */
export interface Views {
  agent(entry: Entry): Promise<AgentView>
  replica(entry: Entry, row: ReplicaRow): ReplicaView
}

export function createViews(parts: {
  readonly fleet: FleetStore
  readonly presence: PresenceBook
  readonly offers: Offers
  readonly clock: Clock
  readonly offlineAfter: Millis
}): Views {
  const { fleet, presence, offers, clock, offlineAfter } = parts

  function replica(entry: Entry, row: ReplicaRow): ReplicaView {
    const instance = row.instance_id === null ? undefined : asInstanceId(row.instance_id)
    const { group } = entry.runner
    const primary = group.primary === undefined ? undefined : presence.get(group.primary)
    const own = instance === undefined ? undefined : presence.get(instance)
    return toReplicaView(row, {
      member: instance === undefined ? undefined : group.members.get(instance),
      progress: own?.heartbeat?.message.progress,
      degraded: own?.heartbeat?.message.degraded ?? [],
      bytesPerSecond: own?.bytesPerSecond ?? null,
      lag: row.is_active === 1 ? lagOf(primary?.heartbeat?.message.replicas, instance) : undefined,
    })
  }

  return {
    replica,
    async agent(entry) {
      const { agentId, runner } = entry
      const { group } = runner
      const row = await fleet.mustAgent(agentId)
      const instance = group.primary === undefined ? undefined : await fleet.instance(group.primary)
      const primary = group.primary === undefined ? undefined : presence.get(group.primary)
      const offer = instance ? offers.of(instance.pool_id) : undefined
      const view = toAgentView({
        row,
        instance,
        replicas: [...entry.replicas.values()].map((known) => replica(entry, known)),
        group,
        heartbeat: primary?.heartbeat,
        heardAt: primary?.heardAt,
        spotPrice: offer?.spotPrice ?? null,
        onDemandPrice: offer?.onDemandPrice ?? null,
        atRisk: group.primary !== undefined && [entry.atRisk, entry.inMaintenance].includes(group.primary),
        stateSince: entry.shown.since,
        now: { wall: clock.now(), mono: clock.mono() },
        offlineAfter,
      })
      if (view.state === entry.shown.state) return view
      entry.shown = { state: view.state, since: clock.now() }
      return { ...view, state_since: new Date(entry.shown.since).toISOString() }
    },
  }
}

const lagOf = <T extends { instanceId: InstanceId }>(
  replicas: readonly T[] | undefined,
  instance: InstanceId | undefined,
): T | undefined => replicas?.find(({ instanceId }) => instanceId === instance)
