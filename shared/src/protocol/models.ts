import { z } from 'zod'
import { manifestSchema, modelNameSchema, modelVersionSchema } from './model-manifest.ts'
import { countSchema, timeSchema } from './primitives.ts'

/** Where a version of a model stands. QUARANTINED says why in `state_reason`. */
export const modelStates = [
  'RECEIVED',
  'SCANNED',
  'QUALIFIED',
  'SHADOW',
  'LAB',
  'ACTIVE',
  'RETIRED',
  'QUARANTINED',
] as const
export const modelStateSchema = z.enum(modelStates)
export type ModelState = z.infer<typeof modelStateSchema>

export const modelIdSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$/, 'a model id looks like model-0123456789ab')

const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/)

export const modelViewSchema = z
  .object({
    model_id: modelIdSchema,
    name: modelNameSchema,
    version: modelVersionSchema,
    trained_until: z.iso.date(),
    state: modelStateSchema,
    /** Why it is in quarantine, or was taken back. */
    state_reason: z.string().nullable(),
    /** `active` is the one whose predictions count. */
    status: z.enum(['active', 'inactive']),
    /** `active`, `previous`, `shadow:…`, `lab:…`: what it is used as now. */
    aliases: z.array(z.string()),
    /** Of the model file. */
    sha256: sha256Schema,
    size_bytes: countSchema,
    /** Whether its files are still kept; what is said about it is kept for ever. */
    artifact_kept: z.boolean(),
    uploaded_by: z.string(),
    uploaded_at: timeSchema,
    activated_at: timeSchema.nullable(),
  })
  .meta({ id: 'Model' })
export type ModelView = z.infer<typeof modelViewSchema>

export const modelListSchema = z
  .object({ items: z.array(modelViewSchema), next: z.string().nullable() })
  .meta({ id: 'Models' })

/** What was measured of a version in a process of its own, before anything depended on it. */
export const qualificationSchema = z
  .object({
    golden_rows: countSchema,
    /** The largest difference between a golden row and the answer. */
    golden_max_error: z.number().nonnegative(),
    /** Of batches of 500 rows, in milliseconds. */
    batch_p50_ms: z.number().nonnegative(),
    batch_p99_ms: z.number().nonnegative(),
    /** What it does with no rows, and with a row of nothing but NaN: a value, or what it said. */
    zero_rows: z.string(),
    nan_row: z.string(),
    rss_bytes: countSchema,
    took_ms: z.number().nonnegative(),
    at: timeSchema,
  })
  .meta({ id: 'ModelQualification' })
export type Qualification = z.infer<typeof qualificationSchema>

/** What its file says of itself. */
export const modelFactsSchema = z
  .object({
    ir_version: countSchema,
    producer: z.string(),
    opsets: z.record(z.string(), countSchema),
    nodes: countSchema,
    /** How often each operator occurs. */
    ops: z.record(z.string(), countSchema),
    initializer_bytes: countSchema,
    inputs: z.array(z.object({ name: z.string(), dtype: z.string(), width: countSchema.nullable() })),
    outputs: z.array(z.object({ name: z.string(), dtype: z.string(), width: countSchema.nullable() })),
  })
  .meta({ id: 'ModelFacts' })
export type ModelFacts = z.infer<typeof modelFactsSchema>

/** One line of the ledger: which version an alias has pointed to since when. Lines are only ever added. */
export const activationSchema = z
  .object({
    seq: countSchema,
    at: timeSchema,
    actor: z.string(),
    alias: z.string(),
    from_model_id: modelIdSchema.nullable(),
    to_model_id: modelIdSchema.nullable(),
    from_sha256: sha256Schema.nullable(),
    to_sha256: sha256Schema.nullable(),
    reason: z.string(),
    prev_hash: sha256Schema,
    /** Of this line and the one before it. */
    hash: sha256Schema,
  })
  .meta({ id: 'ModelActivation' })
export type ActivationView = z.infer<typeof activationSchema>

export const activationListSchema = z
  .object({
    items: z.array(activationSchema),
    next: z.string().nullable(),
    /** False when a line has been changed or taken out. */
    intact: z.boolean(),
  })
  .meta({ id: 'ModelActivations' })
export type Activations = z.infer<typeof activationListSchema>

export const modelDetailsSchema = modelViewSchema
  .extend({
    manifest: manifestSchema,
    facts: modelFactsSchema.nullable(),
    qualification: qualificationSchema.nullable(),
    /** The latest first, at most 50. */
    activations: z.array(activationSchema),
  })
  .meta({ id: 'ModelDetails' })
export type ModelDetails = z.infer<typeof modelDetailsSchema>

export const sessionIdSchema = z.uuid('a session id is a UUID')

const sessionStatuses = ['receiving', 'checking', 'uploaded', 'activated', 'refused', 'failed'] as const

/** One upload, as the operator's page shows it. */
export const uploadSessionSchema = z
  .object({
    session_id: sessionIdSchema,
    session_type: z.literal('models'),
    status: z.enum(sessionStatuses),
    is_live: z.boolean(),
    is_fallback: z.boolean(),
    file_count: countSchema,
    file_names: z.array(z.string()),
    bytes_received: countSchema,
    /** Null when the client has not said how much it sends. */
    bytes_total: countSchema.nullable(),
    percent_complete: z.number().min(0).max(100).nullable(),
    model_id: modelIdSchema.nullable(),
    name: z.string().nullable(),
    version: z.string().nullable(),
    sha256: sha256Schema.nullable(),
    /** Why it was refused or has failed. */
    code: z.string().nullable(),
    error: z.string().nullable(),
    created_by: z.string(),
    created_at: timeSchema,
    activated_at: timeSchema.nullable(),
  })
  .meta({ id: 'ModelUploadSession' })
export type UploadSession = z.infer<typeof uploadSessionSchema>
export type SessionStatus = UploadSession['status']

export const uploadSessionsSchema = z
  .object({
    live: uploadSessionSchema.nullable(),
    fallback: uploadSessionSchema.nullable(),
    /** Uploaded and checked, not activated yet; the latest. */
    pending: uploadSessionSchema.nullable(),
    /** These, what is being received, and what has gone wrong since; the latest first. */
    sessions: z.array(uploadSessionSchema),
  })
  .meta({ id: 'ModelUploadSessions' })
export type UploadSessions = z.infer<typeof uploadSessionsSchema>

/** `created` is false when exactly this was uploaded before. */
export const uploadResultSchema = modelViewSchema
  .extend({ session_id: sessionIdSchema, created: z.boolean(), warnings: z.array(z.string()) })
  .meta({ id: 'ModelUploadResult' })
export type UploadResult = z.infer<typeof uploadResultSchema>

export const activateModelRequestSchema = z
  .strictObject({
    /** The id, or the name when `version` says which one. */
    model_id: modelIdSchema,
    version: modelVersionSchema.optional(),
  })
  .meta({ id: 'ActivateModelRequest' })

export const activateSessionRequestSchema = z
  .strictObject({ sessionId: sessionIdSchema })
  .meta({ id: 'ActivateSessionRequest' })

export const activationResultSchema = z
  .object({
    status: z.enum(['activated', 'unchanged']),
    model_id: modelIdSchema,
    name: z.string(),
    version: z.string(),
    /** What it has replaced and what a fallback goes back to. */
    previous_model_id: modelIdSchema.nullable(),
    /** From the call to the moment from which on every prediction is the new one's. */
    took_ms: z.number().nonnegative(),
    /** Of the ledger; null when nothing has changed. */
    seq: countSchema.nullable(),
  })
  .meta({ id: 'ModelActivationResult' })
export type ActivationResult = z.infer<typeof activationResultSchema>

export const refreshRequestSchema = z.strictObject({}).meta({ id: 'ModelRefreshRequest' })

/** The active model was read again, checked and put in place of itself. */
export const refreshRunSchema = z
  .object({
    refresh_id: z.uuid(),
    trigger: z.enum(['manual', 'scheduled']),
    actor: z.string(),
    model_id: modelIdSchema.nullable(),
    status: z.enum(['in_progress', 'completed', 'failed']),
    detail: z.string(),
    started_at: timeSchema,
    ended_at: timeSchema.nullable(),
    took_ms: z.number().nonnegative().nullable(),
  })
  .meta({ id: 'ModelRefresh' })
export type RefreshRun = z.infer<typeof refreshRunSchema>

export const refreshHistorySchema = z
  .object({ items: z.array(refreshRunSchema), next: z.string().nullable() })
  .meta({ id: 'ModelRefreshHistory' })
