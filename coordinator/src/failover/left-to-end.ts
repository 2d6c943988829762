import { instanceId as asInstanceId, type InstanceId } from '@understudy/shared/core/ids'
import { seconds } from '@understudy/shared/core/time'
import type { AgentRow, InstanceRow } from '../storage/database.ts'

/** An old primary is left this long beyond its deadline, or after a start of ours, before it is ended by us. */
export const AFTER_DEADLINE = seconds(30)

/**
 * Instances that were replaced for good, or deleted, and that an earlier process did not come to end.
 * @param moving the old primary of a move that is open: it may be needed yet, and the end of the move sees to it
 */
export const leftToEnd = (
  agent: Pick<AgentRow, 'id' | 'instance_id' | 'terminate_after_switch'>,
  instances: readonly InstanceRow[],
  moving: InstanceId | undefined,
): readonly InstanceId[] =>
  agent.terminate_after_switch === 1
    ? instances
        .filter((row) => row.agent_id === agent.id && row.retired === 1 && row.terminated_at === null)
        .map(({ id }) => asInstanceId(id))
        .filter((id) => id !== agent.instance_id && id !== moving)
    : []
