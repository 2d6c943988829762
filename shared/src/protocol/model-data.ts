import { z } from 'zod'
import { instanceTypeSchema, regionSchema } from './market.ts'
import { modelDetailsSchema, modelIdSchema, modelListSchema, modelViewSchema } from './models.ts'
import { countSchema, timeSchema } from './primitives.ts'

/**
 * Whether the prices are there that a model needs. READY: all of them. PARTIAL: all that can be had, which is not all.
 * MISSING: a fill would bring more. UNKNOWN: no pool is known for which there should be any.
 */
export const readinesses = ['READY', 'PARTIAL', 'MISSING', 'UNKNOWN'] as const
export type Readiness = (typeof readinesses)[number]

const percentSchema = z.number().min(0).max(100)

const unfillableSchema = z
  .object({
    from: timeSchema,
    to: timeSchema,
    days: countSchema,
  })
  .meta({ id: 'UnfillablePrices', description: 'What is needed and older than prices can be fetched' })

/** The prices between the training of a model and now. */
export const modelDataSchema = z
  .object({
    readiness: z.enum(readinesses),
    trained_until: z.iso.date(),
    current_date: z.iso.date(),
    gap_days: z.int(),
    /** From `trained_until` less what features look back, to now. */
    required_from: timeSchema,
    unfillable: unfillableSchema.nullable(),
    /** Of the time that is required of all pools. Below 100 where anything is missing. */
    percent_covered: percentSchema,
    pools: z.object({
      required: countSchema,
      /** With all that is required. */
      complete: countSchema,
      /** With the last days that features look back on: a prediction of today lacks nothing. */
      current: countSchema,
      /** Known once, and without a price at the source by now: nothing is required of them. */
      without_history: countSchema,
    }),
    /** The fill under way. */
    task_id: z.string().nullable(),
  })
  .meta({ id: 'ModelData' })
export type ModelData = z.infer<typeof modelDataSchema>

export const listedModelsSchema = modelListSchema
  .extend({ items: z.array(modelViewSchema.extend({ data: modelDataSchema })) })
  .meta({ id: 'ListedModels' })
export type ListedModels = z.infer<typeof listedModelsSchema>

export const modelPageSchema = modelDetailsSchema.extend({ data: modelDataSchema }).meta({ id: 'ModelPage' })
export type ModelPage = z.infer<typeof modelPageSchema>

const scope = {
  /** The active one when it is not given. */
  model_id: modelIdSchema.optional(),
  /** What is set, or in use, when they are not given. */
  instance_types: z.array(instanceTypeSchema).min(1).max(200).optional(),
  regions: z.array(regionSchema).min(1).max(50).optional(),
}

export const gapAnalysisRequestSchema = z.strictObject(scope).meta({ id: 'ModelGapAnalysisRequest' })
export const gapFillRequestSchema = z.strictObject(scope).meta({ id: 'ModelGapFillRequest' })

export const gapAnalysisSchema = modelDataSchema
  .extend({
    model_id: modelIdSchema,
    name: z.string(),
    version: z.string(),
    required_data_types: z.array(z.enum(['spot_prices', 'on_demand_prices'])),
    /** By type and region, those that miss most first; at most 200. */
    items: z.array(
      z.object({
        instance_type: z.string(),
        region: z.string(),
        pools: countSchema,
        missing_hours: z.number().nonnegative(),
        unfillable_hours: z.number().nonnegative(),
        /** False where the source has said that it is not sold there. */
        offered: z.boolean(),
      }),
    ),
  })
  .meta({ id: 'ModelGapAnalysis' })
export type GapAnalysis = z.infer<typeof gapAnalysisSchema>

export const gapFillTriggers = ['manual', 'start', 'activation', 'refresh'] as const
export const gapFillStates = ['in_progress', 'completed', 'failed', 'cancelled'] as const

export const gapTaskIdSchema = z.string().regex(/^gap-fill-[0-9a-f-]{36}$/, 'a task id is like gap-fill-…')

export const gapFillTaskSchema = z
  .object({
    task_id: gapTaskIdSchema,
    model_id: modelIdSchema,
    trigger: z.enum(gapFillTriggers),
    status: z.enum(gapFillStates),
    /** Of all that was missing; what cannot be filled counts, so that it may end below 100. */
    percent_complete: percentSchema,
    /** Prices that were fetched. */
    records_filled: countSchema,
    /** Null until there is something to measure, and when it has ended. */
    eta_seconds: z.number().nonnegative().nullable(),
    /** When it has ended. */
    readiness: z.enum(readinesses).nullable(),
    unfillable: unfillableSchema.nullable(),
    /** Of the market, which do the work: GET /api/v1/ml/pricing/fetch/{id}. */
    fetches: z.array(z.string()),
    error: z.string().nullable(),
    created_by: z.string(),
    created_at: timeSchema,
    ended_at: timeSchema.nullable(),
  })
  .meta({ id: 'ModelGapFill' })
export type GapFillTask = z.infer<typeof gapFillTaskSchema>

export const gapFillHistorySchema = z
  .object({ items: z.array(gapFillTaskSchema), next: z.string().nullable() })
  .meta({ id: 'ModelGapFills' })
export type GapFills = z.infer<typeof gapFillHistorySchema>
