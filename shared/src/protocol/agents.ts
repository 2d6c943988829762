import { z } from 'zod'
import { degradationSchema } from './link.ts'
import { poolIdSchema, timeSchema } from './primitives.ts'

/** A price in dollars per hour, with micro-dollar precision. */
export const usdSchema = z.number().nonnegative()

export const replicaStatusSchema = z.enum([
  'launching',
  'syncing',
  'ready',
  'promoted',
  'failed',
  'terminated',
])
export type ReplicaStatus = z.infer<typeof replicaStatusSchema>

export const replicaTypeSchema = z.enum(['manual', 'automatic-rebalance', 'automatic-termination'])
export type ReplicaType = z.infer<typeof replicaTypeSchema>

export const replicaViewSchema = z
  .object({
    id: z.uuid(),
    agent_id: z.string(),
    instance_id: z.string().nullable(),
    type: replicaTypeSchema,
    status: replicaStatusSchema,
    is_active: z.boolean(),
    pool_id: poolIdSchema,
    availability_zone: z.string(),
    instance_type: z.string(),
    /** When it was chosen; null where prices are not known. */
    spot_price: usdSchema.nullable(),
    created_by: z.string(),
    created_at: timeSchema,
    ready_at: timeSchema.nullable(),
    promoted_at: timeSchema.nullable(),
    terminated_at: timeSchema.nullable(),
    /** 0 to 100. */
    sync_percent: z.number().min(0).max(100),
    bytes_done: z.int(),
    bytes_total: z.int(),
    /** Bytes per second over the last few seconds; null before there is anything to measure. */
    bytes_per_second: z.number().nullable(),
    lag_bytes: z.int().nullable(),
    lag_ms: z.number().nullable(),
    /** An interruption notice on the replica's own instance. */
    notice: z.boolean(),
    /** `spot` or `on-demand`. */
    life_cycle: z.string(),
    /** Why it was made, and why in this pool; then why it was let go. */
    reason: z.string().nullable(),
    failure: z.string().nullable(),
  })
  .meta({ id: 'Replica' })
export type ReplicaView = z.infer<typeof replicaViewSchema>

/** What a rebalance recommendation that is likely enough to be followed by a notice brings about. */
export const onRebalanceSchema = z.enum(['ignore', 'replica', 'handover'])
export type OnRebalance = z.infer<typeof onRebalanceSchema>

export const settingsSchema = z
  .object({
    auto_switch_enabled: z.boolean(),
    auto_replica_enabled: z.boolean(),
    manual_replica_enabled: z.boolean(),
    terminate_after_switch: z.boolean(),
    rebalance_threshold: z.number().min(0).max(1),
    on_rebalance: onRebalanceSchema,
    /** Standbys that are kept at all times; 0: only what a signal or a loss asks for. */
    min_replicas: z.int().min(0).max(7),
    /** Where no spot pool has capacity for a replica that is needed now, one is started on demand. */
    on_demand_fallback: z.boolean(),
  })
  .meta({ id: 'AgentSettings' })
export type AgentSettings = z.infer<typeof settingsSchema>

export const settingsPatchSchema = z
  .strictObject(settingsSchema.partial().shape)
  .meta({ id: 'AgentSettingsPatch' })

/** The states of dashboard.md §3.2 for one agent. */
export const agentStateSchema = z.enum([
  'healthy',
  'at-risk',
  'draining',
  'moving',
  'failed',
  'offline',
  'waiting',
])
export type AgentState = z.infer<typeof agentStateSchema>

export const instanceViewSchema = z
  .object({
    id: z.string(),
    instance_type: z.string(),
    availability_zone: z.string(),
    pool_id: z.string(),
    life_cycle: z.string(),
    launched_at: timeSchema.nullable(),
  })
  .meta({ id: 'Instance' })

export const agentViewSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    client_id: z.string(),
    /** `online` while heartbeats arrive, `offline` after HEARTBEAT_TIMEOUT. */
    status: z.enum(['online', 'offline']),
    state: agentStateSchema,
    /** Why it is in that state, in one sentence. */
    reason: z.string(),
    state_since: timeSchema,
    instance_id: z.string().nullable(),
    instance: instanceViewSchema.nullable(),
    pool_id: z.string().nullable(),
    spot_price: usdSchema.nullable(),
    on_demand_price: usdSchema.nullable(),
    /** Of the newest certificate: it grows with every change of primary and of successor. */
    epoch: z.int(),
    /** The epoch in which the primary took office. */
    term: z.int(),
    /** The replica that votes, and takes over; null while the primary runs alone. */
    successor_id: z.string().nullable(),
    phase: z.string(),
    workload: z.string(),
    lease: z.object({
      mode: z.enum(['none', 'solo', 'leased']),
      /** Until when the coordinator lets nobody else become primary; null where it has promised nothing. */
      remaining_ms: z.number().nullable(),
    }),
    replica_count: z.int(),
    replicas: z.array(replicaViewSchema),
    /** Of the replica that would be promoted; null without one. */
    lag_ms: z.number().nullable(),
    lag_bytes: z.int().nullable(),
    degraded: z.array(degradationSchema),
    last_heartbeat_at: timeSchema.nullable(),
    last_failover_at: timeSchema.nullable(),
    settings: settingsSchema,
  })
  .meta({ id: 'Agent' })
export type AgentView = z.infer<typeof agentViewSchema>

/** One change of epoch with its votes. */
export const epochViewSchema = z
  .object({
    epoch: z.int(),
    /** `unknown` when the certificate before it never came to this coordinator. */
    kind: z.enum(['first', 'turnover', 'renewal', 'succession', 'forced', 'unknown']),
    primary_id: z.string(),
    successor_id: z.string().nullable(),
    term: z.int(),
    /** Who has signed it: instances, and `coordinator`. */
    votes: z.array(z.string()),
    /** The coordinator vouches that nobody who could object was left. */
    forced: z.boolean(),
    digest: z.string(),
    /** Of the one that it follows; null for the first. */
    previous_digest: z.string().nullable(),
    recorded_at: timeSchema,
  })
  .meta({ id: 'Epoch' })
export type EpochView = z.infer<typeof epochViewSchema>
