import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import { COORDINATOR } from '@understudy/shared/failover/certificate'
import { NO_EXTRAS } from '@understudy/shared/failover/voter'
import { beforeAll, expect, test } from 'vitest'
import { type TestIdentity, testIdentity } from '../identity/testing.ts'
import { WORKLOAD_KEY } from '../role/process-tree.ts'
import {
  afterwards,
  dial,
  electedPair,
  fakeCoordinator,
  longLease,
  pause,
  startVoter,
  TEST_POLICY,
  type TestVoter,
  until,
} from './testing.ts'

const A = instanceId('i-aaaa')
const B = instanceId('i-bbbb')
const C = instanceId('i-cccc')
let a: TestIdentity
let b: TestIdentity
let c: TestIdentity
beforeAll(async () => {
  ;[a, b, c] = await testIdentity(A, B, C)
})

const leaseLeft = ({ voter }: TestVoter): number =>
  voter.lease.kind === 'until' ? voter.lease.at - systemClock.mono() : Number.NaN

test('the first primary runs alone; with a successor it has leases from it and from the coordinator', async () => {
  const { primary, successor } = await electedPair([a, b])
  expect(primary.effects.map(({ kind }) => kind)).toEqual(['certified', 'elected', 'advanced'])
  expect(primary.leases[0]?.lease).toEqual({ kind: 'solo' })
  expect(primary.voter.leases.map(({ voter }) => voter).sort()).toEqual([COORDINATOR, B].sort())
  expect(leaseLeft(primary)).toBeLessThanOrEqual(TEST_POLICY.lease)
  expect(successor.voter.state.certificate?.digest).toBe(primary.voter.state.certificate?.digest)
  expect(primary.voter.state.keepers).toEqual([B])
  expect(statSync(primary.path).mode & 0o777).toBe(0o600)
})

test('while the coordinator is away the successor alone keeps the primary in office, and without it the lease ends', async () => {
  const { coordinator, primary, successor } = await electedPair([a, b], longLease(3000))
  await coordinator.stop()
  await until(() => !primary.voter.state.coordinator)
  const since = systemClock.mono()
  while (systemClock.mono() < since + 6000) {
    await pause(20)
    expect(leaseLeft(primary)).toBeGreaterThan(0)
  }
  await successor.voter.close()
  await until(() => leaseLeft(primary) < 0)
  expect(primary.voter.lease.kind).toBe('until')
})

test('leases go on while the main thread stands still', async () => {
  const { coordinator, primary } = await electedPair([a, b], longLease(3000))
  // It would stand still as well: it lives in this thread.
  coordinator.answers = false
  await until(() => primary.voter.leases.length === 2)
  const before = primary.leases.length
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4500)
  const woke = systemClock.mono()
  await until(() => leaseLeft(primary) > 0)
  await pause(50)
  expect(leaseLeft(primary)).toBeGreaterThan(0)
  const told = primary.leases.slice(before)
  expect(told.length).toBeGreaterThan(5)
  const ends = told.map(({ lease }) => (lease.kind === 'until' ? lease.at : Number.NaN))
  // Each renewal came before the end of the one before: at no moment was there no lease.
  ends.reduce((last, end) => {
    expect(end - last).toBeGreaterThan(0)
    expect(end - last).toBeLessThan(3000 * 0.98)
    return end
  })
  expect(ends.at(-1)).toBeGreaterThan(woke)
})

test('a release elects the successor from voter to voter, with the coordinator away', async () => {
  const { coordinator, primary, successor } = await electedPair([a, b], longLease(30_000))
  await coordinator.stop()
  const started = systemClock.mono()
  primary.voter.release(7, B, NO_EXTRAS)
  await until(() => successor.voter.state.standing === 'in-office')
  await until(() => successor.effects.some(({ kind }) => kind === 'elected'))
  expect(systemClock.mono() - started).toBeLessThan(15_000)
  const released = primary.effects.find(({ kind }) => kind === 'released')
  expect(released).toMatchObject({ turn: 7, ok: true, vote: { proposal: { primary: B, epoch: 3 } } })
  await until(() => primary.effects.some(({ kind }) => kind === 'deposed'))
  expect(primary.voter.lease).toEqual({ kind: 'none' })
  expect(leaseLeft(successor)).toBeGreaterThan(0)
  const certified = successor.effects.find(({ kind }) => kind === 'certified')
  expect(certified).toMatchObject({ certificate: { proposal: { primary: B, successor: A, term: 3 } } })
  // The former primary gives it leases over the connection that the new one had dialled.
  await until(() =>
    successor.voter.leases.some(({ voter, end }) => voter === A && end > systemClock.mono() + 300),
  )
})

test('a restarted primary is quiet, does not go on in its office, and asks the successor for another', async () => {
  const { coordinator, primary, successor } = await electedPair([a, b])
  await coordinator.stop()
  const { port, key } = primary.voter
  await primary.voter.close()
  const again = await startVoter(a, coordinator, { directory: primary.directory, greets: false })
  expect(again.voter.key).toBe(key)
  await until(() => again.voter.state.certificate !== undefined)
  expect(again.voter.state).toMatchObject({ standing: 'quiet', resigned: 2, voted: 2, coordinatorStart: 1 })
  expect(again.voter.lease).toEqual({ kind: 'none' })
  expect(again.voter.port).not.toBe(port)
  dial(successor, again, 2)
  await until(() => again.effects.some(({ kind }) => kind === 'elected'))
  const { certificate } = again.voter.state
  expect(certificate?.proposal).toMatchObject({ primary: A, successor: B, forced: false })
  expect(certificate?.proposal.term).toBe(certificate?.proposal.epoch)
  expect(certificate?.votes.map(({ voter }) => voter).sort()).toEqual([A, B])
})

test('a file that is damaged, or of another instance, is refused', async () => {
  const coordinator = await fakeCoordinator()
  const first = await startVoter(a, coordinator)
  await first.voter.close()
  await expect(startVoter(b, coordinator, { directory: first.directory })).rejects.toMatchObject({
    code: 'state_unreadable',
    message: expect.stringContaining(`belongs to ${A}`),
  })
  const whole = readFileSync(first.path, 'utf8')
  for (const text of [
    whole.replace('"coordinatorStart":1', '"coordinatorStart":0'),
    whole.trimEnd().slice(0, -40),
    '{}',
    '',
  ])
    await expect(
      Promise.resolve(writeFileSync(first.path, text)).then(() =>
        startVoter(a, coordinator, { directory: first.directory }),
      ),
    ).rejects.toMatchObject({ code: 'state_unreadable', hint: expect.stringContaining('enrol again') })
})

test('a resignation is on disk when it is answered, and ends the office', async () => {
  const { primary } = await electedPair([a, b])
  await primary.voter.resign(2)
  expect(JSON.parse(readFileSync(primary.path, 'utf8')).state.record.resigned).toBe(2)
  await until(() => primary.voter.lease.kind === 'none')
  expect(primary.voter.state.standing).toBe('resigned')
})

test('a thread that cannot write down what it decides ends, and the next one has no office', async () => {
  const { primary } = await electedPair([a, b])
  // In the way of the file that is written next.
  rmSync(`${primary.path}.next`)
  mkdirSync(`${primary.path}.next`)
  const resigned = primary.voter.resign(2)
  await until(() => primary.voter.lease.kind === 'none')
  expect(primary.voter.degraded.map(({ code }) => code)).toContain('voter_restarting')
  rmdirSync(`${primary.path}.next`)
  await resigned
  await until(() => primary.voter.degraded.every(({ code }) => code !== 'voter_restarting'))
  expect(primary.voter.state.standing).not.toBe('in-office')
  expect(primary.failed).toEqual([])
})

test('the guard kills the workload when nobody renews the lease', async () => {
  const { coordinator, primary, successor } = await electedPair([a, b], longLease(3000))
  const workload = spawn('sleep', ['300'], {
    env: { PATH: process.env.PATH, [WORKLOAD_KEY]: primary.workloadKey },
    stdio: 'ignore',
  })
  afterwards(() => void workload.kill('SIGKILL'))
  const ended = once(workload, 'exit')
  await primary.voter.expose(true)
  await pause(4500)
  expect(workload.exitCode).toBeNull()
  expect(workload.signalCode).toBeNull()
  await coordinator.stop()
  await successor.voter.close()
  const end = primary.voter.lease
  await ended
  expect(end.kind === 'until' && systemClock.mono() < end.at + 20_000).toBe(true)
  await until(() => primary.killed.length > 0)
})

test('votes for another successor only when that one has what was acknowledged', async () => {
  const { coordinator, primary } = await electedPair([a, b])
  const third = await startVoter(c, coordinator)
  const asked: string[] = []
  primary.prepare = async (target) => {
    asked.push(target)
    expect(primary.voter.state.keepers).toEqual([B, C])
    return asked.length > 2
  }
  await coordinator.nominate(third)
  expect(asked).toEqual([C, C, C])
  await until(() => primary.voter.state.keepers.join() === C)
})

test('what strangers send, and what is not signed by who it should be, has no effect but one line', async () => {
  const { coordinator, primary, successor } = await electedPair([a, b])
  const certificate = primary.voter.state.certificate
  if (!certificate) throw new Error('no certificate')
  const forged = { ...certificate, proposal: { ...certificate.proposal, epoch: 9, term: 9, primary: B } }
  for (let times = 0; times < 3; times += 1) {
    coordinator.tellRaw(A, 'nonsense')
    coordinator.tellRaw(A, '{"kind":"certificate"}')
    coordinator.tell(A, { kind: 'certificate', certificate: forged })
  }
  await until(() => primary.lines.filter((line) => line.includes('voter.message_dropped')).length === 2)
  await pause(100)
  expect(primary.lines.filter((line) => line.includes('voter.message_dropped'))).toHaveLength(2)
  expect(primary.voter.state.standing).toBe('in-office')
  // A third instance of the agent that nobody has named is not let in; nor is one of another agent.
  const stranger = await startVoter(c, coordinator)
  dial(stranger, primary)
  await until(() =>
    stranger.lines.some((line) => line.includes('voter.peer_unreachable') && line.includes('403')),
  )
  expect(primary.voter.state.peers).toEqual([B])
  expect(successor.voter.state.peers).toEqual([A])
})
