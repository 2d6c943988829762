import { instanceId as asInstanceId, type InstanceId } from '@understudy/shared/core/ids'
import { seconds } from '@understudy/shared/core/time'
import type { SwitchView } from '@understudy/shared/protocol/incidents'
import type { AgentRow, InstanceRow } from '../storage/database.ts'

/** An old primary is left this long beyond its deadline, or after a start of ours, before it is ended by us. */
export const AFTER_DEADLINE = seconds(30)

/**
 * Instances that were replaced for good, or deleted, and that an earlier process did not come to end. The old primary of a
 * last move that has not succeeded may be needed yet. That old ones stay is an agent's setting about former primaries; a
 * standby that was deleted is one nowhere.
 */
export const leftToEnd = (
  agent: Pick<AgentRow, 'id' | 'instance_id' | 'terminate_after_switch'>,
  instances: readonly InstanceRow[],
  lastMove: Pick<SwitchView, 'old_instance_id' | 'success'> | undefined,
  formerPrimaries: ReadonlySet<string>,
): readonly InstanceId[] => {
  const stays = (id: string): boolean => agent.terminate_after_switch !== 1 && formerPrimaries.has(id)
  const needed = lastMove?.success === true ? undefined : lastMove?.old_instance_id
  return instances
    .filter((row) => row.agent_id === agent.id && row.retired === 1 && row.terminated_at === null)
    .map(({ id }) => asInstanceId(id))
    .filter((id) => id !== agent.instance_id && id !== needed && !stays(id))
}
