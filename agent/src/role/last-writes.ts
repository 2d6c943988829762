import { seconds } from '@understudy/shared/core/time'
import type { Replication } from '../replication/replication.ts'
import type { SnapshotService } from '../snapshot/snapshot.ts'
import type { Role } from './role.ts'

/** How long an agent that ends waits until its replicas have the last writes of the workload. */
const FLUSH_BUDGET = seconds(2)
/** The same for its last snapshot, where no replica follows; less than a service manager waits. */
const LAST_SNAPSHOT_BUDGET = seconds(12)

/** Stops the workload, and sees to it that somebody has what it has written last. */
export async function keepLastWrites(
  role: Role,
  replication: Replication,
  snapshots: SnapshotService | undefined,
): Promise<void> {
  const { role: held, term } = role.member
  await role.end()
  const attached = replication.lags().some(({ lag }) => lag.attached)
  await replication.flush(FLUSH_BUDGET)
  if (held.kind === 'primary' && !attached) await snapshots?.takeLast(term, LAST_SNAPSHOT_BUDGET)
}
