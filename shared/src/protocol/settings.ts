import { z } from 'zod'
import { timeSchema } from './primitives.ts'

/** One setting of the coordinator as it is in force, and where it comes from. */
export const settingViewSchema = z
  .object({
    /** As in the file. */
    name: z.string(),
    /** As text; null where nothing is set, and for every secret. */
    value: z.string().nullable(),
    origin: z.enum(['default', 'file', 'environment', 'flag']),
    /** Its value is not shown. */
    secret: z.boolean(),
    /** Whether there is a value, secrets included. */
    is_set: z.boolean(),
    /** What it is for, in one sentence. */
    doc: z.string(),
    /** The variable that sets it; null where none does. */
    env: z.string().nullable(),
  })
  .meta({ id: 'Setting' })
export type SettingView = z.infer<typeof settingViewSchema>

/** One line of the audit log: who changed what, from what to what. */
export const auditEntrySchema = z
  .object({
    id: z.int(),
    at: timeSchema,
    actor: z.string(),
    action: z.string(),
    object: z.string(),
    before: z.unknown(),
    after: z.unknown(),
  })
  .meta({ id: 'AuditEntry' })
export type AuditEntry = z.infer<typeof auditEntrySchema>
