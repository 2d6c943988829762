import { comesAfter, type DrillRow, type Kysely, type Position, type Schema } from '../storage/database.ts'
import type { PastMove } from './drill-report.ts'

/** Drills of agents. One row is changed by one coordinator: the one that the agent is connected to. */
export interface DrillStore {
  add(row: DrillRow): Promise<void>
  change(id: string, values: Partial<DrillRow>): Promise<void>
  find(agentId: string, id: string): Promise<DrillRow | undefined>
  open(agentId?: string): Promise<readonly DrillRow[]>
  /** The latest first. */
  list(agentId: string, before: Position | undefined, limit: number): Promise<readonly DrillRow[]>
  /** The last ended moves of an agent before `before`: by drills, or by what AWS did. */
  past(agentId: string, triggers: readonly string[], before: number): Promise<readonly PastMove[]>
}

/** Older ones say little of the workload as it is. */
const COMPARED = 10

export function createDrillStore(db: Kysely<Schema>): DrillStore {
  const rows = () => db.selectFrom('drills').selectAll()
  return {
    async add(row) {
      await db.insertInto('drills').values(row).execute()
    },
    async change(id, values) {
      await db.updateTable('drills').set(values).where('id', '=', id).execute()
    },
    find: (agentId, id) => rows().where('id', '=', id).where('agent_id', '=', agentId).executeTakeFirst(),
    open(agentId) {
      const query = rows().where('ended_at', 'is', null)
      return (agentId === undefined ? query : query.where('agent_id', '=', agentId)).execute()
    },
    list: (agentId, before, limit) =>
      rows()
        .where('agent_id', '=', agentId)
        .where(comesAfter(before, { at: 'started_at', id: 'id' }))
        .orderBy('started_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute(),
    past: (agentId, triggers, before) =>
      db
        .selectFrom('spot_interruption_events')
        .select(['outcome', 'detected_at', 'failover_time_ms', 'no_primary_ms'])
        .where('agent_id', '=', agentId)
        .where('trigger', 'in', [...triggers])
        .where('outcome', 'in', ['promoted', 'relaunched', 'failed'])
        .where('detected_at', '<', before)
        .orderBy('detected_at', 'desc')
        .limit(COMPARED)
        .execute(),
  }
}
