import type { AgentRow, InstanceRow, ReplicaRow } from '../storage/database.ts'

/**
 * Of the rows that say that they are of standbys: those that count after a restart, and those that cannot be true. A primary
 * is no standby, and an instance is one at most, by its newest row.
 */
export function sortActive(
  rows: readonly ReplicaRow[],
  primary: string | null,
): { readonly counting: readonly ReplicaRow[]; readonly superfluous: readonly ReplicaRow[] } {
  const counting = new Map<string, ReplicaRow>()
  for (const row of rows.toSorted((a, b) => a.created_at - b.created_at))
    if (row.instance_id === null || row.instance_id !== primary) counting.set(row.instance_id ?? row.id, row)
  return {
    counting: [...counting.values()],
    superfluous: rows.filter((row) => counting.get(row.instance_id ?? row.id) !== row),
  }
}

/**
 * An agent without a standby is to have one: the last one took over or was lost, and an earlier process did not come to make
 * another. One that was deleted by hand is not missed.
 * @param last the newest row of the agent, none of which is active
 */
export const isStandbyMissing = (
  agent: Pick<AgentRow, 'id' | 'instance_id' | 'auto_replica_enabled'>,
  instances: readonly InstanceRow[],
  last: ReplicaRow | undefined,
): boolean =>
  agent.auto_replica_enabled === 1 &&
  agent.instance_id !== null &&
  (last?.status === 'promoted' || last?.status === 'failed') &&
  !instances.some(
    (row) =>
      row.agent_id === agent.id &&
      row.id !== agent.instance_id &&
      row.retired !== 1 &&
      row.terminated_at === null,
  )
