import { z } from 'zod'
import { agentIdSchema, instanceIdSchema, timeSchema } from './primitives.ts'

/** The signed instance identity document, as the metadata service gives it: exact text and base64 signature. */
const identitySchema = z.strictObject({
  document: z.string().min(2).max(8192),
  signature: z.string().min(16).max(4096),
})

export const enrolRequestSchema = z
  .strictObject({
    join_token: z.string().min(16).max(200),
    identity: identitySchema,
    /** `spot` or `on-demand`, from the metadata service. */
    life_cycle: z.string().max(40).optional(),
    /** Number of state directories; both ends of a stream must have the same. */
    state_directories: z.int().min(1).max(64),
    /** What the instance's own configuration says; taken when the agent is new. */
    settings: z
      .strictObject({
        auto_replica_enabled: z.boolean(),
        manual_replica_enabled: z.boolean(),
        rebalance_threshold: z.number().min(0).max(1),
      })
      .optional(),
    agent_version: z.string().max(60),
    protocol: z.int().positive(),
  })
  .meta({ id: 'EnrolRequest' })
export type EnrolRequest = z.infer<typeof enrolRequestSchema>

export const enrolResponseSchema = z
  .object({
    agent_id: agentIdSchema,
    instance_id: instanceIdSchema,
    role: z.enum(['primary', 'replica']),
    replica_id: z.uuid().nullable(),
    /** For the link and nothing else; shown once. */
    credential: z.string(),
    credential_expires_at: timeSchema,
  })
  .meta({ id: 'EnrolResponse' })
export type EnrolResponse = z.infer<typeof enrolResponseSchema>
