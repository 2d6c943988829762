import { randomUUID } from 'node:crypto'
import type { AgentId, IncidentId, InstanceId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import type { Clock } from '@understudy/shared/core/time'
import type { Trigger } from '@understudy/shared/failover/group'
import type { Kysely, Schema, Transaction } from '../storage/database.ts'

export interface EpochChange {
  readonly agentId: AgentId
  readonly from: number
  readonly to: number
  readonly target: InstanceId
  readonly previous: InstanceId | null
  readonly incident: IncidentId | null
  readonly trigger: Trigger | null
  readonly fresh: boolean
  /** The old primary is given nothing to do any more. */
  readonly retirePrevious: boolean
  readonly oldPrice: MicroUsd | null
  readonly newPrice: MicroUsd | null
}

export type CommitOutcome =
  | { readonly kind: 'committed'; readonly replicaId: string | null }
  /** Somebody else moved the epoch; `epoch` is what it is now. */
  | { readonly kind: 'moved'; readonly epoch: number }

/**
 * Makes `target` the primary of epoch `to`, or changes nothing: one transaction, conditional on the epoch being
 * `from`. Everything that says who is primary changes in it, and the switch is recorded in it, once per epoch.
 */
export function commitEpoch(db: Kysely<Schema>, clock: Clock, change: EpochChange): Promise<CommitOutcome> {
  const { agentId, from, to, target, previous } = change
  return db.transaction().execute(async (tx): Promise<CommitOutcome> => {
    const now = clock.now()
    const moves = previous !== null && previous !== target
    const { numUpdatedRows } = await tx
      .updateTable('agents')
      .set({ epoch: to, instance_id: target, ...(moves ? { last_failover_at: now } : {}) })
      .where('id', '=', agentId)
      .where('epoch', '=', from)
      .executeTakeFirst()
    if (numUpdatedRows !== 1n) {
      const row = await tx
        .selectFrom('agents')
        .select('epoch')
        .where('id', '=', agentId)
        .executeTakeFirstOrThrow()
      return { kind: 'moved', epoch: row.epoch }
    }
    await tx
      .updateTable('instances')
      .set({ is_active: 1, retired: 0, has_copy: 1 })
      .where('id', '=', target)
      .execute()
    if (!moves) return { kind: 'committed', replicaId: null }
    await tx
      .updateTable('instances')
      .set({ is_active: 0, retired: Number(change.retirePrevious) })
      .where('id', '=', previous)
      .execute()
    const replicaId = await markPromoted(tx, change, now)
    await recordSwitch(tx, { ...change, previous }, now)
    return { kind: 'committed', replicaId }
  })
}

async function markPromoted(
  tx: Transaction<Schema>,
  { agentId, target }: EpochChange,
  now: number,
): Promise<string | null> {
  const replica = await tx
    .selectFrom('replica_instances')
    .select('id')
    .where('instance_id', '=', target)
    .where('is_active', '=', 1)
    .executeTakeFirst()
  if (!replica) return null
  await tx
    .updateTable('replica_instances')
    .set({ status: 'promoted', promoted_at: now, is_active: 0 })
    .where('id', '=', replica.id)
    .execute()
  await countReplicas(tx, agentId)
  return replica.id
}

async function recordSwitch(
  tx: Transaction<Schema>,
  change: EpochChange & { previous: InstanceId },
  now: number,
): Promise<void> {
  const pools = await tx
    .selectFrom('instances')
    .select(['id', 'pool_id'])
    .where('id', 'in', [change.previous, change.target])
    .execute()
  const poolOf = (id: string) => pools.find((row) => row.id === id)?.pool_id ?? 'unknown'
  await tx
    .insertInto('instance_switches')
    .values({
      id: randomUUID(),
      agent_id: change.agentId,
      epoch: change.to,
      incident_id: change.incident,
      switch_reason: reasonOf(change),
      old_instance_id: change.previous,
      new_instance_id: change.target,
      old_pool_id: poolOf(change.previous),
      new_pool_id: poolOf(change.target),
      old_instance_price: change.oldPrice,
      new_instance_price: change.newPrice,
      success: null,
      switched_at: now,
    })
    .execute()
}

function reasonOf({ trigger, fresh }: EpochChange): string {
  if (fresh) return 'relaunch'
  if (trigger === 'notice') return 'automatic-interruption-failover'
  return trigger === 'planned' ? 'manual' : 'automatic-loss-failover'
}

/** `agents.replica_count` follows the rows. */
export async function countReplicas(tx: Kysely<Schema>, agentId: string): Promise<void> {
  const { count } = await tx
    .selectFrom('replica_instances')
    .select((e) => e.fn.countAll<number>().as('count'))
    .where('agent_id', '=', agentId)
    .where('is_active', '=', 1)
    .executeTakeFirstOrThrow()
  await tx
    .updateTable('agents')
    .set({ replica_count: Number(count) })
    .where('id', '=', agentId)
    .execute()
}
