import { z } from 'zod'
import { COORDINATOR, type VoterId } from '../failover/certificate.ts'
import {
  agentIdSchema,
  countSchema,
  epochSchema,
  incidentIdSchema,
  instanceIdSchema,
  millisSchema,
  monoSchema,
} from './primitives.ts'

/**
 * What voters say to each other (shared/src/failover/voter-types.ts): JSON text frames on sockets of their own, one
 * from every instance to the coordinator (`/api/agents/{id}/voter`) and one from every replica to its primary, over
 * mutual TLS. Nothing is repeated or acknowledged here: every sender says again what still matters.
 */

/** Raw Ed25519 public key in base64url: 32 bytes. */
export const voterKeySchema = z.base64url().length(43)
/** Ed25519 signature in base64: 64 bytes. */
const signatureSchema = z.base64().length(88)
const digestSchema = z.string().regex(/^[0-9a-f]{64}$/)
const voterIdSchema: z.ZodType<VoterId, string> = z.union([z.literal(COORDINATOR), instanceIdSchema])

export const proposalSchema = z.object({
  agent: agentIdSchema,
  epoch: epochSchema,
  previous: z.object({ epoch: epochSchema, digest: z.union([digestSchema, z.literal('')]) }),
  primary: instanceIdSchema,
  successor: instanceIdSchema.nullable(),
  term: epochSchema,
  forced: z.boolean(),
  keys: z
    .record(z.string().regex(/^(coordinator|i-[0-9a-z]{3,32})$/), voterKeySchema)
    .refine((keys) => Object.keys(keys).length <= 3, 'at most three vote'),
})

const voteSchema = z.object({ voter: voterIdSchema, signature: signatureSchema })

export const castVoteSchema = voteSchema.extend({
  echo: monoSchema.nullable(),
  promise: millisSchema.optional(),
})

export const certificateSchema = z.object({
  proposal: proposalSchema,
  digest: digestSchema,
  votes: z.array(voteSchema).min(1).max(3),
})

/** What the successor does not have, because of the deadline or because it could not be read. */
export const leftSchema = z.object({ bytes: countSchema, names: countSchema })

export const electionExtrasSchema = z.object({
  incident: incidentIdSchema.nullable(),
  fresh: z.boolean(),
  planned: z.boolean().optional(),
  left: leftSchema.optional(),
})

export const voterMessageSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('beat'),
    epoch: epochSchema,
    sentAt: monoSchema,
    hears: z.boolean(),
    office: z.boolean(),
  }),
  z.object({
    kind: z.literal('ack'),
    epoch: epochSchema,
    sentAt: monoSchema,
    at: monoSchema,
    promise: millisSchema,
  }),
  z.object({ kind: z.literal('behind'), voted: countSchema, certificate: certificateSchema.nullable() }),
  z.object({ kind: z.literal('certificate'), certificate: certificateSchema }),
  z.object({
    kind: z.literal('votes'),
    proposal: proposalSchema,
    base: certificateSchema.nullable(),
    votes: z.array(castVoteSchema).min(1).max(3),
    gone: z.array(instanceIdSchema).max(3),
    extras: electionExtrasSchema,
  }),
  z.object({
    kind: z.literal('ask'),
    proposal: proposalSchema,
    base: certificateSchema.nullable(),
    gone: z.array(instanceIdSchema).max(3),
    sentAt: monoSchema.nullable(),
  }),
  z.object({ kind: z.literal('vote'), proposal: proposalSchema, vote: castVoteSchema }),
  z.object({
    kind: z.literal('declined'),
    epoch: epochSchema,
    voted: epochSchema,
    why: z.string().max(500),
  }),
])
