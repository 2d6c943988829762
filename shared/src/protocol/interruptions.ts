import { z } from 'zod'
import { rateSources } from '../interruption/rate-book.ts'
import { signalOutcomes } from '../interruption/signal-outcome.ts'
import { countSchema, instanceIdSchema, poolIdSchema, timeSchema } from './primitives.ts'

/** Between 0 and 1, and neither. */
const shareSchema = z.number().min(0).max(1)

export const poolRiskQuerySchema = z.strictObject({
  /** How far ahead, in hours. */
  hours: z.coerce.number().positive().max(168).default(12),
  /** An instance in the pool: its age counts. */
  instance_id: instanceIdSchema.optional(),
})

export const poolRiskSchema = z
  .object({
    pool_id: poolIdSchema,
    /** Of the active model: that the price rises by more than 3 % within 12 h. Null without one. No interruption is meant. */
    p_instability_12h: shareSchema.nullable(),
    /** That AWS takes an instance back within 12 h. */
    p_interruption_12h: shareSchema,
    interruption: z.object({
      hours: z.number().positive(),
      /** Within these hours. */
      probability: shareSchema,
      /** 90 % of the estimate's own distribution lies between them. */
      low: shareSchema,
      high: shareSchema,
      /** How much there is to it. */
      confidence: shareSchema,
      /** For age and hour of day. */
      multiplier: z.number().positive(),
      sources: z.array(z.object({ source: z.enum(rateSources), weight: shareSchema })),
      because: z.array(z.string()),
      own: z.object({ instance_hours: z.number().nonnegative(), interruptions: countSchema }),
      /** The Spot Advisor's; null where it does not know the type. */
      band: z.int().min(0).max(4).nullable(),
    }),
    /** Of a termination within two hours, once AWS has recommended a rebalance. */
    rebalance: z.object({
      probability: shareSchema,
      because: z.string(),
      level: z.enum(['family_in_region', 'region', 'everywhere']).nullable(),
      followed: countSchema,
      not_followed: countSchema,
    }),
    /** Recommendations for instances of this pool and what came of them: the latest 20, the newest first. */
    signals: z.array(
      z.object({
        instance_id: z.string(),
        incident_id: z.string(),
        action_at: timeSchema,
        detected_at: timeSchema,
        outcome: z.enum(signalOutcomes),
        /** From the recommendation to the notice that followed. */
        lead_seconds: z.number().nonnegative().nullable(),
      }),
    ),
  })
  .meta({ id: 'PoolRisk' })
export type PoolRisk = z.infer<typeof poolRiskSchema>
