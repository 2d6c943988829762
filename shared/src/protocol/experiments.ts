import { z } from 'zod'
import { ALL_WEIGHT } from '../experiments/assignment.ts'
import { experimentKinds, metricNames, unitNames } from '../experiments/plan.ts'
import { verdictNames } from '../experiments/verdict.ts'
import { modelIdSchema } from './models.ts'
import { countSchema, targetIdSchema, timeSchema } from './primitives.ts'

/** Bodies of the calls about experiments: shadow, A/B and pin. */

export const experimentIdSchema = z
  .string()
  .regex(/^exp-[0-9a-f]{12}$/, 'an experiment id looks like exp-0123456789ab')

const armSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/, 'the name of an arm is 1 to 32 small letters, digits and dashes'),
  /** The id, or a short name such as `model-002`. */
  model_id: modelIdSchema,
  /** In 1/10,000; all of them add up to that. */
  weight: z.int().min(1).max(ALL_WEIGHT),
})

const days = (most: number) => z.number().positive().max(most)

/** Registered before it starts, and never changed: another plan is another experiment. */
export const registerExperimentRequestSchema = z
  .strictObject({
    kind: z.enum(experimentKinds).default('shadow'),
    hypothesis: z.string().min(10).max(2000),
    metric: z.enum(metricNames).default('brier'),
    direction: z.literal('lower').default('lower'),
    margin: z.number().min(0).max(100).default(0),
    alpha: z.number().min(0.001).max(0.2).default(0.05),
    /** The first is control. */
    arms: z.array(armSchema).min(1).max(4),
    /** Left out: rows for shadow, instances otherwise. */
    unit: z.enum(unitNames).optional(),
    /** The targets of an A/B or a pin. */
    instance_ids: z.array(targetIdSchema).max(200).default([]),
    block_hours: z.int().min(1).max(24).default(12),
    /** Blocks or unit-days at which the interval is to be the narrowest. */
    planned: z.int().min(30).max(100_000).default(200),
    min_duration_days: days(365).default(7),
    max_duration_days: days(365).default(60),
    guardrails: z.strictObject({ missed_margin: z.number().min(0).max(1).default(0.05) }).prefault({}),
    /** For the estimate: the rate of the treatment over that of control. */
    expected_ratio: z.number().min(0.05).max(20).default(0.5),
    /** Left out: it waits until it is started. */
    starts_at: timeSchema.optional(),
  })
  .meta({ id: 'RegisterExperimentRequest' })
export type RegisterExperimentRequest = z.infer<typeof registerExperimentRequestSchema>

/** What it will take, shown before it is started. */
export const experimentEstimateSchema = z
  .object({
    summary: z.string(),
    /** Until a verdict, in half of all such experiments; null when that is beyond any reason or not known. */
    median_days: z.number().nullable(),
    assumptions: z.array(z.string()),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'ExperimentEstimate' })
export type ExperimentEstimate = z.infer<typeof experimentEstimateSchema>

const intervalSchema = z.object({
  n: countSchema,
  mean: z.number(),
  /** Null: nothing is known on this side. */
  lower: z.number().nullable(),
  upper: z.number().nullable(),
})

export const experimentVerdictSchema = z
  .object({
    verdict: z.enum(verdictNames),
    /** Of WINNER: the name of the arm. */
    winner: z.string().nullable(),
    reason: z.string(),
    missing: z.array(z.string()),
    at: timeSchema,
  })
  .meta({ id: 'ExperimentVerdict' })
export type ExperimentVerdict = z.infer<typeof experimentVerdictSchema>

export const experimentStatuses = ['REGISTERED', 'RUNNING', 'ENDED'] as const
export type ExperimentStatus = (typeof experimentStatuses)[number]

export const experimentSchema = z
  .object({
    experiment_id: experimentIdSchema,
    status: z.enum(experimentStatuses),
    kind: z.enum(experimentKinds),
    hypothesis: z.string(),
    metric: z.enum(metricNames),
    direction: z.literal('lower'),
    margin: z.number(),
    alpha: z.number(),
    arms: z.array(z.object({ name: z.string(), model_id: modelIdSchema, weight: countSchema })),
    unit: z.enum(unitNames),
    instance_ids: z.array(targetIdSchema),
    block_hours: z.number(),
    planned: countSchema,
    min_duration_days: z.number(),
    max_duration_days: z.number(),
    guardrails: z.object({ missed_margin: z.number() }),
    /** SHA-256 of what was registered. */
    registration_sha256: z.string(),
    created_at: timeSchema,
    created_by: z.string(),
    starts_at: timeSchema.nullable(),
    started_at: timeSchema.nullable(),
    ended_at: timeSchema.nullable(),
    ended_by: z.string().nullable(),
    /** Written once, when it ends. Null for a pin, which claims nothing. */
    verdict: experimentVerdictSchema.nullable(),
  })
  .meta({ id: 'Experiment' })
export type ExperimentView = z.infer<typeof experimentSchema>

export const registeredExperimentSchema = experimentSchema
  .extend({ estimate: experimentEstimateSchema })
  .meta({ id: 'RegisteredExperiment' })

export const experimentListSchema = z
  .object({ items: z.array(experimentSchema), next: z.string().nullable() })
  .meta({ id: 'Experiments' })

export const experimentResultsSchema = z
  .object({
    experiment_id: experimentIdSchema,
    status: z.enum(experimentStatuses),
    /** What can be said now; once it has ended, what was said then. */
    verdict: experimentVerdictSchema.nullable(),
    treatments: z.array(
      z.object({
        arm: z.string(),
        /** Control less treatment: above 0 the treatment is better. Null for rates. */
        difference: intervalSchema.nullable(),
        /** Of rates: events in both arms, and the e-value against equal rates. */
        events: z
          .object({
            control: countSchema,
            treatment: countSchema,
            e_value: z.number(),
            ratio: z.number().nullable(),
            lower: z.number(),
            upper: z.number().nullable(),
          })
          .nullable(),
        /** Of costs: USD per useful hour. */
        costs: z.object({ control: z.number().nullable(), treatment: z.number().nullable() }).nullable(),
        blocks: countSchema,
        rows: countSchema,
        positives: countSchema,
        excluded_fallback: countSchema,
        excluded_gap_filled: countSchema,
        missed: intervalSchema.nullable(),
      }),
    ),
    /** Units by arm, and how likely such counts are. */
    sample_ratio: z.object({ counts: z.array(countSchema), p: z.number(), valid: z.boolean() }).nullable(),
    /** Labels that came after their block was settled: recorded, and of no effect. */
    late_labels: countSchema,
    /** Up to here everything is counted. */
    settled_until: timeSchema.nullable(),
  })
  .meta({ id: 'ExperimentResults' })
export type ExperimentResults = z.infer<typeof experimentResultsSchema>
