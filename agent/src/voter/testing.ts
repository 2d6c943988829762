import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { InstanceId } from '@understudy/shared/core/ids'
import { type Mono, millis, systemClock } from '@understudy/shared/core/time'
import {
  type Certificate,
  COORDINATOR,
  firstProposal,
  succession,
} from '@understudy/shared/failover/certificate'
import type { LeasePolicy } from '@understudy/shared/failover/lease'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { NO_EXTRAS } from '@understudy/shared/failover/voter'
import type { Lease, VoterMessage } from '@understudy/shared/failover/voter-types'
import {
  newVoterKey,
  proposalDigest,
  signProposal,
  type VoterKey,
} from '@understudy/shared/protocol/vote-signing'
import { voterMessageSchema } from '@understudy/shared/protocol/voter-messages'
import { certify } from '@understudy/shared/testkit/signers'
import { pino } from 'pino'
import { afterEach } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import type { PeerIdentity } from '../identity/identity.ts'
import { TEST_AGENT } from '../identity/testing.ts'
import { openVoter, type RoleEffect, type Voter } from './voter.ts'

/** Voters in their threads, and a coordinator that does what a test says. */

const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})
export const afterwards = (close: () => Promise<void> | void): void => void closing.push(close)

/** Fast, so that tests are; a lease outlasts what a process may have to wait for its turn on a busy machine. */
export const TEST_POLICY: LeasePolicy = {
  heartbeat: millis(80),
  lease: millis(1500),
  drift: 0.01,
  fenceBudget: millis(160),
}

/** For what is measured against the length of a lease. */
export const longLease = (lease: number): LeasePolicy => ({ ...TEST_POLICY, lease: millis(lease) })

/** Longer than anything takes where many tests share two processors; what hangs ends here. */
const PATIENCE = 30_000

export interface FakeCoordinator {
  readonly url: string
  readonly key: VoterKey
  /** Whether it answers heartbeats of the primary. */
  answers: boolean
  certificate: Certificate | undefined
  /** Everything that came, the newest last. */
  readonly received: { readonly from: InstanceId; readonly message: VoterMessage }[]
  readonly connected: ReadonlySet<InstanceId>
  tell(to: InstanceId, message: VoterMessage): void
  tellRaw(to: InstanceId, text: string): void
  /** Makes this one the first primary. */
  elect(voter: TestVoter): Promise<void>
  /** Makes this one the successor of the primary. */
  nominate(voter: TestVoter): Promise<void>
  stop(): Promise<void>
}

/** Credentials are the names of the instances. */
export async function fakeCoordinator(): Promise<FakeCoordinator> {
  const key = newVoterKey()
  const sockets = new Map<InstanceId, WebSocket>()
  const received: FakeCoordinator['received'] = []
  const server = createServer()
  const incoming = new WebSocketServer({ server })
  incoming.on('connection', (socket, request) => {
    const from = request.headers.authorization?.slice('Bearer '.length) as InstanceId
    sockets.set(from, socket)
    socket.on('close', () => sockets.delete(from))
    socket.on('message', (data: Buffer) => {
      const message = voterMessageSchema.parse(JSON.parse(data.toString('utf8')))
      received.push({ from, message })
      if (message.kind !== 'beat' || !fake.answers || fake.certificate?.proposal.primary !== from) return
      const at = systemClock.mono()
      const { epoch, sentAt } = message
      fake.tell(from, { kind: 'ack', epoch, sentAt, at, promise: defaultLeasePolicy.lease })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

  const fake: FakeCoordinator = {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/api/agents/x/voter`,
    key,
    answers: true,
    certificate: undefined,
    received,
    get connected() {
      return new Set(sockets.keys())
    },
    tell: (to, message) => fake.tellRaw(to, JSON.stringify(message)),
    tellRaw: (to, text) => sockets.get(to)?.send(text),
    async elect({ self, voter }) {
      const proposal = firstProposal(TEST_AGENT, 1, self, {
        [self]: voter.key,
        [COORDINATOR]: key.publicKey,
      })
      const vote = { voter: COORDINATOR, signature: signProposal(key, proposal), echo: null } as const
      fake.certificate = certify(proposal, { [COORDINATOR]: key })
      await until(() => sockets.has(self))
      fake.tell(self, {
        kind: 'votes',
        proposal,
        base: null,
        votes: [vote],
        gone: [],
        extras: NO_EXTRAS,
      })
      await until(() => voter.state.standing === 'in-office')
    },
    async nominate({ self, voter }) {
      const base = fake.certificate
      if (!base) throw new Error('there is no primary yet')
      const { primary } = base.proposal
      const proposal = succession(base, base.proposal.epoch + 1, { instance: self, key: voter.key })
      await until(() => received.some(({ from, message }) => from === primary && message.kind === 'beat'))
      const answer = () =>
        received.findLast(
          ({ message }) => message.kind === 'vote' && message.proposal.epoch === proposal.epoch,
        )
      while (!answer()) {
        fake.tell(primary, { kind: 'ask', proposal, base, gone: [], sentAt: null })
        await pause(50)
      }
      const given = answer()?.message
      if (given?.kind !== 'vote') throw new Error('no vote')
      const { voter: by, signature } = given.vote
      const certificate: Certificate = {
        proposal,
        digest: proposalDigest(proposal),
        votes: [
          { voter: by, signature },
          { voter: COORDINATOR, signature: signProposal(key, proposal) },
        ],
      }
      fake.certificate = certificate
      for (const to of [primary, self]) fake.tell(to, { kind: 'certificate', certificate })
      await until(() => voter.state.standing === 'successor')
    },
    async stop() {
      for (const socket of incoming.clients) socket.terminate()
      incoming.close()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
  afterwards(() => fake.stop())
  return fake
}

export interface TestVoter {
  readonly self: InstanceId
  readonly voter: Voter
  readonly directory: string
  readonly path: string
  readonly effects: RoleEffect[]
  /** Every lease that was told, and when. */
  readonly leases: { readonly lease: Lease; readonly at: Mono }[]
  readonly killed: number[]
  readonly failed: Error[]
  readonly lines: string[]
  readonly workloadKey: string
  prepare: (target: InstanceId) => Promise<boolean>
}

let count = 0

export async function startVoter(
  identity: PeerIdentity,
  coordinator: Pick<FakeCoordinator, 'url' | 'key'>,
  {
    directory = scratch(),
    greets = true,
    policy = TEST_POLICY,
  }: { directory?: string; greets?: boolean; policy?: LeasePolicy } = {},
): Promise<TestVoter> {
  const { instance } = identity.self
  count += 1
  const lines: string[] = []
  const workloadKey = `test-of-voters/${instance}/${process.pid}/${count}`
  const path = join(directory, 'voter.json')
  const voter = await openVoter({
    agent: TEST_AGENT,
    self: instance,
    path,
    url: coordinator.url,
    credential: instance,
    identity,
    host: '127.0.0.1',
    port: 0,
    workloadKey,
    clock: systemClock,
    random: Math.random,
    log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }),
  })
  const test: TestVoter = {
    self: instance,
    voter,
    directory,
    path,
    effects: [],
    leases: [],
    killed: [],
    failed: [],
    lines,
    workloadKey,
    prepare: async () => true,
  }
  voter.on({
    onEffect: (effect) => void test.effects.push(effect),
    onLease: (lease) => void test.leases.push({ lease, at: systemClock.mono() }),
    onPrepare: (target) => test.prepare(target),
    onKilled: (processes) => void test.killed.push(processes),
    onFailed: (error) => void test.failed.push(error),
  })
  afterwards(() => voter.close())
  if (greets)
    voter.greeted({
      policy,
      key: coordinator.key.publicKey,
      coordinatorStart: 1,
      coordinatorStartProof: 'p',
    })
  return test
}

/** A primary with its successor, both with a coordinator. */
export async function electedPair(identities: readonly [PeerIdentity, PeerIdentity], policy = TEST_POLICY) {
  const coordinator = await fakeCoordinator()
  const primary = await startVoter(identities[0], coordinator, { policy })
  const successor = await startVoter(identities[1], coordinator, { policy })
  await coordinator.elect(primary)
  primary.voter.allowPeers([successor.self])
  dial(successor, primary)
  await until(() => primary.voter.state.peers.includes(successor.self))
  await coordinator.nominate(successor)
  await until(() => primary.effects.some(({ kind }) => kind === 'advanced'))
  await until(() => primary.voter.lease.kind === 'until' && primary.voter.leases.length === 2)
  return { coordinator, primary, successor }
}

export const dial = (from: TestVoter, to: TestVoter, epoch = 1): void =>
  from.voter.dial({ instanceId: to.self, host: '127.0.0.1', voterPort: to.voter.port, epoch })

export function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-voter-'))
  afterwards(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export async function until(condition: () => boolean): Promise<void> {
  const end = systemClock.mono() + PATIENCE
  while (!condition()) {
    if (systemClock.mono() > end) throw new Error(`it did not become so: ${condition}`)
    await pause(5)
  }
}
