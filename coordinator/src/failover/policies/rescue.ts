import type { InstanceId } from '@understudy/shared/core/ids'
import { instanceId as asInstanceId } from '@understudy/shared/core/ids'
import { between, type Clock } from '@understudy/shared/core/time'
import type { CoordinatorMessage } from '@understudy/shared/protocol/link'
import type { ReplicaRow } from '../../storage/database.ts'
import type { Notes } from '../incident-notes.ts'
import type { PresenceBook } from '../presence.ts'
import type { Entry } from '../registry.ts'
import type { Standbys } from '../standbys.ts'
import { type LateStandby, planRescue } from './rescue-plan.ts'

const stepNames = {
  wait: 'waits-for-replica',
  snapshot: 'counts-on-snapshot',
  launch: 'replica-needed',
} as const

/**
 * While a notice runs and no replica is ready: tells the operator what is counted on, again whenever that changes, and has the primary
 * make a snapshot, which is all that is left if no replica is ready in time. It moves nothing itself.
 */
export interface Rescue {
  look(entry: Entry): void
}

export function createRescue(parts: {
  readonly standbys: Pick<Standbys, 'usable'>
  readonly presence: Pick<PresenceBook, 'get'>
  readonly send: (instance: InstanceId, message: CoordinatorMessage) => boolean
  readonly note: Notes
  readonly clock: Clock
}): Rescue {
  const { standbys, presence, send, note, clock } = parts
  /** What was last said of an incident. */
  const told = new Map<string, string>()
  const asked = new Set<string>()

  const lateOf = (row: ReplicaRow): LateStandby => {
    const instance = row.instance_id === null ? undefined : asInstanceId(row.instance_id)
    const own = instance === undefined ? undefined : presence.get(instance)
    const progress = own?.heartbeat?.message.progress
    return {
      ...{ id: row.id, instance: row.instance_id, status: row.status },
      bytesDone: progress?.bytesDone ?? null,
      bytesTotal: progress?.bytesTotal ?? null,
      bytesPerSecond: own?.bytesPerSecond ?? null,
    }
  }

  return {
    look(entry) {
      const { group } = entry.runner
      const { waiting, primary } = group
      if (waiting?.trigger !== 'notice' || waiting.by === undefined || primary === undefined) {
        const { flight } = entry.runner
        if (!flight) told.delete(entry.agentId)
        return
      }
      const plan = planRescue({
        left: between(clock.mono(), waiting.by),
        standbys: standbys.usable(entry).map(lateOf),
      })
      const what = `${waiting.id}/${plan.kind}/${'id' in plan ? plan.id : ''}`
      if (told.get(entry.agentId) !== what) {
        told.set(entry.agentId, what)
        note(waiting.id, stepNames[plan.kind], plan.why)
      }
      if (!asked.has(waiting.id) && send(primary, { type: 'snapshot', incident: waiting.id })) {
        if (asked.size > 1000) asked.clear()
        asked.add(waiting.id)
      }
    },
  }
}
