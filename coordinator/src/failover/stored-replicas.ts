import type { ReplicaRow } from '../storage/database.ts'

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
