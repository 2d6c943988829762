import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { mono } from '@understudy/shared/core/time'
import { COORDINATOR, firstProposal, succession, type VoterId } from '@understudy/shared/failover/certificate'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import type { VoterMessage } from '@understudy/shared/failover/voter-types'
import { newVoterKey, signProposal } from '@understudy/shared/protocol/vote-signing'
import { certify } from '@understudy/shared/testkit/signers'
import { expect, test } from 'vitest'
import { scratch } from './testing.ts'
import type { Note } from './thread-messages.ts'
import { createVoterLoop } from './voter-loop.ts'
import { openVoterFile } from './voter-record.ts'

const AGENT = agentId('one')
const A = instanceId('i-aaaa')
const B = instanceId('i-bbbb')

/** A primary with leases, whose clocks a test moves. */
function inOffice() {
  const [coordinator, other] = [newVoterKey(), newVoterKey()]
  const file = openVoterFile(join(scratch(), 'voter.json'), A)
  file.save({ coordinatorKey: coordinator.publicKey })
  let now = 1000
  let boot = 50_000
  const notes: Note[] = []
  const armed: number[] = []
  const loop = createVoterLoop({ agent: AGENT, self: A }, file, {
    now: () => mono(now),
    boot: () => mono(boot),
    send: () => undefined,
    broadcast: () => undefined,
    tell: (note) => void notes.push(note),
    guard: {
      arm: (left) => void armed.push(left),
      solo: () => undefined,
      disarm: () => undefined,
      degraded: undefined,
    },
    peers: () => new Set([B]),
    coordinatorLostAt: () => undefined,
  })
  const hear = (from: VoterId, message: VoterMessage) => loop.receive(from, JSON.stringify(message))
  const proposal = firstProposal(AGENT, 1, A, {
    [A]: file.key.publicKey,
    [COORDINATOR]: coordinator.publicKey,
  })
  const vote = { voter: COORDINATOR, signature: signProposal(coordinator, proposal), echo: null } as const
  const extras = { incident: null, fresh: false }
  hear(COORDINATOR, { kind: 'votes', proposal, base: null, votes: [vote], gone: [], extras })
  const next = succession(certify(proposal, { [COORDINATOR]: coordinator }), 2, {
    instance: B,
    key: other.publicKey,
  })
  hear(COORDINATOR, {
    kind: 'certificate',
    certificate: certify(next, { [A]: file.key, [COORDINATOR]: coordinator }),
  })
  const ack = (): VoterMessage => ({
    kind: 'ack',
    epoch: 2,
    sentAt: mono(now),
    at: mono(now),
    promise: defaultLeasePolicy.lease,
  })
  hear(COORDINATOR, ack())
  return {
    loop,
    hear,
    ack,
    armed,
    get lease() {
      return notes.findLast((note) => note.kind === 'lease')?.lease
    },
    doubts: () => notes.filter((note) => note.kind === 'log' && note.line.event === 'voter.tilt').length,
    pass(elapsed: number, suspended = 0) {
      now += elapsed
      boot += elapsed + suspended
    },
  }
}

test('a message that comes before the timer after a suspension finds no lease, and gives none', () => {
  const voter = inOffice()
  expect(voter.lease).toMatchObject({ kind: 'until' })
  voter.pass(20)
  voter.hear(COORDINATOR, voter.ack())
  expect([voter.doubts(), voter.lease?.kind]).toEqual([0, 'until'])
  const before = voter.ack()
  voter.pass(10, 5000)
  voter.hear(COORDINATOR, before)
  expect([voter.doubts(), voter.lease?.kind]).toEqual([1, 'none'])
})

test('so does a command: what it exposes is not guarded by a lease from before', () => {
  const voter = inOffice()
  voter.pass(20)
  voter.loop.command({ kind: 'expose', exposed: true, call: 1 })
  expect(voter.armed.at(-1)).toBeGreaterThan(0)
  voter.pass(10, 5000)
  voter.loop.command({ kind: 'expose', exposed: true, call: 2 })
  expect(voter.armed.at(-1)).toBe(0)
  expect(voter.doubts()).toBe(1)
})

test('short suspensions between messages add up, from one pulse to the next', () => {
  const voter = inOffice()
  voter.loop.pulse()
  for (const count of [0, 0, 1]) {
    voter.pass(10, 90)
    voter.hear(COORDINATOR, voter.ack())
    expect(voter.doubts()).toBe(count)
  }
  voter.pass(10, 90)
  voter.hear(COORDINATOR, voter.ack())
  expect(voter.doubts()).toBe(1)
})
