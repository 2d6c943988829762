import { z } from 'zod'
import { timeSchema } from './primitives.ts'

export const signalTypeSchema = z.enum([
  'rebalance-recommendation',
  'termination-notice',
  'instance-lost',
  'operator-request',
  /** A planned move that nobody asked for: a decision, or the policy for rebalance recommendations. */
  'automatic-move',
])
export type SignalType = z.infer<typeof signalTypeSchema>

export const responseActionSchema = z.enum([
  'promoted-existing-replica',
  'created-emergency-replica',
  'relaunched-empty',
  'waiting',
  'none',
])
export type ResponseAction = z.infer<typeof responseActionSchema>

export const incidentStepSchema = z
  .object({
    seq: z.int(),
    step: z.string(),
    /** Milliseconds after detection at which the step began, on the coordinator's clock. */
    t_ms: z.number(),
    duration_ms: z.number().nullable(),
    ok: z.boolean(),
    /** `coordinator`, or the instance that reported it. */
    reported_by: z.string(),
    /** Whose clock `at` was read from; the uncertainty of `t_ms` is half the round trip to it. */
    clock: z.string(),
    at: timeSchema,
    uncertainty_ms: z.number(),
    detail: z.string(),
  })
  .meta({ id: 'IncidentStep' })
export type IncidentStep = z.infer<typeof incidentStepSchema>

/** What may be missing after a loss without a hand-over. */
export const lossSchema = z
  .object({
    kind: z.enum(['none', 'bounded', 'unknown', 'everything']),
    /** Everything that was written up to here is there; null when nobody can say. */
    state_through: timeSchema.nullable(),
    /** From `state_through` to the last sign of life of the old primary, rounded up to one heartbeat. */
    at_most_ms: z.number().nullable(),
    bytes_behind: z.int().nullable(),
    sentence: z.string(),
  })
  .meta({ id: 'Loss' })
export type Loss = z.infer<typeof lossSchema>

export const incidentViewSchema = z
  .object({
    id: z.uuid(),
    agent_id: z.string(),
    agent_name: z.string(),
    signal_type: signalTypeSchema,
    /** `drill` is a rehearsal: a planned move that counts neither as an interruption nor in the savings. */
    trigger: z.enum(['notice', 'silence', 'planned', 'rebalance', 'drill']),
    instance_id: z.string(),
    pool_id: z.string().nullable(),
    detected_at: timeSchema,
    /** When AWS acts, if it said so. */
    deadline_at: timeSchema.nullable(),
    /** Paths on which the signal was seen, the first one first, each with its delay after the first. */
    seen_via: z.array(z.object({ via: z.string(), after_ms: z.number() })),
    replica_id: z.uuid().nullable(),
    new_instance_id: z.string().nullable(),
    new_pool_id: z.string().nullable(),
    response_action: responseActionSchema,
    outcome: z.enum(['running', 'promoted', 'relaunched', 'failed', 'no-action']),
    outcome_reason: z.string(),
    success: z.boolean().nullable(),
    failover_completed: z.boolean(),
    /** From detection until the new primary passed its health check. */
    failover_time_ms: z.number().nullable(),
    /** From the freeze, or the last sign of life, until the address led to the new primary. */
    no_primary_ms: z.number().nullable(),
    no_primary_from_t_ms: z.number().nullable(),
    old_epoch: z.int(),
    new_epoch: z.int().nullable(),
    interruption_probability: z.number().nullable(),
    loss: lossSchema.nullable(),
    closed_at: timeSchema.nullable(),
    steps: z.array(incidentStepSchema),
  })
  .meta({ id: 'Incident' })
export type IncidentView = z.infer<typeof incidentViewSchema>

export const switchViewSchema = z
  .object({
    id: z.uuid(),
    agent_id: z.string(),
    epoch: z.int(),
    incident_id: z.string().nullable(),
    switch_reason: z.enum([
      'automatic-interruption-failover',
      'automatic-loss-failover',
      'manual',
      'automatic-switch',
      'automatic-rebalance',
      'relaunch',
      'drill',
    ]),
    old_instance_id: z.string(),
    new_instance_id: z.string(),
    old_pool_id: z.string(),
    new_pool_id: z.string(),
    /** Dollars per hour; null where prices are not known. */
    old_instance_price: z.number().nullable(),
    new_instance_price: z.number().nullable(),
    /** Percent of the old price, negative when the new pool costs more; standby cost is not in it. */
    estimated_savings: z.number().nullable(),
    success: z.boolean().nullable(),
    switched_at: timeSchema,
  })
  .meta({ id: 'Switch' })
export type SwitchView = z.infer<typeof switchViewSchema>
