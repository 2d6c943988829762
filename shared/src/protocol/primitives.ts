import { z } from 'zod'
import {
  AGENT_ID_PATTERN,
  type AgentId,
  INSTANCE_ID_PATTERN,
  type IncidentId,
  type InstanceId,
  type ReplicaId,
} from '../core/ids.ts'
import type { Instant, Millis, Mono } from '../core/time.ts'
import { isPoolId } from '../market/pool.ts'
import { isZone } from '../market/zone.ts'

export const agentIdSchema = z
  .string()
  .regex(AGENT_ID_PATTERN, 'an agent id is 1 to 63 letters, digits, dots, dashes and underscores')
  .transform((value) => value as AgentId)

export const instanceIdSchema = z
  .string()
  .regex(INSTANCE_ID_PATTERN, 'an instance id looks like i-0123456789abcdef0')
  .transform((value) => value as InstanceId)

/** What decisions are made for: an instance, an agent, or a name in the Lab such as `i-lab-test-001`. */
export const targetIdSchema = z
  .string()
  .regex(AGENT_ID_PATTERN, 'an id is 1 to 63 letters, digits, dots, dashes and underscores')

export const replicaIdSchema = z.uuid('a replica id is a UUID').transform((value) => value as ReplicaId)

export const incidentIdSchema = z.uuid('an incident id is a UUID').transform((value) => value as IncidentId)

export const epochSchema = z.int().nonnegative()

/** A count of bytes, batches or files. */
export const countSchema = z.int().nonnegative()

export const millisSchema = z
  .number()
  .nonnegative()
  .transform((value) => value as Millis)

/** A reading of the sender's own monotonic clock. Only ever sent back to the same machine. */
export const monoSchema = z
  .number()
  .nonnegative()
  .transform((value) => value as Mono)

/** UTC milliseconds, from the sender's wall clock. */
export const instantSchema = z
  .int()
  .nonnegative()
  .transform((value) => value as Instant)

/** RFC 3339 in UTC, as every time in the HTTP API. */
export const timeSchema = z.iso.datetime({ offset: true })

export const poolIdSchema = z
  .string()
  .refine(isPoolId, 'a pool is an instance type in an availability zone, such as c5.large@ap-south-1a')

export const zoneSchema = z
  .string()
  .refine(isZone, 'an availability zone looks like us-east-1a or us-west-2-lax-1a')

/** Text that people wrote and other people will read. */
export const noteSchema = z.string().max(500)
