import { parsePool } from '@understudy/shared/market/pool'
import type { AgentRow, InstanceRow, Kysely, Schema } from '../storage/database.ts'

/** Rows of a fleet that nobody runs, for tests of what is read from them. */

export async function addAgent(
  db: Kysely<Schema>,
  row: Pick<AgentRow, 'id'> & Partial<AgentRow>,
): Promise<void> {
  await db
    .insertInto('clients')
    .values({ id: 'c', name: 'c', created_at: 0 })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute()
  await db
    .insertInto('agents')
    .values({
      client_id: 'c',
      name: row.id,
      instance_id: null,
      epoch: 1,
      term: 1,
      successor_id: null,
      voted_epoch: 0,
      voted_for: null,
      voted_digest: null,
      outdated: 0,
      auto_switch_enabled: 0,
      auto_replica_enabled: 0,
      manual_replica_enabled: 0,
      terminate_after_switch: 0,
      rebalance_threshold: 0.5,
      on_rebalance: 'replica',
      min_replicas: 0,
      on_demand_fallback: 0,
      replica_count: 0,
      state_directories: 1,
      last_heartbeat_at: null,
      last_failover_at: null,
      created_at: 0,
      ...row,
    })
    .execute()
}

/** It runs in the pool since `launched_at`, 0 if not said, until `terminated_at`. */
export async function addInstance(
  db: Kysely<Schema>,
  row: Pick<InstanceRow, 'id' | 'agent_id' | 'pool_id'> & Partial<InstanceRow>,
): Promise<void> {
  const { instanceType, availabilityZone } = parsePool(row.pool_id)
  await db
    .insertInto('instances')
    .values({
      instance_type: instanceType,
      availability_zone: availabilityZone,
      life_cycle: 'spot',
      private_ip: null,
      is_active: row.terminated_at == null ? 1 : 0,
      retired: 0,
      has_copy: 0,
      credential_hash: null,
      credential_expires_at: null,
      next_credential_hash: null,
      next_credential_expires_at: null,
      launched_at: 0,
      enrolled_at: row.launched_at ?? 0,
      terminated_at: null,
      ...row,
    })
    .execute()
}
