import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import type { AgentId, IncidentId, InstanceId, ReplicaId } from '@understudy/shared/core/ids'
import { replicaId as asReplicaId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import type { Clock } from '@understudy/shared/core/time'
import type { ReplicaStatus, ReplicaType } from '@understudy/shared/protocol/agents'
import type { Kysely, ReplicaRow, Schema } from '../storage/database.ts'
import { countReplicas } from './certificates.ts'

/** The standbys of all agents, past and present, as rows. */
export interface ReplicaStore {
  create(replica: {
    readonly agentId: AgentId
    readonly type: ReplicaType
    readonly pool: string
    readonly spotPrice: MicroUsd | null
    readonly createdBy: string
    readonly incident: IncidentId | null
    readonly instanceId?: InstanceId
    readonly reason?: string
    /** `spot` if not said. */
    readonly lifeCycle?: string
  }): Promise<ReplicaRow>
  get(agentId: AgentId, id: ReplicaId): Promise<ReplicaRow>
  list(agentId: AgentId): Promise<readonly ReplicaRow[]>
  active(agentId?: AgentId): Promise<readonly ReplicaRow[]>
  /** False when the replica is not wanted any more: it was deleted, or given up, before it had an instance. */
  attach(id: string, instanceId: InstanceId): Promise<boolean>
  setReason(id: string, reason: string): Promise<void>
  setPool(id: string, pool: string, spotPrice: MicroUsd | null): Promise<void>
  setStatus(row: Pick<ReplicaRow, 'id' | 'agent_id'>, status: ReplicaStatus, failure?: string): Promise<void>
  setProgress(
    id: string,
    progress: Partial<Pick<ReplicaRow, 'sync_percent' | 'bytes_done' | 'bytes_total' | 'lag_ms'>>,
  ): Promise<void>
}

export function createReplicaStore(db: Kysely<Schema>, clock: Clock): ReplicaStore {
  return {
    create: ({ agentId, type, pool, spotPrice, createdBy, incident, instanceId, reason, lifeCycle }) =>
      db.transaction().execute(async (tx) => {
        const row: ReplicaRow = {
          id: asReplicaId(randomUUID()),
          agent_id: agentId,
          instance_id: instanceId ?? null,
          type,
          status: 'launching',
          pool_id: pool,
          spot_price: spotPrice,
          created_by: createdBy,
          is_active: 1,
          sync_percent: 0,
          bytes_done: 0,
          bytes_total: 0,
          lag_ms: null,
          failure: null,
          incident_id: incident,
          reason: reason ?? null,
          life_cycle: lifeCycle ?? 'spot',
          created_at: clock.now(),
          ready_at: null,
          promoted_at: null,
          terminated_at: null,
        }
        await tx.insertInto('replica_instances').values(row).execute()
        await countReplicas(tx, agentId)
        return row
      }),
    async get(agentId, id) {
      const row = await db
        .selectFrom('replica_instances')
        .selectAll()
        .where('id', '=', id)
        .where('agent_id', '=', agentId)
        .executeTakeFirst()
      if (row) return row
      throw new AppError('not_found', `the agent ${agentId} has no replica ${id}`, {
        hint: `GET /api/agents/${agentId}/replicas lists them.`,
      })
    },
    list: (agentId) =>
      db
        .selectFrom('replica_instances')
        .selectAll()
        .where('agent_id', '=', agentId)
        .orderBy('created_at', 'desc')
        .execute(),
    active: (agentId) => {
      const all = db.selectFrom('replica_instances').selectAll().where('is_active', '=', 1)
      return (agentId === undefined ? all : all.where('agent_id', '=', agentId)).execute()
    },
    async attach(id, instanceId) {
      const { numUpdatedRows } = await db
        .updateTable('replica_instances')
        .set({ instance_id: instanceId })
        .where('id', '=', id)
        .where('is_active', '=', 1)
        .executeTakeFirst()
      return numUpdatedRows === 1n
    },
    async setReason(id, reason) {
      await db.updateTable('replica_instances').set({ reason }).where('id', '=', id).execute()
    },
    async setPool(id, pool, spotPrice) {
      await db
        .updateTable('replica_instances')
        .set({ pool_id: pool, spot_price: spotPrice })
        .where('id', '=', id)
        .execute()
    },
    setStatus: (row, status, failure) =>
      db.transaction().execute(async (tx) => {
        const now = clock.now()
        const over = status === 'failed' || status === 'terminated'
        await tx
          .updateTable('replica_instances')
          .set({
            status,
            ...(failure === undefined ? {} : { failure }),
            ...(status === 'ready' ? { ready_at: now, sync_percent: 100 } : {}),
            ...(over ? { is_active: 0, terminated_at: now } : {}),
          })
          .where('id', '=', row.id)
          .where('is_active', '=', 1)
          .execute()
        await countReplicas(tx, row.agent_id)
      }),
    async setProgress(id, progress) {
      if (Object.keys(progress).length === 0) return
      await db.updateTable('replica_instances').set(progress).where('id', '=', id).execute()
    },
  }
}
