import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { enrolRequestSchema, enrolResponseSchema } from './enrolment.ts'
import { agentMessageSchema, coordinatorMessageSchema } from './link.ts'
import { priceSubmissionResultSchema, priceSubmissionSchema } from './market.ts'
import { primaryMessageSchema, replicaMessageSchema } from './replication-messages.ts'
import { PROTOCOL_VERSION } from './version.ts'
import { voterMessageSchema } from './voter-messages.ts'

/** What peers of this version understand. A change needs a new version, unless it only adds what may be missing. */
const known: Readonly<Record<number, string>> = {
  1: 'a73d72117ab299b4',
  2: '6ff74b906ec0f78d',
}

test('a change of the wire schemas is a change of the protocol version', () => {
  const schemas = [
    enrolRequestSchema,
    enrolResponseSchema,
    agentMessageSchema,
    coordinatorMessageSchema,
    replicaMessageSchema,
    primaryMessageSchema,
    voterMessageSchema,
    priceSubmissionSchema,
    priceSubmissionResultSchema,
  ]
  const text = schemas.map((schema) => JSON.stringify(z.toJSONSchema(schema, { io: 'input' }))).join('\n')
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16)
  expect(known[PROTOCOL_VERSION], `the schemas now hash to ${hash}`).toBe(hash)
})

test('a newer peer may send fields that this one does not know', () => {
  const message = { type: 'report-ack', id: 3, later: true }
  expect(coordinatorMessageSchema.parse(message)).toEqual({ type: 'report-ack', id: 3 })
})

test.each([
  { type: 'heartbeat' },
  { type: 'report', id: -1, body: { kind: 'fenced', epoch: 1 } },
  { type: 'report', id: 1, body: { kind: 'unheard-of' } },
  { type: 'hello', protocol: 1, instanceId: '../etc', boot: 'x' },
])('a malformed message is refused: %j', (message) => {
  expect(agentMessageSchema.safeParse(message).success).toBe(false)
})
