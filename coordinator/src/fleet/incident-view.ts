import {
  type IncidentView,
  incidentViewSchema,
  type Loss,
  lossSchema,
} from '@understudy/shared/protocol/incidents'
import type { IncidentRow, IncidentStepRow, Kysely, Schema } from '../storage/database.ts'

const time = (at: number): string => new Date(at).toISOString()
const timeOrNull = (at: number | null): string | null => (at === null ? null : time(at))

/** Shows incidents with the names of their agents and pools, which do not change and are looked up once. */
export function createIncidentViewer(db: Kysely<Schema>) {
  const names = new Map<string, { agent: string; pools: Map<string, string> }>()
  return async (row: IncidentRow, steps: readonly IncidentStepRow[]): Promise<IncidentView> => {
    const known = names.get(row.agent_id) ?? { agent: row.agent_id, pools: new Map() }
    for (const id of [row.instance_id, row.new_instance_id])
      if (id !== null && !known.pools.has(id)) {
        const found = await db
          .selectFrom('instances')
          .select('pool_id')
          .where('id', '=', id)
          .executeTakeFirst()
        if (found) known.pools.set(id, found.pool_id)
      }
    if (known.agent === row.agent_id) {
      const agent = await db
        .selectFrom('agents')
        .select('name')
        .where('id', '=', row.agent_id)
        .executeTakeFirst()
      if (agent) known.agent = agent.name
    }
    names.set(row.agent_id, known)
    return toIncidentView(row, steps, known.agent, (id) => known.pools.get(id) ?? null)
  }
}

/** A row and its steps as the API shows them, the steps in order of when they began. */
function toIncidentView(
  row: IncidentRow,
  steps: readonly IncidentStepRow[],
  agentName: string,
  poolOf: (instanceId: string) => string | null,
): IncidentView {
  return incidentViewSchema.parse({
    id: row.id,
    agent_id: row.agent_id,
    agent_name: agentName,
    signal_type: row.signal_type,
    trigger: row.trigger,
    instance_id: row.instance_id,
    pool_id: poolOf(row.instance_id),
    detected_at: time(row.detected_at),
    deadline_at: timeOrNull(row.deadline_at),
    seen_via: JSON.parse(row.seen_via),
    replica_id: row.replica_id,
    new_instance_id: row.new_instance_id,
    new_pool_id: row.new_instance_id === null ? null : poolOf(row.new_instance_id),
    response_action: row.response_action,
    outcome: row.outcome,
    outcome_reason: row.outcome_reason,
    success: row.success === null ? null : row.success === 1,
    failover_completed: row.failover_completed === 1,
    failover_time_ms: row.failover_time_ms,
    no_primary_ms: row.no_primary_ms,
    no_primary_from_t_ms: row.no_primary_from_t_ms,
    old_epoch: row.old_epoch,
    new_epoch: row.new_epoch,
    interruption_probability: row.interruption_probability,
    loss: parseLoss(row.loss),
    closed_at: timeOrNull(row.closed_at),
    steps: [...steps]
      .sort((a, b) => a.t_ms - b.t_ms || a.seq - b.seq)
      .map((step) => ({
        seq: step.seq,
        step: step.step,
        t_ms: step.t_ms,
        duration_ms: step.duration_ms,
        ok: step.ok === 1,
        reported_by: step.reported_by,
        clock: step.clock,
        at: time(step.at),
        uncertainty_ms: step.uncertainty_ms,
        detail: step.detail,
      })),
  })
}

const parseLoss = (text: string | null): Loss | null =>
  text === null ? null : lossSchema.parse(JSON.parse(text))
