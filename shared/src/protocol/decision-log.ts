import { z } from 'zod'
import { pipelineModes } from '../pipeline/context.ts'
import { decisionNames } from '../pipeline/decision.ts'
import { actuatorLevels, actuatorNames } from '../pipeline/instance-config.ts'
import { countSchema, poolIdSchema, timeSchema } from './primitives.ts'

/** Stored decisions, cycles of them, and what was done. Probabilities are 0 to 1, money is USD per hour. */

const probabilitySchema = z.number().min(0).max(1).nullable()

export const actionResultSchema = z
  .object({
    status: z.enum(['nothing', 'logged', 'would_act', 'refused', 'planned', 'running', 'done', 'failed']),
    reason: z.string(),
  })
  .meta({ id: 'DecisionResult' })

export const decisionViewSchema = z
  .object({
    id: z.uuid(),
    at: timeSchema,
    /** Null for one that was asked for by itself. */
    cycle_id: z.string().nullable(),
    agent_id: z.string().nullable(),
    instance_id: z.string().nullable(),
    pool_id: poolIdSchema,
    pipeline_mode: z.enum(pipelineModes),
    decision: z.enum(decisionNames),
    code: z.string(),
    reason: z.string(),
    aws_signal: z.string(),
    crash_probability: probabilitySchema,
    p_interruption_12h: probabilitySchema,
    risk_source: z.string(),
    model: z.string().nullable(),
    target_pool_id: poolIdSchema.nullable(),
    gain: z.number().nullable(),
    action: z.string().nullable(),
    alert: z.string().nullable(),
    actuator: z.enum(actuatorNames).nullable(),
    actuator_level: z.enum(actuatorLevels).nullable(),
    /** What was done about it; null where nothing was to be done. */
    result: actionResultSchema.nullable(),
    execution_time_ms: z.number().nonnegative(),
  })
  .meta({ id: 'Decision' })
export type DecisionView = z.infer<typeof decisionViewSchema>

export const decisionListSchema = z
  .object({ items: z.array(decisionViewSchema), next: z.string().nullable() })
  .meta({ id: 'DecisionList' })

export const cycleViewSchema = z
  .object({
    cycle_id: z.uuid(),
    at: timeSchema,
    /** `schedule`, or who has asked for it. */
    by: z.string(),
    duration_ms: z.number().nonnegative(),
    model_ms: z.number().nonnegative(),
    agents: countSchema,
    decisions: z.partialRecord(z.enum(decisionNames), countSchema),
    /** Voluntary moves that might begin. */
    budget: countSchema,
    /** Those that have begun. */
    acted: countSchema,
    skipped: z.array(z.object({ agent_id: z.string(), reason: z.string() })),
    actions: z.array(z.object({ agent_id: z.string(), decision_id: z.uuid(), ...actionResultSchema.shape })),
  })
  .meta({ id: 'DecisionCycle' })
export type CycleView = z.infer<typeof cycleViewSchema>

/** What `decisions/live` sends: the latest when a page comes, then each as it is made, acted on, or a cycle ends. */
export type DecisionFrame =
  | { readonly type: 'snapshot'; readonly at: string; readonly items: readonly DecisionView[] }
  | { readonly type: 'decisions'; readonly at: string; readonly items: readonly DecisionView[] }
  | {
      readonly type: 'result'
      readonly at: string
      readonly decision_id: string
      readonly agent_id: string
      readonly result: z.infer<typeof actionResultSchema>
    }
  | { readonly type: 'cycle'; readonly at: string; readonly cycle: CycleView }
