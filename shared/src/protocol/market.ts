import { z } from 'zod'
import { FEWEST_POINTS } from '../market/decimate.ts'
import { gapClasses } from '../market/gap.ts'
import { interpolationMethods } from '../market/interpolate.ts'
import { interruptionBands } from '../market/pool.ts'
import { refusalCodes } from '../market/sample.ts'
import { dataSources } from '../market/series.ts'
import { isRegion } from '../market/zone.ts'
import { usdSchema } from './agents.ts'
import { countSchema, poolIdSchema, timeSchema } from './primitives.ts'

/** 0 to 1: 1.00 a primary's sample or history, 0.95 a replica's, 0.60 to 0.85 what was interpolated. */
const confidenceSchema = z.number().min(0).max(1)
const dataSourceSchema = z.enum(dataSources)
const gapClassSchema = z.enum(gapClasses)

export const instanceTypeSchema = z
  .string()
  .regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'an instance type looks like c5.large')
  .max(64)
export const regionSchema = z.string().refine(isRegion, 'a region looks like us-east-1')
const operatingSystemSchema = z.enum(['Linux', 'Windows'])

/**
 * The most samples of one submission: rows with the longest names that AWS has fit into a body of 256 KiB, the most that the
 * API reads. An agent with more sends several.
 */
export const MOST_SAMPLES = 1500

/** As an agent writes it. What is wrong with a row is said for that row alone, so the schema lets any row through. */
export const givenSampleSchema = z
  .object({
    pool_id: z.unknown().meta({ examples: ['c5.large@ap-south-1a'] }),
    /** RFC 3339 with its offset, or UTC milliseconds. */
    at: z.unknown().meta({ examples: ['2025-11-20T10:05:00Z'] }),
    /** Dollars per hour: a number, or a decimal as text. */
    price: z.unknown().meta({ examples: [0.0416, '0.041600'] }),
    /**
     * Which instance took it, and as what (`primary`, `replica`); without them the sender, as what it is. An instance
     * that has been promoted also sends what the one before it had left.
     */
    instance_id: z.unknown().optional(),
    role: z.unknown().optional(),
  })
  .meta({ id: 'PriceSample' })

/** The body of POST `/api/agents/{id}/pricing`. The same content twice changes nothing. */
export const priceSubmissionSchema = z
  .strictObject({
    /** Names the batch in the audit trail; one is made when it is missing. */
    submission_id: z.uuid().optional(),
    samples: z
      .array(z.union([givenSampleSchema, z.unknown()]))
      .min(1)
      .max(MOST_SAMPLES, `at most ${MOST_SAMPLES} samples at a time; send the rest in further batches`),
  })
  .meta({ id: 'PriceSubmission' })
export type PriceSubmission = z.infer<typeof priceSubmissionSchema>

/** How many of the refused rows an answer names. `refused` counts them all. */
export const MOST_REFUSALS = 100

/** Why a row of a submission is not taken: what is wrong with it, or with who sent it. */
export const submissionCodes = [...refusalCodes, 'instance_unknown', 'pool_too_many'] as const

export const priceSubmissionResultSchema = z
  .object({
    submission_id: z.uuid(),
    accepted: countSchema,
    /** Rows that were already known, word for word. */
    duplicates: countSchema,
    refused: countSchema,
    /** The first ones that were refused. */
    errors: z
      .array(
        z.object({
          pointer: z.string(),
          code: z.enum(submissionCodes),
          message: z.string(),
        }),
      )
      .max(MOST_REFUSALS),
  })
  .meta({ id: 'PriceSubmissionResult' })
export type PriceSubmissionResult = z.infer<typeof priceSubmissionResultSchema>

export const priceSeriesQuerySchema = z.strictObject({
  /** Without it: the pool of the agent's primary. */
  pool: poolIdSchema.optional(),
  /** Without them: the last 24 hours. */
  from: timeSchema.optional(),
  to: timeSchema.optional(),
  points: z.coerce.number().int().min(FEWEST_POINTS).max(10_000).default(1000),
})

/** One bucket. All three are null where nothing is known: a gap, which no line may cross. */
export const pricePointSchema = z
  .object({
    at: timeSchema,
    price: usdSchema.nullable(),
    data_source: dataSourceSchema.nullable(),
    confidence: confidenceSchema.nullable(),
  })
  .meta({ id: 'PricePoint' })
export type PricePoint = z.infer<typeof pricePointSchema>

export const priceSeriesSchema = z
  .object({
    pool_id: poolIdSchema,
    from: timeSchema,
    to: timeSchema,
    bucket_seconds: z.literal(300),
    /** Of the range, by where their price comes from. */
    buckets: z.object({
      total: countSchema,
      primary: countSchema,
      replica: countSchema,
      history: countSchema,
      interpolated: countSchema,
      missing: countSchema,
    }),
    /** Whether points were left out: the lowest, highest and least certain of every stretch are here, as they were. */
    decimated: z.boolean(),
    points: z.array(pricePointSchema),
  })
  .meta({ id: 'PriceSeries' })
export type PriceSeries = z.infer<typeof priceSeriesSchema>

/** A pool as it is now. Null is not known, and never 0. */
export const poolViewSchema = z
  .object({
    pool_id: poolIdSchema,
    instance_type: z.string(),
    availability_zone: z.string(),
    /** The same in every account; null until the account's zones have been read. */
    az_id: z.string().nullable(),
    region: z.string(),
    spot_price: usdSchema.nullable(),
    price_at: timeSchema.nullable(),
    data_source: dataSourceSchema.nullable(),
    confidence: confidenceSchema.nullable(),
    on_demand_price: usdSchema.nullable(),
    /** Below on-demand, in per cent; below zero when spot costs more. */
    discount_percent: z.number().nullable(),
    /** The Spot Advisor's band of monthly interruptions, of the type in its region. */
    interruption_band: z.int().min(0).max(4).nullable(),
    interruption_range: z.enum(interruptionBands).nullable(),
    /** Of the Spot Advisor's file. */
    band_as_of: timeSchema.nullable(),
    /** The active model's estimate, 0 to 1; null without a model. */
    risk: z.number().min(0).max(1).nullable(),
  })
  .meta({ id: 'Pool' })
export type PoolView = z.infer<typeof poolViewSchema>

export const poolListSchema = z
  .object({ items: z.array(poolViewSchema), next: z.string().nullable() })
  .meta({ id: 'Pools' })

/** `open` has not ended; of a `stale` one real prices have come since, and the next scan looks at it again. */
const gapStatusSchema = z.enum(['open', 'filled', 'empty', 'stale'])

export const gapViewSchema = z
  .object({
    pool_id: poolIdSchema,
    from: timeSchema,
    to: timeSchema,
    buckets: countSchema,
    gap_class: gapClassSchema,
    status: gapStatusSchema,
    /** Why it stays empty, in one sentence. */
    reason: z.string().nullable(),
    method: z.enum(interpolationMethods).nullable(),
    confidence: confidenceSchema.nullable(),
    /** Undoes what filled it. */
    batch_id: z.string().nullable(),
    found_at: timeSchema,
  })
  .meta({ id: 'Gap' })
export type GapView = z.infer<typeof gapViewSchema>

export const gapListQuerySchema = z.strictObject({
  pool: poolIdSchema.optional(),
  from: timeSchema.optional(),
  to: timeSchema.optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z
    .string()
    .regex(/^\d{1,15}:\d{1,9}$/, 'this is not a cursor that this call gave')
    .optional(),
})

export const gapListSchema = z
  .object({ items: z.array(gapViewSchema), next: z.string().nullable() })
  .meta({ id: 'Gaps' })

export const gapScanRequestSchema = z
  .strictObject({
    /** Without it: every pool. */
    pools: z.array(poolIdSchema).min(1).max(1000).optional(),
    /** Without them: the last 24 hours. */
    from: timeSchema.optional(),
    to: timeSchema.optional(),
    /** False: gaps are counted, and nothing is written. */
    fill: z.boolean().default(true),
  })
  .meta({ id: 'GapScanRequest' })
export type GapScanRequest = z.infer<typeof gapScanRequestSchema>

export const gapScanResultSchema = z
  .object({
    /** Undoes what this scan has filled. */
    batch_id: z.string(),
    from: timeSchema,
    to: timeSchema,
    pools: countSchema,
    /** All that touch the range, new or not. */
    gaps: countSchema,
    /** Filled by this scan, and with how many prices. History is fetched first; only what it cannot cover is interpolated. */
    filled: countSchema,
    rows: countSchema,
    /** Nothing real to compute them from, or too long. */
    empty: countSchema,
    /** They have not ended. */
    open: countSchema,
    took_ms: z.number().nonnegative(),
  })
  .meta({ id: 'GapScanResult' })
export type GapScanResult = z.infer<typeof gapScanResultSchema>

export const gapUndoResultSchema = z
  .object({ batch_id: z.string(), rows: countSchema, gaps: countSchema })
  .meta({ id: 'GapUndoResult' })

/** The body of POST `/api/v1/ml/pricing/fetch`. EC2 keeps 90 days. */
export const priceFetchRequestSchema = z
  .strictObject({
    instance_types: z.array(instanceTypeSchema).min(1).max(200),
    regions: z.array(regionSchema).min(1).max(50),
    days: z
      .int()
      .min(1)
      .max(90, 'EC2 keeps 90 days of spot prices; import a file for what is older')
      .default(90),
  })
  .meta({ id: 'PriceFetchRequest' })
export type PriceFetchRequest = z.infer<typeof priceFetchRequestSchema>

export const priceFetchSchema = z
  .object({
    task_id: z.string(),
    kind: z.enum(['backfill', 'manual', 'import']),
    status: z.enum(['queued', 'running', 'done', 'failed', 'cancelled']),
    percent_complete: z.number().min(0).max(100),
    /** Parts of the request that are done, and all of them. */
    done: countSchema,
    total: countSchema,
    rows_written: countSchema,
    /** By the code of the refusal. */
    rows_refused: z.record(z.string(), countSchema),
    /** Types that are not sold as Spot where they were asked for: the first ones. */
    not_offered: z.array(z.string()),
    /** Null until there is something to measure. */
    eta_seconds: z.number().nonnegative().nullable(),
    error: z.string().nullable(),
    created_at: timeSchema,
    started_at: timeSchema.nullable(),
    ended_at: timeSchema.nullable(),
  })
  .meta({ id: 'PriceFetch' })
export type PriceFetch = z.infer<typeof priceFetchSchema>

const pageShape = {
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.string().max(200).optional(),
}

export const spotPricesQuerySchema = z.strictObject({
  instance_type: instanceTypeSchema.optional(),
  region: regionSchema.optional(),
  pool: poolIdSchema.optional(),
  from: timeSchema.optional(),
  to: timeSchema.optional(),
  ...pageShape,
})

/** The ML server's page of spot prices: real ones only, the latest first. */
export const spotPricesSchema = z
  .object({
    items: z.array(
      z.object({
        instance_type: z.string(),
        availability_zone: z.string(),
        region: z.string(),
        product: z.literal('Linux/UNIX'),
        at: timeSchema,
        spot_price: usdSchema,
        data_source: dataSourceSchema.exclude(['interpolated']),
        confidence: confidenceSchema,
      }),
    ),
    next: z.string().nullable(),
  })
  .meta({ id: 'SpotPrices' })
export type SpotPrices = z.infer<typeof spotPricesSchema>

export const catalogQuerySchema = z.strictObject({
  instance_type: instanceTypeSchema.optional(),
  region: regionSchema.optional(),
  os: operatingSystemSchema.default('Linux'),
  ...pageShape,
})

/** Where a catalog comes from and how old it is. An old copy is served while a newer one cannot be fetched. */
const sourceShape = {
  source: z.string(),
  /** The date that the source itself gives. */
  as_of: timeSchema.nullable(),
  fetched_at: timeSchema.nullable(),
  /** Why the last fetch failed; null when it did not. */
  error: z.string().nullable(),
}

export const onDemandPricesSchema = z
  .object({
    sources: z.array(z.object(sourceShape)),
    items: z.array(
      z.object({
        instance_type: z.string(),
        region: z.string(),
        os: operatingSystemSchema,
        on_demand_price: usdSchema,
        source: z.string(),
        as_of: timeSchema.nullable(),
        fetched_at: timeSchema,
      }),
    ),
    next: z.string().nullable(),
  })
  .meta({ id: 'OnDemandPrices' })
export type OnDemandPrices = z.infer<typeof onDemandPricesSchema>

export const spotAdvisorSchema = z
  .object({
    ...sourceShape,
    items: z.array(
      z.object({
        instance_type: z.string(),
        region: z.string(),
        os: operatingSystemSchema,
        interruption_band: z.int().min(0).max(4),
        interruption_range: z.enum(interruptionBands),
        /** Below zero where spot cost more than on-demand. */
        savings_percent: z.int().max(100),
      }),
    ),
    next: z.string().nullable(),
  })
  .meta({ id: 'SpotAdvisor' })
export type SpotAdvisor = z.infer<typeof spotAdvisorSchema>

/** What running on spot saved, from real prices alone. */
export const savingsSchema = z
  .object({
    /** Null for the whole fleet. */
    agent_id: z.string().nullable(),
    from: timeSchema,
    to: timeSchema,
    spot_cost: usdSchema,
    on_demand_cost: usdSchema,
    double_running_cost: usdSchema,
    /** What the switches cost beside double running, such as transfer; null where nobody has measured it. */
    switch_cost: usdSchema.nullable(),
    switches: countSchema,
    /** On-demand less the other costs, as far as they are known; below zero when spot cost more. */
    net_savings: z.number(),
    counted_hours: z.number().nonnegative(),
    /** In which a price was missing: nothing of them is in the sums. */
    unknown_hours: z.number().nonnegative(),
    /** What on-demand is taken at, in per cent of its list price. */
    on_demand_rate_percent: z.number().positive().max(100),
  })
  .meta({ id: 'Savings' })
export type SavingsView = z.infer<typeof savingsSchema>
