import { agentId, instanceId } from '@understudy/shared/core/ids'
import { millis, mono } from '@understudy/shared/core/time'
import { type Certificate, COORDINATOR, type Proposal } from '@understudy/shared/failover/certificate'
import type { VoterMessage } from '@understudy/shared/failover/voter-types'
import { voterMessageSchema } from '@understudy/shared/protocol/voter-messages'
import { expect, test } from 'vitest'
import { readVoterMessage } from './plain-messages.ts'

const A = instanceId('i-aaaa')
const B = instanceId('i-bbbb')
const signature = `${'A'.repeat(86)}==`
const proposal: Proposal = {
  agent: agentId('one'),
  epoch: 3,
  previous: { epoch: 2, digest: 'a'.repeat(64) },
  primary: A,
  successor: B,
  term: 3,
  forced: false,
  keys: { [A]: 'k'.repeat(43), [B]: 'l'.repeat(43), [COORDINATOR]: 'm'.repeat(43) },
}
const base: Certificate = {
  proposal: { ...proposal, epoch: 2, successor: null, previous: { epoch: 0, digest: '' } },
  digest: 'b'.repeat(64),
  votes: [{ voter: COORDINATOR, signature }],
}
const vote = { voter: B, signature, echo: mono(1.5) } as const
const messages: readonly VoterMessage[] = [
  { kind: 'beat', epoch: 3, sentAt: mono(12.25), hears: true, office: false },
  { kind: 'ack', epoch: 3, sentAt: mono(12), at: mono(0), promise: millis(1000) },
  { kind: 'behind', voted: 3, certificate: base },
  { kind: 'behind', voted: 0, certificate: null },
  { kind: 'certificate', certificate: base },
  {
    kind: 'votes',
    proposal,
    base,
    votes: [vote, { ...vote, echo: null, promise: millis(1000) }],
    gone: [A],
    extras: { incident: null, fresh: false },
  },
  {
    kind: 'votes',
    proposal,
    base: null,
    votes: [vote],
    gone: [],
    extras: {
      incident: '3c388b3e-cbb7-4a2e-b856-e54666835eb9' as never,
      fresh: true,
      planned: false,
      left: { bytes: 4096, names: 1 },
    },
  },
  { kind: 'ask', proposal, base: null, gone: [], sentAt: mono(3) },
  { kind: 'vote', proposal, vote },
  { kind: 'declined', epoch: 3, voted: 4, why: 'it has voted' },
]

/** What may stand in the place of anything. */
const others: readonly unknown[] = [
  undefined,
  null,
  true,
  '',
  'x',
  '0',
  -1,
  0,
  1.5,
  1e308,
  2 ** 53,
  [],
  {},
  [null],
  'i-a',
  'coordinator',
  'i-0123456789abcdef0',
  'a'.repeat(63),
  'f'.repeat(64),
  'k'.repeat(43),
  `${'+'.repeat(86)}==`,
  '../../etc',
  'i-aaaa\n',
  'x'.repeat(501),
  Array.from({ length: 4 }, () => A),
  { 'i-aaaa': 'k'.repeat(43), x: 'k'.repeat(43) },
]

/** Each message with each part in it replaced by each of the others. */
function* changed(value: unknown): Generator<unknown> {
  yield* others
  if (typeof value !== 'object' || value === null) return
  for (const key of Object.keys(value))
    for (const part of changed((value as Record<string, unknown>)[key])) {
      const copy = structuredClone(value) as Record<string, unknown>
      if (part === undefined) delete copy[key]
      else copy[key] = part
      yield copy
    }
}

test('is as strict as the schema, and reads the same', () => {
  let refused = 0
  let taken = 0
  for (const message of messages) {
    expect(readVoterMessage(JSON.parse(JSON.stringify(message)))).toEqual(message)
    expect(voterMessageSchema.parse(message)).toEqual(message)
    for (const other of changed(message)) {
      // As it comes from the socket.
      const value: unknown = other === undefined ? undefined : JSON.parse(JSON.stringify(other))
      const expected = voterMessageSchema.safeParse(value).data
      const read = readVoterMessage(value)
      if (expected) taken += 1
      else refused += 1
      if (JSON.stringify(read) !== JSON.stringify(expected))
        expect(read, JSON.stringify(value)).toEqual(expected)
    }
  }
  expect(taken).toBeGreaterThan(200)
  expect(refused).toBeGreaterThan(4000)
})

test('fields that are not known are dropped', () => {
  const read = readVoterMessage({ ...messages[0], later: 1 })
  expect(read).toEqual(messages[0])
})
