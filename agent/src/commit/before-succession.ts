import type { InstanceId } from '@understudy/shared/core/ids'
import { type Millis, millis } from '@understudy/shared/core/time'

/** How long a replica may take to have what was acknowledged before it is made the successor. */
const BUDGET = millis(500)

interface Replication {
  commit(
    budget: Millis,
    keepers: () => readonly InstanceId[],
    tolerant: boolean,
  ): Promise<readonly InstanceId[]>
}

/**
 * Whether `target` has everything that was acknowledged to the workload so far. Only that one is asked: the successor
 * that it is to replace may be gone, which is why it is replaced. While a name cannot be read nothing is acknowledged; a
 * successor that lacks it is better than none.
 */
export const isReadyToSucceed = async (replication: Replication, target: InstanceId): Promise<boolean> =>
  (await replication.commit(BUDGET, () => [target], true)).includes(target)
