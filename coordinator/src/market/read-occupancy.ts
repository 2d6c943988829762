import type { Instant } from '@understudy/shared/core/time'
import type { Occupancy } from '@understudy/shared/market/savings'
import type { AgentRow, Kysely, Schema, SwitchRow } from '../storage/database.ts'
import { type MoveRow, occupancyOf } from './occupancy.ts'

/** When the instances of an agent ran and which of them was primary, by our own record. */
export async function readOccupancy(
  db: Kysely<Schema>,
  agent: Pick<AgentRow, 'id' | 'instance_id'>,
  now: Instant,
): Promise<{
  readonly instances: ReadonlySet<string>
  readonly stays: readonly Occupancy[]
  readonly moves: readonly (MoveRow & Pick<SwitchRow, 'switch_reason'>)[]
}> {
  const instances = await db
    .selectFrom('instances')
    .select(['id', 'pool_id', 'life_cycle', 'launched_at', 'enrolled_at', 'terminated_at'])
    .where('agent_id', '=', agent.id)
    .execute()
  const moves = await db
    .selectFrom('instance_switches')
    .select(['epoch', 'old_instance_id', 'new_instance_id', 'switched_at', 'switch_reason'])
    .where('agent_id', '=', agent.id)
    .execute()
  const stays = occupancyOf(instances, moves, agent.instance_id, now)
  return { instances: new Set(instances.map(({ id }) => id)), stays, moves }
}
