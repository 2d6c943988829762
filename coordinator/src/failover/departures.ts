import { AppError } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { between, type Clock, formatMillis } from '@understudy/shared/core/time'
import type { FleetStore } from '../fleet/fleet.ts'
import type { PresenceBook } from './presence.ts'
import type { Entry } from './registry.ts'
import type { ReplicaStore } from './replica-store.ts'

/** Instances that have ended: by the cloud's word, by our own hand, or by the word of an operator. */
export interface Departures {
  /** The instance is gone for good; `why` when that was not wanted. */
  forget(entry: Entry, instance: InstanceId, why: string | undefined): Promise<void>
  /**
   * An operator has seen that the instance is terminated: as good as the cloud's own word. Saying it again changes
   * nothing. @throws AppError `not_found`, `conflict`, `not_ready`, `busy`
   */
  stated(entry: Entry, instance: InstanceId): Promise<void>
}

export function createDepartures(parts: {
  readonly fleet: FleetStore
  readonly replicas: ReplicaStore
  readonly presence: PresenceBook
  readonly clock: Clock
  readonly onChange: (entry: Entry) => void
}): Departures {
  const { fleet, replicas, presence, clock, onChange } = parts

  async function forget(entry: Entry, instance: InstanceId, why: string | undefined): Promise<void> {
    const row = entry.replicas.get(instance)
    entry.runner.dispatch({ kind: 'gone', instance })
    if (entry.predecessor?.instance === instance) {
      const { waiting } = entry.predecessor
      entry.predecessor = undefined
      for (const greet of waiting) greet()
    }
    entry.tokens.revoke(instance)
    presence.forget(instance)
    // Not before that is forgotten here, or nobody would try again where it fails.
    if (row) await replicas.setStatus(row, why === undefined ? 'terminated' : 'failed', why)
    await fleet.patchInstance(instance, { terminated_at: clock.now(), is_active: 0 })
    entry.replicas.delete(instance)
    entry.runner.dispatch({ kind: 'left', instance })
    onChange(entry)
  }

  /** Whoever is heard runs, whatever the EC2 console was taken to say. */
  function assertSilent({ runner }: Entry, instance: InstanceId): void {
    const { group } = runner
    const member = group.members.get(instance)
    const silence = member ? between(member.heardAt, clock.mono()) : undefined
    const facts = { epoch: group.epoch, primary: group.primary ?? null, phase: group.phase.kind }
    if (clock.mono() < group.silentUntil)
      throw new AppError(
        'not_ready',
        'the coordinator has just started, and the instance may still connect',
        {
          hint: 'Try again in a few seconds.',
          retryable: true,
          facts,
        },
      )
    // The connection of a machine that has vanished may stay open for a long time.
    if (member?.connected && silence !== undefined && silence <= group.policy.lease)
      throw new AppError('conflict', `${instance} is connected, so it has not ended`, {
        hint: 'Look at its id again. To move the workload off it, promote a replica.',
        facts: { ...facts, heard: `${formatMillis(silence)} ago` },
      })
    if ('target' in group.phase && group.phase.target === instance && instance !== group.primary)
      throw new AppError('busy', `${instance} is about to become primary`, {
        hint: 'Wait for the move to end, then look again.',
        facts,
      })
  }

  return {
    forget,
    async stated(entry, instance) {
      const row = await fleet.instance(instance)
      if (row?.agent_id !== entry.agentId)
        throw new AppError('not_found', `${instance} is not an instance of ${entry.agentId}`, {
          hint: `GET /api/agents/${entry.agentId} names its instances.`,
        })
      assertSilent(entry, instance)
      if (row.terminated_at !== null) return
      entry.runner.dispatch({ kind: 'gone', instance })
      // A primary is remembered until somebody else is; then housekeeping forgets it.
      if (instance !== entry.runner.group.primary)
        await forget(entry, instance, 'an operator said that its instance has ended')
    },
  }
}
