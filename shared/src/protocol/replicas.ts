import { z } from 'zod'
import { replicaStatusSchema, replicaViewSchema, usdSchema } from './agents.ts'
import { countSchema, epochSchema, noteSchema, poolIdSchema, zoneSchema } from './primitives.ts'

export const createReplicaRequestSchema = z
  .strictObject({
    /** null or absent: the cheapest that is safe. */
    pool_id: poolIdSchema.nullish(),
    exclude_zones: z.array(zoneSchema).max(32).optional(),
    created_by: z.string().min(1).max(200).optional(),
  })
  .meta({ id: 'CreateReplicaRequest' })
export type CreateReplicaRequest = z.infer<typeof createReplicaRequestSchema>

/** Why a pool was chosen or passed over: one row per pool that was looked at. */
export const poolChoiceSchema = z
  .object({
    pool_id: z.string(),
    chosen: z.boolean(),
    because: z.string(),
    spot_price: usdSchema.nullable(),
    interruption_band: z.string().nullable(),
    /** P(a standby there is lost within 12 h), by itself or together with those that it stands beside. */
    risk: z.number().min(0).max(1),
  })
  .meta({ id: 'PoolChoice' })
export type PoolChoice = z.infer<typeof poolChoiceSchema>

export const createReplicaResponseSchema = z
  .object({
    replica: replicaViewSchema,
    replica_id: z.uuid(),
    choice: z.array(poolChoiceSchema),
    /** Where instances are started by hand: the command to run on the new one. Shown once. */
    join_command: z.string().nullable(),
  })
  .meta({ id: 'CreateReplicaResponse' })
export type CreateReplicaResponse = z.infer<typeof createReplicaResponseSchema>

export const syncStatusRequestSchema = z
  .strictObject({
    status: replicaStatusSchema.extract(['launching', 'syncing', 'ready', 'failed']),
    sync_percent: z.number().min(0).max(100).optional(),
    bytes_done: countSchema.optional(),
    bytes_total: countSchema.optional(),
    lag_ms: z.number().nonnegative().optional(),
    message: noteSchema.optional(),
  })
  .meta({ id: 'SyncStatusRequest' })
export type SyncStatusRequest = z.infer<typeof syncStatusRequestSchema>

export const promoteRequestSchema = z
  .strictObject({
    /** The old primary stays as a standby of the new one. */
    demote_old_primary: z.boolean().optional(),
    /** Refused with 409 and the current facts when the epoch has moved. */
    expected_epoch: epochSchema.optional(),
  })
  .meta({ id: 'PromoteRequest' })
export type PromoteRequest = z.infer<typeof promoteRequestSchema>

/** The facts of a promotion before it is made. */
export const promotionPlanSchema = z
  .object({
    agent_id: z.string(),
    agent_name: z.string(),
    replica_id: z.uuid(),
    epoch: z.int(),
    possible: z.boolean(),
    /** Why not, or what will happen, in one sentence. */
    reason: z.string(),
    stops: z.object({ instance_id: z.string(), pool_id: z.string() }).nullable(),
    starts: z.object({ instance_id: z.string().nullable(), pool_id: z.string() }),
    state_behind: z.object({ ms: z.number().nullable(), bytes: z.int().nullable() }),
    /** Median time without a primary of the last moves; null before the first one. */
    expected_gap_ms: z.number().nullable(),
    expected_gap_samples: z.int(),
    price_change: usdSchema.or(z.number()).nullable(),
    undo: z.string(),
  })
  .meta({ id: 'PromotionPlan' })
export type PromotionPlan = z.infer<typeof promotionPlanSchema>
