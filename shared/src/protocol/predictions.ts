import { z } from 'zod'
import { countSchema, poolIdSchema, timeSchema, zoneSchema } from './primitives.ts'

/** Bodies of the calls about predictions, their accuracy and drift. Probabilities are 0 to 1. */

const probabilitySchema = z.number().min(0).max(1)
const modelRefSchema = z.object({ model_id: z.string(), name: z.string(), version: z.string() })

const labelStates = ['pending', 'labelled', 'unlabelled'] as const

/** What a model said of one pool, and what came of it. */
const predictionSchema = z
  .object({
    pool_id: poolIdSchema,
    at: timeSchema,
    /** Probability that the price rises by more than 3 % before `horizon_end`. It is no probability of an interruption. */
    p_instability_12h: probabilitySchema,
    horizon_end: timeSchema,
    /** Whether it is at or above the threshold in force. */
    unstable: z.boolean(),
    threshold: probabilitySchema,
    model_id: z.string(),
    model_sha256: z.string(),
    /** Of the numbers that the model was given. */
    features_hash: z.string(),
    /** `active`, or `previous` while the active one could not answer, or `alias`. */
    answered_by: z.enum(['active', 'previous', 'alias']),
    /** Share of the past 168 h in which real prices of the pool were known. */
    confidence: probabilitySchema,
    gap_filled: z.boolean(),
    label_state: z.enum(labelStates),
    /** 1: the price rose. Null while it is not known. */
    actual: z.union([z.literal(0), z.literal(1), z.null()]),
    /** Why there is no label. */
    label_reason: z.string().nullable(),
    /** By a decision a workload has left the pool after this was said. */
    acted: z.boolean(),
    /** The experiment in the shadow of which it was made. */
    experiment: z.string().nullable(),
  })
  .meta({ id: 'Prediction' })
export type PredictionView = z.infer<typeof predictionSchema>

export const predictionListSchema = z
  .object({ items: z.array(predictionSchema), next: z.string().nullable() })
  .meta({ id: 'Predictions' })

/** One batch over all pools: `/api/v1/ml/predictions/live` sends the last one, then each as it is made. */
const predictionRunSchema = z
  .object({
    type: z.literal('predictions'),
    run: countSchema,
    at: timeSchema,
    alias: z.string(),
    ...modelRefSchema.shape,
    model_sha256: z.string(),
    answered_by: z.enum(['active', 'previous', 'alias']),
    threshold: probabilitySchema,
    horizon_end: timeSchema,
    took_ms: z.number().nonnegative(),
    /** Pools without a prediction, by reason. */
    left_out: z.record(z.string(), countSchema),
    items: z.array(
      z.object({
        pool_id: poolIdSchema,
        p_instability_12h: probabilitySchema,
        confidence: probabilitySchema,
        unstable: z.boolean(),
      }),
    ),
  })
  .meta({ id: 'PredictionRun' })
export type PredictionRunView = z.infer<typeof predictionRunSchema>

export const predictRequestSchema = z
  .strictObject({
    instance_type: z
      .string()
      .regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'an instance type looks like c5.large')
      .max(64),
    /** A region, or an availability zone. */
    region: z.union([
      zoneSchema,
      z.string().regex(/^[a-z]{2,4}(-[a-z]+){1,2}-[1-9][0-9]?$/, 'a region looks like us-east-1'),
    ]),
    /** Dollars per hour: of the zones of a region the one with the nearest price is meant. */
    spot_price: z.number().positive().max(1000).optional(),
    launch_time: timeSchema.nullable().optional(),
  })
  .meta({ id: 'PredictRequest' })

export const predictResponseSchema = z
  .object({
    /** Of an interruption by AWS within 12 h. */
    interruption_probability: probabilitySchema,
    /** In that estimate, from what it is made of. */
    confidence: probabilitySchema,
    p_interruption_12h: probabilitySchema,
    /** Of a rise of the price by more than 3 % within 12 h; null where no model could say. */
    p_instability_12h: probabilitySchema.nullable(),
    pool_id: poolIdSchema,
    sources: z.array(z.string()),
    model: modelRefSchema.nullable(),
    unstable: z.boolean().nullable(),
    /** What was assumed, and why something is missing. */
    notes: z.array(z.string()),
    at: timeSchema,
  })
  .meta({ id: 'InterruptionPrediction' })
export type PredictResponse = z.infer<typeof predictResponseSchema>

export const accuracyWindows = ['24h', '7d', '28d', 'activation'] as const
export type AccuracyWindow = (typeof accuracyWindows)[number]

/** A share with its 95 % interval (Wilson); `value` is null where there are too few labels, which `why` says. */
const ratioSchema = z.object({
  value: probabilitySchema.nullable(),
  low: probabilitySchema.nullable(),
  high: probabilitySchema.nullable(),
  why: z.string().nullable(),
})

const accuracySchema = z.object({
  rows: countSchema,
  positives: countSchema,
  /** Blocks of one pool and 12 h: what intervals are made from, since rows of one block say the same. */
  effective_n: countSchema,
  effective_positives: countSchema,
  threshold: probabilitySchema,
  tp: countSchema,
  fp: countSchema,
  fn: countSchema,
  tn: countSchema,
  precision: ratioSchema,
  recall: ratioSchema,
  fdr: ratioSchema,
  fpr: ratioSchema,
  fnr: ratioSchema,
  base_rate: ratioSchema,
  f1: probabilitySchema.nullable(),
  auc: probabilitySchema.nullable(),
  brier: z.number().nullable(),
  log_loss: z.number().nullable(),
  ece: z.number().nullable(),
  /** What is missing before the values that are null are shown. */
  why: z.string().nullable(),
})

export const performanceSchema = z
  .object({
    ...modelRefSchema.shape,
    window: z.enum(accuracyWindows),
    from: timeSchema,
    to: timeSchema,
    pending: countSchema,
    unlabelled: countSchema,
    /** Of the runs, every so many was looked at where there are very many; all counts are of those. */
    every: countSchema,
    all: accuracySchema,
    by_region: z.record(z.string(), accuracySchema),
    by_family: z.record(z.string(), accuracySchema),
  })
  .meta({ id: 'ModelPerformance' })
export type Performance = z.infer<typeof performanceSchema>

export const alertKinds = ['SCORE_DRIFT', 'FEATURE_DRIFT', 'LOSS_DRIFT', 'DATA_QUALITY', 'DEGRADED'] as const
export type AlertKind = (typeof alertKinds)[number]

const modelAlertSchema = z
  .object({
    alert_id: z.uuid(),
    model_id: z.string(),
    kind: z.enum(alertKinds),
    /** The feature, `score` or `loss`; of DEGRADED `quarantined` or `fallbacks`. */
    subject: z.string(),
    severity: z.enum(['warn', 'alert']),
    state: z.enum(['open', 'closed']),
    said: z.string(),
    facts: z.record(z.string(), z.unknown()),
    opened_at: timeSchema,
    seen_at: timeSchema,
    closed_at: timeSchema.nullable(),
  })
  .meta({ id: 'ModelAlert' })
export type ModelAlertView = z.infer<typeof modelAlertSchema>

export const modelAlertsSchema = z
  .object({
    items: z.array(modelAlertSchema),
    /** Moves that nobody has asked for are off while the active model cannot be trusted. */
    voluntary_moves: z.object({ allowed: z.boolean(), why: z.string().nullable() }),
  })
  .meta({ id: 'ModelAlerts' })
export type ModelAlerts = z.infer<typeof modelAlertsSchema>
