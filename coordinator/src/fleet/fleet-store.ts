import { AppError } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { Clock, Instant } from '@understudy/shared/core/time'
import { type Pool, poolId } from '@understudy/shared/market/pool'
import { type AgentSettings, onRebalanceSchema } from '@understudy/shared/protocol/agents'
import type { AgentRow, InstanceRow, Kysely, Schema } from '../storage/database.ts'

export interface NewAgent {
  readonly id: AgentId
  readonly name: string
  readonly clientId: string
}

export interface NewInstance {
  readonly id: InstanceId
  readonly agentId: AgentId
  readonly pool: Pool
  readonly accountId?: string | null
  readonly lifeCycle: string
  readonly privateIp: string | null
  readonly launchedAt: Instant | null
}

/** Agents and instances, as rows. One method, one transaction. */
export interface FleetStore {
  agents(): Promise<readonly AgentRow[]>
  agent(id: AgentId): Promise<AgentRow | undefined>
  /** @throws AppError `not_found` */
  mustAgent(id: AgentId): Promise<AgentRow>
  /** Makes the agent, and its client, unless they are there. True when the agent is new. */
  ensureAgent(agent: NewAgent): Promise<boolean>
  patchSettings(id: AgentId, patch: SettingsPatch): Promise<void>
  instances(agentId?: AgentId): Promise<readonly InstanceRow[]>
  instance(id: InstanceId): Promise<InstanceRow | undefined>
  addInstance(instance: NewInstance): Promise<void>
  patchInstance(
    id: InstanceId,
    patch: Partial<
      Pick<InstanceRow, 'is_active' | 'retired' | 'has_copy' | 'terminated_at' | 'account_id' | 'notice_at'>
    >,
  ): Promise<void>
  setStateDirectories(id: AgentId, count: number): Promise<void>
  /** Writes down when agents were last heard; called now and then, not at every heartbeat. */
  flushHeartbeats(seen: ReadonlyMap<AgentId, Instant>): Promise<void>
}

export type SettingsPatch = { readonly [K in keyof AgentSettings]?: AgentSettings[K] | undefined }

/** What an agent starts with. */
export const defaultSettings: AgentSettings = {
  auto_switch_enabled: true,
  auto_replica_enabled: true,
  manual_replica_enabled: true,
  terminate_after_switch: true,
  rebalance_threshold: 0.3,
  on_rebalance: 'replica',
  min_replicas: 0,
  on_demand_fallback: false,
}

export function createFleetStore(
  db: Kysely<Schema>,
  clock: Clock,
  defaults: AgentSettings = defaultSettings,
): FleetStore {
  const agent: FleetStore['agent'] = (id) =>
    db.selectFrom('agents').selectAll().where('id', '=', id).executeTakeFirst()

  return {
    agents: () => db.selectFrom('agents').selectAll().orderBy('id').execute(),
    agent,
    async mustAgent(id) {
      const row = await agent(id)
      if (row) return row
      throw new AppError('not_found', `there is no agent ${id}`, {
        hint: 'GET /api/agents lists them. A new one comes with `coordinator token join --agent <id>`.',
      })
    },
    ensureAgent: ({ id, name, clientId }) =>
      db.transaction().execute(async (tx) => {
        const now = clock.now()
        await tx
          .insertInto('clients')
          .values({ id: clientId, name: clientId, created_at: now })
          .onConflict((conflict) => conflict.column('id').doNothing())
          .execute()
        const { numInsertedOrUpdatedRows } = await tx
          .insertInto('agents')
          .values({
            id,
            client_id: clientId,
            name,
            instance_id: null,
            epoch: 0,
            term: 0,
            successor_id: null,
            voted_epoch: 0,
            voted_for: null,
            voted_digest: null,
            outdated: 0,
            ...toColumns(defaults),
            replica_count: 0,
            state_directories: 0,
            last_heartbeat_at: null,
            last_failover_at: null,
            created_at: now,
          })
          .onConflict((conflict) => conflict.column('id').doNothing())
          .executeTakeFirst()
        return numInsertedOrUpdatedRows === 1n
      }),
    async patchSettings(id, patch) {
      const columns = toColumns(patch)
      if (Object.keys(columns).length === 0) return
      await db.updateTable('agents').set(columns).where('id', '=', id).execute()
    },
    instances: (agentId) => {
      const all = db.selectFrom('instances').selectAll().orderBy('enrolled_at')
      return (agentId === undefined ? all : all.where('agent_id', '=', agentId)).execute()
    },
    instance: (id) => db.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst(),
    async addInstance({ id, agentId, pool, accountId, lifeCycle, privateIp, launchedAt }) {
      await db
        .insertInto('instances')
        .values({
          id,
          agent_id: agentId,
          instance_type: pool.instanceType,
          availability_zone: pool.availabilityZone,
          pool_id: poolId(pool),
          account_id: accountId ?? null,
          life_cycle: lifeCycle,
          private_ip: privateIp,
          is_active: 0,
          retired: 0,
          has_copy: 0,
          credential_hash: null,
          credential_expires_at: null,
          next_credential_hash: null,
          next_credential_expires_at: null,
          launched_at: launchedAt,
          enrolled_at: clock.now(),
          terminated_at: null,
          notice_at: null,
        })
        .execute()
    },
    async patchInstance(id, patch) {
      await db.updateTable('instances').set(patch).where('id', '=', id).execute()
    },
    async setStateDirectories(id, count) {
      await db.updateTable('agents').set({ state_directories: count }).where('id', '=', id).execute()
    },
    async flushHeartbeats(seen) {
      await db.transaction().execute(async (tx) => {
        for (const [id, at] of seen)
          await tx.updateTable('agents').set({ last_heartbeat_at: at }).where('id', '=', id).execute()
      })
    },
  }
}

/** Yes and no are 1 and 0 in both databases. */
function toColumns<T extends SettingsPatch>(settings: T): SettingsColumns<T> {
  const columns = Object.entries(settings)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => [key, typeof value === 'string' ? value : Number(value)])
  return Object.fromEntries(columns) as SettingsColumns<T>
}

type SettingsColumns<T> = { [K in keyof T]: T[K] extends string | undefined ? string : number }

export const settingsOf = (row: AgentRow): AgentSettings => ({
  auto_switch_enabled: row.auto_switch_enabled === 1,
  auto_replica_enabled: row.auto_replica_enabled === 1,
  manual_replica_enabled: row.manual_replica_enabled === 1,
  terminate_after_switch: row.terminate_after_switch === 1,
  rebalance_threshold: row.rebalance_threshold,
  on_rebalance: onRebalanceSchema.parse(row.on_rebalance),
  min_replicas: row.min_replicas,
  on_demand_fallback: row.on_demand_fallback === 1,
})
