import { z } from 'zod'
import { pipelineModes } from '../pipeline/context.ts'
import { decisionNames } from '../pipeline/decision.ts'
import { countSchema, poolIdSchema, targetIdSchema, timeSchema, zoneSchema } from './primitives.ts'

/** Bodies of the decision calls. Probabilities are 0 to 1, money is USD per hour. */

export const evaluateRequestSchema = z
  .strictObject({
    instance_type: z
      .string()
      .regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'an instance type looks like c5.large')
      .max(64),
    availability_zone: zoneSchema,
    /** Of an instance that is known here, or a target of the Lab: its age and its open notices count. */
    instance_id: targetIdSchema.optional(),
    /** A mock of AWS's word, taken in ENV=TEST and in the demo. */
    aws_signal: z.enum(['NONE', 'REBALANCE', 'TERMINATION']).optional(),
  })
  .meta({ id: 'EvaluateRequest' })

const probabilitySchema = z.number().min(0).max(1)

const stageTraceSchema = z.object({
  stage: z.string(),
  in: countSchema,
  out: countSchema,
  dropped: z.array(z.object({ id: z.string(), code: z.string(), reason: z.string() })),
})

/** A stored decision, made again from its input. */
export const decisionTraceSchema = z
  .object({
    decision_id: z.uuid(),
    /** Every byte came out as it did then. */
    same: z.boolean(),
    trace: z.array(stageTraceSchema),
    /** What was left after all stages, the best first; at most 20. USD per hour. */
    ranked: z.array(
      z.object({
        pool_id: poolIdSchema,
        spot_price: z.number(),
        effective_cost: z.number().nullable(),
        p_instability_12h: probabilitySchema.nullable(),
        p_interruption_12h: probabilitySchema.nullable(),
      }),
    ),
  })
  .meta({ id: 'DecisionTrace' })
export type DecisionTrace = z.infer<typeof decisionTraceSchema>

export const evaluateResponseSchema = z
  .object({
    decision: z.enum(decisionNames),
    reason: z.string(),
    /** The model's probability of a price rise within 12 h, under the name that it has had; null without a model. */
    crash_probability: probabilitySchema.nullable(),
    aws_signal: z.enum(['NONE', 'REBALANCE', 'TERMINATION']),
    execution_time_ms: z.number().nonnegative(),
    /** `coordinator replay` takes it. */
    decision_id: z.uuid(),
    code: z.string(),
    p_interruption_12h: probabilitySchema.nullable(),
    /** Where the probabilities come from; with the Spot Advisor alone only signals move anything. */
    risk_source: z.enum(['MODEL', 'ADVISOR_FALLBACK']),
    pipeline_mode: z.enum(pipelineModes),
    target: z
      .object({
        pool_id: poolIdSchema,
        spot_price: z.number(),
        effective_cost: z.number(),
        yield: z.number(),
      })
      .nullable(),
    /** What would be done; nothing is: an evaluation is a dry run. */
    action: z.string().nullable(),
    alert: z.string().nullable(),
    suggestion: z.string().nullable(),
    gain: z.number().nullable(),
    trace: z.array(stageTraceSchema.extend({ ms: z.number().nonnegative() })),
    at: timeSchema,
  })
  .meta({ id: 'Evaluation' })
export type EvaluateResponse = z.infer<typeof evaluateResponseSchema>
