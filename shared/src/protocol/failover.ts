import { z } from 'zod'
import { agentViewSchema, replicaViewSchema } from './agents.ts'
import { incidentViewSchema } from './incidents.ts'
import { instanceIdSchema, noteSchema, replicaIdSchema, timeSchema } from './primitives.ts'
import { poolChoiceSchema } from './replicas.ts'

export const terminationImminentRequestSchema = z
  .strictObject({
    instance_id: instanceIdSchema,
    termination_time: timeSchema,
    replica_id: replicaIdSchema.nullish(),
  })
  .meta({ id: 'TerminationImminentRequest' })
export type TerminationImminentRequest = z.infer<typeof terminationImminentRequestSchema>

/** The answer to everything that moves an agent. */
export const failoverResponseSchema = z
  .object({
    incident: incidentViewSchema,
    /** The primary after the move, or the one that runs on; null while that is open. */
    new_primary: z.object({ instance_id: z.string(), pool_id: z.string(), epoch: z.int() }).nullable(),
    agent: agentViewSchema,
  })
  .meta({ id: 'FailoverResponse' })
export type FailoverResponse = z.infer<typeof failoverResponseSchema>

/** An operator's word that an instance has ended, where the cloud cannot be asked. */
export const instanceGoneRequestSchema = z
  .strictObject({
    /** Whoever says so has seen in EC2 that the instance is terminated: nothing else keeps it from running on. */
    confirmed: z.literal(true, 'confirm that the instance is terminated in EC2'),
  })
  .meta({ id: 'InstanceGoneRequest' })

export const instanceGoneResponseSchema = z
  .object({
    instance_id: z.string(),
    /** The incident that replaces it; null for a standby, and when that is over. */
    incident_id: z.uuid().nullable(),
    agent: agentViewSchema,
  })
  .meta({ id: 'InstanceGoneResponse' })
export type InstanceGoneResponse = z.infer<typeof instanceGoneResponseSchema>

export const rebalanceRequestSchema = z
  .strictObject({
    instance_id: instanceIdSchema,
    /** When AWS emitted it. */
    notice_time: timeSchema.optional(),
  })
  .meta({ id: 'RebalanceRequest' })
export type RebalanceRequest = z.infer<typeof rebalanceRequestSchema>

export const rebalanceResponseSchema = z
  .object({
    incident_id: z.uuid(),
    interruption_probability: z.number().min(0).max(1),
    /** How the probability was reached. */
    because: z.string(),
    threshold: z.number().min(0).max(1),
    action: z.enum(['created-emergency-replica', 'replica-exists', 'none']),
    reason: z.string(),
    replica: replicaViewSchema.nullable(),
  })
  .meta({ id: 'RebalanceResponse' })
export type RebalanceResponse = z.infer<typeof rebalanceResponseSchema>

export const emergencyReplicaRequestSchema = z
  .strictObject({
    instance_id: instanceIdSchema.optional(),
    signal_type: z.enum(['rebalance-recommendation', 'termination-notice']).optional(),
    reason: noteSchema.optional(),
  })
  .meta({ id: 'EmergencyReplicaRequest' })
export type EmergencyReplicaRequest = z.infer<typeof emergencyReplicaRequestSchema>

export const emergencyReplicaResponseSchema = z
  .object({
    replica: replicaViewSchema,
    replica_id: z.uuid(),
    /** False when one was on its way already. */
    created: z.boolean(),
    choice: z.array(poolChoiceSchema),
  })
  .meta({ id: 'EmergencyReplicaResponse' })
export type EmergencyReplicaResponse = z.infer<typeof emergencyReplicaResponseSchema>
