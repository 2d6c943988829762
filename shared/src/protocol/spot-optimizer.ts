import { z } from 'zod'
import { pipelineModes, rankingNames, signalKinds } from '../pipeline/context.ts'
import { decisionNames } from '../pipeline/decision.ts'
import { regionSchema } from './market.ts'
import { countSchema, noteSchema, timeSchema, zoneSchema } from './primitives.ts'

/**
 * What the spot optimizer takes and gives. Probabilities are 0 to 1, prices USD per hour, memory GiB. One offer that makes no
 * sense is left out with why; what has another shape is refused as a whole.
 */

const probabilitySchema = z.number().min(0).max(1)
/** Any number that a price might come as: one that is no price is said to be so, and the other offers go on. */
const roughSchema = z.number().min(-1e6).max(1e6)
const sizeSchema = z.number().positive().max(1e6)
const archSchema = z.enum(['x86_64', 'arm64'])
const nameSchema = z.string().min(1).max(64)
const familiesSchema = z.array(z.string().min(1).max(32)).max(200)
const placeShape = { instance_type: nameSchema, availability_zone: nameSchema }

const MOST_OFFERS = 2000

const offerSchema = z.strictObject({
  ...placeShape,
  spot_price: roughSchema,
  /** When the price was last known to hold. */
  price_at: timeSchema,
  on_demand_price: roughSchema.nullable().default(null),
  vcpu: roughSchema,
  memory_gib: roughSchema,
  arch: archSchema.default('x86_64'),
  gpu: roughSchema.default(0),
  /** Of the Spot Advisor, 0 to 4; null where it does not know the type. */
  interruption_band: roughSchema.nullable().default(null),
  /** The model's probability of a price rise; null where it has none. */
  p_instability_12h: probabilitySchema.nullable().default(null),
  /** Null: what the band says. */
  p_interruption_12h: probabilitySchema.nullable().default(null),
})

export const spotInputSchema = z
  .strictObject({
    /** The engine has no clock. */
    now: timeSchema,
    pipeline_mode: z.enum(pipelineModes).default('CLUSTER_FULL'),
    /** Null: as much as `current` has. */
    requirement: z
      .strictObject({
        vcpu: sizeSchema,
        memory_gib: sizeSchema,
        arch: archSchema.default('x86_64'),
        gpu: z.int().min(0).max(1024).default(0),
        count: z.int().min(1).max(10_000).default(1),
        /** Null allows all. */
        families_allowed: familiesSchema.nullable().default(null),
        families_denied: familiesSchema.default([]),
        zones_allowed: z.array(zoneSchema).max(200).nullable().default(null),
      })
      .nullable()
      .default(null),
    /** Null: nothing runs yet. */
    current: z
      .strictObject({
        ...placeShape,
        instance_id: nameSchema,
        launched_at: timeSchema,
        protected: z.boolean().default(false),
        switches_24h: countSchema.default(0),
        /** USD: what staying has cost so far over the best that could be had. */
        forgone: z.number().min(0).max(1e6).default(0),
      })
      .nullable()
      .default(null),
    offers: z.array(offerSchema).max(MOST_OFFERS),
    /** Null: no model has answered, and the Spot Advisor is all there is. */
    model: z
      .strictObject({ version: nameSchema, decision_threshold: probabilitySchema.nullable().default(null) })
      .nullable()
      .default(null),
    /** What AWS says of `current`. */
    signals: z
      .array(z.strictObject({ kind: z.enum(signalKinds), action_at: timeSchema }))
      .max(100)
      .default([]),
    /** P(termination | a rebalance recommendation); null: the prior. */
    rebalance_probability: probabilitySchema.nullable().default(null),
    /** Own ones of the past day. */
    interruptions: z
      .array(z.strictObject({ ...placeShape, at: timeSchema }))
      .max(200)
      .default([]),
    /** Voluntary moves that may begin now. */
    moves_left: countSchema.default(1),
  })
  .refine(({ requirement, current }) => requirement !== null || current !== null, {
    path: ['requirement'],
    error: 'say how much is needed, or what runs now in `current`',
  })
export type SpotInput = z.infer<typeof spotInputSchema>
/** As it is written, without what has a default. */
export type SpotInputText = z.input<typeof spotInputSchema>

/** What an operator may say otherwise; what is left out is as usual. The descriptions are shown where it is set. */
export const spotConfigSchema = z.strictObject({
  ranking: z
    .enum(rankingNames)
    .optional()
    .describe('What pools are sorted by; usually effective-cost-v1. Or seed-v1, seed-linear'),
  hazard_from: z
    .enum(['interruption', 'instability'])
    .optional()
    .describe(
      'Which probability counts as the cost of an interruption; usually interruption. Or instability',
    ),
  upsize_multiplier: z
    .number()
    .min(1)
    .max(16)
    .optional()
    .describe('Types of up to this many times the size are taken; usually 2'),
  min_gain: z
    .number()
    .min(0)
    .max(1000)
    .optional()
    .describe('A move must save at least this many USD an hour of effective cost; usually 0.002'),
  min_gain_share: probabilitySchema.optional().describe('And at least this share of it, 0 to 1; usually 0.1'),
  min_lifetime_hours: z
    .number()
    .min(0)
    .max(720)
    .optional()
    .describe('What has run for less than so many hours does not move; usually 4'),
  max_switches_24h: z
    .int()
    .min(0)
    .max(1000)
    .optional()
    .describe('Nor does what has moved this often within 24 h; usually 3'),
  patience: z
    .number()
    .min(0)
    .max(1000)
    .nullable()
    .optional()
    .describe(
      'Staying is given up once it has cost this many times the move; usually 1. null: never for that alone',
    ),
  max_price_age_hours: z
    .number()
    .positive()
    .max(720)
    .optional()
    .describe('Prices that are older than so many hours do not count; usually 6'),
  max_pool_share: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('Of several instances at most this share goes to one pool; usually 0.34'),
  max_family_share: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('And at most this share to one family; usually 0.67'),
})
export type SpotConfig = z.infer<typeof spotConfigSchema>

const rankedSchema = z.object({
  pool_id: z.string(),
  spot_price: z.number(),
  on_demand_price: z.number().nullable(),
  /** What is paid, plus what an interruption is expected to cost, plus the move. */
  effective_cost: z.number(),
  /** Of the on-demand price, in percent; with another ranking than effective cost, what is sorted by. */
  yield: z.number(),
  p_instability_12h: probabilitySchema.nullable(),
  p_interruption_12h: probabilitySchema.nullable(),
  flags: z.array(z.string()),
})

const verdictShape = {
  code: z.string(),
  reason: z.string(),
  alert: z.string().nullable(),
  suggestion: z.string().nullable(),
  risk_source: z.enum(['MODEL', 'ADVISOR_FALLBACK']),
}
const savingsAgainstSchema = z.enum(['current', 'on-demand']).nullable()

export const spotOutputSchema = z.object({
  decision: z.enum(decisionNames),
  ...verdictShape,
  action: z.string().nullable(),
  target_pool_id: z.string().nullable(),
  /** USD per hour of effective cost. */
  gain: z.number().nullable(),
  /** The best first. */
  ranked: z.array(rankedSchema),
  allocation: z.array(z.object({ pool_id: z.string(), count: countSchema })),
  /** How many of `count` have no place. */
  unplaced: countSchema,
  /** USD per month of 730 h in effective cost. */
  estimated_savings: z.number().nullable(),
  /** What is compared with; null where nothing can be. */
  savings_against: savingsAgainstSchema,
  /** Everything that was not taken, and why. */
  skipped: z.array(
    z.object({ pool_id: z.string(), stage: z.string(), code: z.string(), reason: z.string() }),
  ),
  stages: z.array(z.object({ stage: z.string(), in: countSchema, out: countSchema })),
})
export type SpotOutput = z.infer<typeof spotOutputSchema>

export const spotOptimizeRequestSchema = z
  .strictObject({
    /** The caller's name for what is asked about; it is given back, and nothing is looked up by it. */
    cluster_id: noteSchema.optional(),
    requirements: z.strictObject({
      vcpu: sizeSchema,
      memory_gib: sizeSchema,
      arch: archSchema.default('x86_64'),
      gpu: z.int().min(0).max(1024).default(0),
      count: z.int().min(1).max(10_000).default(1),
    }),
    constraints: z.strictObject({
      region: regionSchema,
      availability_zones: z.array(zoneSchema).min(1).max(50).optional(),
      instance_families: familiesSchema.min(1).optional(),
      excluded_families: familiesSchema.optional(),
    }),
  })
  .meta({ id: 'SpotOptimizeRequest' })
export type SpotOptimizeRequest = z.infer<typeof spotOptimizeRequestSchema>

export const spotOptimizeResponseSchema = z
  .object({
    cluster_id: z.string().nullable(),
    ...verdictShape,
    /** The best first, at most 20. */
    recommendations: z.array(rankedSchema),
    execution_plan: z.array(
      z.object({
        step: z.int().positive(),
        action: z.literal('LAUNCH'),
        pool_id: z.string(),
        count: countSchema,
      }),
    ),
    unplaced: countSchema,
    /** USD per month of 730 h, in effective cost. */
    estimated_savings: z.number().nullable(),
    savings_against: savingsAgainstSchema,
    /** How many pools fell, by why. */
    skipped: z.record(z.string(), countSchema),
    /** The version that scored the pools, or why none did. */
    model: z.string().nullable(),
    model_failure: z.string().nullable(),
    engine_id: z.string(),
    engine_version: z.string(),
    execution_time_ms: z.number().nonnegative(),
    at: timeSchema,
  })
  .meta({ id: 'SpotOptimizeResponse' })
export type SpotOptimizeResponse = z.infer<typeof spotOptimizeResponseSchema>
