import { z } from 'zod'
import { incidentStepSchema, lossSchema } from './incidents.ts'
import { replicaIdSchema, timeSchema } from './primitives.ts'

export const drillRequestSchema = z
  .strictObject({
    /** Who takes over; the successor by default, or the replica that is least behind. */
    replica_id: replicaIdSchema.optional(),
    /** Move back once the old primary is ready again. */
    switch_back: z.boolean().optional(),
  })
  .meta({ id: 'DrillRequest' })
export type DrillRequest = z.infer<typeof drillRequestSchema>

/** One of the moves of a drill, as its incident says. */
export const drillMoveSchema = z
  .object({
    direction: z.enum(['out', 'back']),
    incident_id: z.uuid(),
    from_instance_id: z.string(),
    to_instance_id: z.string(),
    outcome: z.enum(['running', 'promoted', 'relaunched', 'failed', 'no-action']),
    outcome_reason: z.string(),
    detect_to_promoted_ms: z.number().nullable(),
    no_primary_ms: z.number().nullable(),
    /** What the replica lacked when it began. */
    bytes_behind: z.int().nullable(),
    loss: lossSchema.nullable(),
    /** What the health hook of the new primary said; null when it was not asked. */
    health: z.object({ ok: z.boolean(), said: z.string(), took_ms: z.number().nullable() }).nullable(),
    steps: z.array(incidentStepSchema),
  })
  .meta({ id: 'DrillMove' })
export type DrillMove = z.infer<typeof drillMoveSchema>

const spreadSchema = z
  .object({ median: z.number(), worst: z.number() })
  .nullable()
  .describe('Milliseconds; null where nothing was measured')

/** The last moves of one kind of this agent. */
export const drillFiguresSchema = z
  .object({
    count: z.int(),
    failed: z.int(),
    last_at: timeSchema.nullable(),
    detect_to_promoted_ms: spreadSchema,
    no_primary_ms: spreadSchema,
  })
  .meta({ id: 'DrillFigures' })
export type DrillFigures = z.infer<typeof drillFiguresSchema>

export const drillViewSchema = z
  .object({
    id: z.uuid(),
    agent_id: z.string(),
    agent_name: z.string(),
    status: z.enum(['moving', 'moving-back', 'done', 'failed']),
    /** How it stands or ended, in one sentence. */
    reason: z.string(),
    requested_by: z.string(),
    switch_back: z.boolean(),
    started_at: timeSchema,
    ended_at: timeSchema.nullable(),
    moves: z.array(drillMoveSchema),
    /** Of this agent, before this drill: rehearsals and what really happened, apart. */
    before: z.object({ drills: drillFiguresSchema, incidents: drillFiguresSchema }),
    /** The first move against those, in one sentence. */
    comparison: z.string(),
  })
  .meta({ id: 'Drill' })
export type DrillView = z.infer<typeof drillViewSchema>
