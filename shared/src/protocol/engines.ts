import { z } from 'zod'
import { countSchema, timeSchema } from './primitives.ts'

/** Bodies of the engine calls: which engines there are, which of them decides, and what one would make of an input. */

export const engineIdSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/,
    'an engine id is 1 to 63 letters, digits, dots, dashes and underscores',
  )

const anyObjectSchema = z.record(z.string(), z.unknown())

const engineShape = {
  engine_id: engineIdSchema,
  name: z.string(),
  version: z.string(),
  /** The last part of `/api/v1/ml/decision/…`. */
  decision: z.string(),
  /** What it decides, in a sentence. */
  decides: z.string(),
  /** Of the engines for this decision it is the one that counts. */
  active: z.boolean(),
  /** It decides by itself, not only when it is asked; with why. */
  enabled: z.boolean(),
  enabled_reason: z.string(),
  /** Of its last decision that is kept; tests do not count. Null before the first. */
  last_execution_time_ms: z.number().nonnegative().nullable(),
  last_decision_at: timeSchema.nullable(),
  /** How often another engine came to the same; null where nothing measures it. */
  agreement_rate: z.number().min(0).max(1).nullable(),
}

export const engineListSchema = z
  .object({ items: z.array(z.object(engineShape).meta({ id: 'Engine' })) })
  .meta({ id: 'EngineList' })
export type EngineList = z.infer<typeof engineListSchema>

export const enginePageSchema = z
  .object({
    ...engineShape,
    description: z.string(),
    /** What was set with it; what is not in it is as usual. */
    config: anyObjectSchema,
    /** Grows with every selection for its decision; 0 before the first. */
    revision: countSchema,
    selected_at: timeSchema.nullable(),
    selected_by: z.string().nullable(),
    /** JSON Schema 2020-12. */
    input_schema: anyObjectSchema,
    output_schema: anyObjectSchema,
    config_schema: anyObjectSchema,
    /** An input that it takes. */
    sample: z.unknown(),
  })
  .meta({ id: 'EnginePage' })
export type EnginePage = z.infer<typeof enginePageSchema>

export const selectEngineRequestSchema = z
  .strictObject({
    engine_id: engineIdSchema,
    /** As a whole; left out, what it had stays. */
    config: anyObjectSchema.optional(),
    /** What was seen; when it has grown since, nothing is changed. */
    expected_revision: countSchema.optional(),
    /** Says what would change, and changes nothing. */
    dry_run: z.boolean().default(false),
  })
  .meta({ id: 'SelectEngineRequest' })

const selectedSchema = z.object({ engine_id: z.string(), config: anyObjectSchema })

export const selectEngineResultSchema = z
  .object({
    decision: z.string(),
    changed: z.boolean(),
    dry_run: z.boolean(),
    revision: countSchema,
    before: selectedSchema,
    after: selectedSchema,
  })
  .meta({ id: 'SelectEngineResult' })
export type SelectEngineResult = z.infer<typeof selectEngineResultSchema>

export const testEngineRequestSchema = z
  .strictObject({
    /** As `input_schema` says. */
    input: z.unknown(),
    /** In place of what was set with it. */
    config: anyObjectSchema.optional(),
  })
  .meta({ id: 'TestEngineRequest' })

export const testEngineResultSchema = z
  .object({
    engine_id: z.string(),
    version: z.string(),
    config: anyObjectSchema,
    /** As `output_schema` says. */
    output: z.unknown(),
    execution_time_ms: z.number().nonnegative(),
    /** Nothing is: a test is not a decision. */
    recorded: z.literal(false),
  })
  .meta({ id: 'TestEngineResult' })
export type TestEngineResult = z.infer<typeof testEngineResultSchema>
