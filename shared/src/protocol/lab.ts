import { z } from 'zod'
import { pipelineModes } from '../pipeline/context.ts'
import { accountEnvironments, actuatorLevels, actuatorNames } from '../pipeline/instance-config.ts'
import type { ExperimentView } from './experiments.ts'
import { modelIdSchema, modelStateSchema } from './models.ts'
import { countSchema, targetIdSchema, timeSchema } from './primitives.ts'

/** Bodies of the Lab's calls. Probabilities and shares are 0 to 1, prices USD per hour, savings USD. */

export const assignModelRequestSchema = z
  .strictObject({
    instance_id: targetIdSchema,
    /** The id, or a short name such as `model-002`. */
    model_id: modelIdSchema,
  })
  .meta({ id: 'AssignModelRequest' })

export const assignModelResponseSchema = z
  .object({
    status: z.literal('updated'),
    mode: z.literal('Lab Experiment Active'),
    instance_id: targetIdSchema,
    /** As it was asked for. */
    model_id: modelIdSchema,
    /** The version that it stands for. */
    assigned_model_id: modelIdSchema,
    /** From the call to the moment from which on it answers for the instance. */
    took_ms: z.number().nonnegative(),
  })
  .meta({ id: 'ModelAssignment' })

export const labModelSchema = z
  .object({
    /** The short name where there is one. */
    id: modelIdSchema,
    model_id: modelIdSchema,
    name: z.string(),
    version: z.string(),
    description: z.string(),
    /** It has never been the active one. */
    is_experimental: z.boolean(),
    /** It may be assigned. */
    is_active: z.boolean(),
    created_at: timeSchema,
    state: modelStateSchema,
    /** `active`, `lab:…`, `shadow:…`: what it is used as now. */
    aliases: z.array(z.string()),
  })
  .meta({ id: 'LabModel' })
export type LabModel = z.infer<typeof labModelSchema>

export const labModelListSchema = z
  .object({ items: z.array(labModelSchema), next: z.string().nullable() })
  .meta({ id: 'LabModels' })

export const nameModelRequestSchema = z
  .strictObject({ model_id: modelIdSchema })
  .meta({ id: 'NameModelRequest' })

export const labConfigSchema = z
  .object({
    /** As it was asked for. */
    instance_id: targetIdSchema,
    /** The agent's id where the instance belongs to one: what is said holds for whatever instance takes over. */
    target_id: targetIdSchema,
    pipeline_mode: z.enum(pipelineModes),
    assigned_model_id: modelIdSchema.nullable(),
    enable_bin_packing: z.boolean(),
    enable_right_sizing: z.boolean(),
    enable_family_stress: z.boolean(),
    aws_region: z.string(),
    enabled: z.boolean(),
    /** Null: the usual one of the mode. */
    actuator: z.enum(actuatorNames).nullable(),
    /** How far a decision goes; `live` in the Lab only where the account is LAB_INTERNAL. */
    actuator_level: z.enum(actuatorLevels),
    account_environment: z.enum(accountEnvironments),
    /** Null: these are the defaults. */
    created_at: timeSchema.nullable(),
    updated_at: timeSchema.nullable(),
    updated_by: z.string().nullable(),
  })
  .meta({ id: 'LabConfig' })
export type LabConfig = z.infer<typeof labConfigSchema>

/** What is left out stays. */
export const labConfigChangeSchema = z
  .strictObject({
    pipeline_mode: z.enum(pipelineModes),
    /** Null: the active model. */
    assigned_model_id: modelIdSchema.nullable(),
    enable_bin_packing: z.boolean(),
    enable_right_sizing: z.boolean(),
    enable_family_stress: z.boolean(),
    aws_region: z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'a region looks like ap-south-1'),
    enabled: z.boolean(),
    actuator: z.enum(actuatorNames).nullable(),
    actuator_level: z.enum(actuatorLevels),
    account_environment: z.enum(accountEnvironments),
  })
  .partial()
  .meta({ id: 'LabConfigChange' })
export type LabConfigChange = z.infer<typeof labConfigChangeSchema>

const stageStatusSchema = z.object({ status: z.enum(['active', 'disabled']), description: z.string() })

export const pipelineStatusSchema = z
  .object({
    instance_id: targetIdSchema,
    pipeline_mode: z.enum(pipelineModes),
    scraper: stageStatusSchema,
    bin_packing: stageStatusSchema,
    right_sizing: stageStatusSchema,
    ml_inference: z.object({
      /** fallback: another version answers than the one that is assigned. */
      status: z.enum(['active', 'fallback', 'disabled']),
      /** As it was assigned, by its short name where it has one; null when no model answers. */
      model_id: modelIdSchema.nullable(),
      /** The version that answers. */
      answered_by: modelIdSchema.nullable(),
      description: z.string(),
    }),
    /** In order: all stages of the full pipeline, also those that this mode passes over. */
    stages: z.array(stageStatusSchema.extend({ stage: z.string() })),
    /** The four steps of the Lab; empty for the full pipeline. */
    steps: z.array(z.object({ step: countSchema, name: z.string(), stages: z.array(z.string()) })),
    /** What becomes of a decision. */
    actuator: z.object({
      name: z.enum(actuatorNames),
      level: z.enum(actuatorLevels),
      description: z.string(),
    }),
    last_decision: z
      .object({
        decision_id: z.string(),
        decision: z.string(),
        answered_by: modelIdSchema.nullable(),
        fallback_reason: z.string().nullable(),
        at: timeSchema,
      })
      .nullable(),
  })
  .meta({ id: 'PipelineStatus' })
export type PipelineStatus = z.infer<typeof pipelineStatusSchema>

export const logDecisions = ['SWITCH', 'HOLD', 'DRAIN', 'EVACUATE', 'FAILED'] as const
export type LogDecision = (typeof logDecisions)[number]

export const experimentLogSchema = z
  .object({
    /** Of the decision: `coordinator replay` takes it. */
    id: z.string(),
    instance_id: targetIdSchema,
    /** The version that answered; null when none did. */
    model_id: modelIdSchema.nullable(),
    assigned_model_id: modelIdSchema.nullable(),
    /** Why another one answered than the one that was assigned. */
    fallback_reason: z.string().nullable(),
    experiment_id: z.string().nullable(),
    prediction_score: z.number().nullable(),
    decision: z.enum(logDecisions),
    /** False: it was a dry run. */
    acted: z.boolean(),
    execution_time: timeSchema,
    execution_duration_ms: z.number().nonnegative(),
    selected_instance_type: z.string().nullable(),
    spot_price: z.number().nullable(),
    /** Of a switch: what it saves over the time that a placement is expected to last. */
    projected_savings: z.number().nullable(),
    metadata: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'ExperimentLog' })
export type ExperimentLog = z.infer<typeof experimentLogSchema>

export const experimentLogListSchema = z
  .object({ items: z.array(experimentLogSchema), next: z.string().nullable() })
  .meta({ id: 'ExperimentLogs' })

/** Of a share: Wilson's, 95 %. Of a mean: one that holds at every count, 95 %. Null without data. */
const rangeSchema = z.object({ lower: z.number(), upper: z.number() }).nullable()

export const modelPerformanceSchema = z
  .object({
    model_id: modelIdSchema,
    name: z.string(),
    version: z.string(),
    total_experiments: countSchema,
    decisions: z.record(z.enum(logDecisions), countSchema),
    /** Switches, as a share of switches and holds; 0 without any. */
    switch_rate: z.number(),
    switch_rate_interval: rangeSchema,
    /** Projected savings of all its switches, those that were dry runs too. */
    total_savings: z.number(),
    /** Of those that were carried out. */
    acted_savings: z.number(),
    /** Projected savings of one decision, on average over instances and half days. */
    savings_per_decision: z.number().nullable(),
    savings_per_decision_interval: rangeSchema,
    /** What came of the switches that happened, by the prices that held afterwards; USD. */
    realised: z.object({
      switches: countSchema,
      /** Of these, which are not counted to their end yet. */
      open: countSchema,
      /** What the pools that were left would have cost, less what those that were chosen did. */
      savings: z.number(),
      /** What ran twice for it. */
      double_running_cost: z.number(),
      /** Null: for one of them nobody had said what a switch costs. */
      switch_cost: z.number().nullable(),
      /** Less double running, and the switches as far as their cost is known. */
      net_savings: z.number(),
      /** What their decisions expected to save in the hours that are counted. */
      projected_savings: z.number(),
      counted_hours: z.number(),
      /** In which a price was not known: nothing of them is in the sums. */
      unknown_hours: z.number(),
    }),
    average_prediction_score: z.number().nullable(),
    average_duration_ms: z.number().nullable(),
    /** Decisions that it was to answer and another one did: none of them is counted above. */
    fallbacks: countSchema,
    fallback_rate: z.number(),
    instances: countSchema,
    first_at: timeSchema.nullable(),
    last_at: timeSchema.nullable(),
    /** Reasons to look at it. */
    degraded: z.array(z.object({ code: z.string(), reason: z.string() })),
  })
  .meta({ id: 'ModelPerformance' })
export type ModelPerformance = z.infer<typeof modelPerformanceSchema>

/**
 * What `lab/live` sends: everything of one target when a page comes, and the latest experiments; then what has changed.
 */
export interface LabFrame {
  readonly type: 'snapshot' | 'patch'
  readonly at: string
  readonly status?: PipelineStatus
  readonly config?: LabConfig
  /** The latest first, as in the first page of the list. */
  readonly experiments?: readonly ExperimentView[]
}
