import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { SwitchView } from '@understudy/shared/protocol/incidents'
import { comesAfter, type Kysely, type Position, type Schema, type SwitchRow } from '../storage/database.ts'

/** Changes of primary, the latest first. */
export async function listSwitches(
  db: Kysely<Schema>,
  filter: { readonly agentId?: AgentId; readonly limit: number; readonly before?: Position | undefined },
): Promise<readonly SwitchView[]> {
  let query = db
    .selectFrom('instance_switches')
    .selectAll()
    .where(comesAfter(filter.before, { at: 'switched_at', id: 'id' }))
    .orderBy('switched_at', 'desc')
    .orderBy('id', 'desc')
    .limit(filter.limit)
  if (filter.agentId !== undefined) query = query.where('agent_id', '=', filter.agentId)
  return (await query.execute()).map(toSwitchView)
}

function toSwitchView(row: SwitchRow): SwitchView {
  const usd = (price: number | null) => (price === null ? null : price / 1e6)
  return {
    id: row.id,
    agent_id: row.agent_id,
    epoch: row.epoch,
    incident_id: row.incident_id,
    switch_reason: row.switch_reason as SwitchView['switch_reason'],
    old_instance_id: row.old_instance_id,
    new_instance_id: row.new_instance_id,
    old_pool_id: row.old_pool_id,
    new_pool_id: row.new_pool_id,
    old_instance_price: usd(row.old_instance_price),
    new_instance_price: usd(row.new_instance_price),
    estimated_savings: savingsOf(row),
    success: row.success === null ? null : row.success === 1,
    switched_at: new Date(row.switched_at).toISOString(),
  }
}

/** Percent of the old price, to two places: -0.96 when the new pool costs 0.96 % more. */
function savingsOf({ old_instance_price: before, new_instance_price: after }: SwitchRow): number | null {
  if (before === null || after === null || before === 0) return null
  return Math.round(((before - after) / before) * 10_000) / 100
}

/** Instances that another one has taken over from. */
export async function formerPrimaries(db: Kysely<Schema>, agentId: AgentId): Promise<ReadonlySet<string>> {
  const rows = await db
    .selectFrom('instance_switches')
    .select('old_instance_id')
    .distinct()
    .where('agent_id', '=', agentId)
    .execute()
  return new Set(rows.flatMap(({ old_instance_id: id }) => id ?? []))
}

/** Moves of an agent since then that nobody had to make. */
export async function countVoluntary(db: Kysely<Schema>, agentId: AgentId, since: number): Promise<number> {
  const { count } = await db
    .selectFrom('instance_switches')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('agent_id', '=', agentId)
    .where('switched_at', '>=', since)
    .where('switch_reason', 'in', ['manual', 'automatic-switch', 'automatic-rebalance'])
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** How the changes of primary of an incident have ended: only the one to `winner`, who serves now, has succeeded. */
export async function noteOutcome(
  db: Kysely<Schema>,
  incident: string,
  winner: InstanceId | null,
): Promise<void> {
  const note = (success: number) =>
    db.updateTable('instance_switches').set({ success }).where('incident_id', '=', incident)
  await note(0).execute()
  if (winner !== null) await note(1).where('new_instance_id', '=', winner).execute()
}

/** What was taken for an interruption was an orderly end of the old primary. */
export async function notePlanned(db: Kysely<Schema>, incident: string): Promise<void> {
  await db
    .updateTable('instance_switches')
    .set({ switch_reason: 'manual' })
    .where('incident_id', '=', incident)
    .where('switch_reason', '=', 'automatic-interruption-failover')
    .execute()
}
