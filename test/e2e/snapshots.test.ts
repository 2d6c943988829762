import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { isServing, primaryOf, untilAgent } from '../../coordinator/src/demo/rig.ts'
import { seconds } from '../../shared/src/core/time.ts'
import { type Fleet, startFleet } from './support/fleet.ts'
import { agentProgram, endAll, run, until } from './support/programs.ts'

/** An agent without a replica, whose snapshots are all that is left when its instance is lost. */

/** A loss without a word shows in the API after this long, and not only after ten seconds. */
const LOST_SOON = { cloud: { describeLag: seconds(2) } }

const base = mkdtempSync(join(tmpdir(), 'understudy-snapshots-'))
const store = join(base, 'store')
let fleet: Fleet

beforeAll(async () => {
  mkdirSync(store)
  fleet = await startFleet(
    (usual) => (facts) => {
      const machine = usual(facts)
      return {
        ...machine,
        env: {
          ...machine.env,
          AUTO_REPLICA_ENABLED: 'false',
          UNDERSTUDY_SNAPSHOT_STORE: store,
          UNDERSTUDY_SNAPSHOT_INTERVAL: '1',
          // Longer than it takes to ask for one and then for the list of them.
          UNDERSTUDY_SNAPSHOT_KEEP: '90',
        },
      }
    },
    LOST_SOON,
  )
  await fleet.agent('agent-s')
})
afterEach(endAll)
afterAll(async () => {
  await fleet.close()
  rmSync(base, { recursive: true, force: true })
})

interface Listed {
  readonly id: string
  readonly taken_at: string
  readonly epoch: number
}

async function command(...words: string[]) {
  const { instance_id: instance } = await fleet.rig.operator.agent('agent-s')
  const config = join(fleet.directoryOf(instance ?? ''), 'agent.yaml')
  const env = {
    COORDINATOR_URL: fleet.rig.coordinator.url,
    IMDS_ENDPOINT: fleet.rig.cloud.imdsOf(primaryOf(await fleet.rig.operator.agent('agent-s'))).endpoint,
    UNDERSTUDY_SNAPSHOT_STORE: store,
  }
  const { code, out, err } = await run(agentProgram, [...words, '--config', config], { env })
  return { code, out, err }
}
const list = async (): Promise<readonly Listed[]> =>
  JSON.parse((await command('snapshots', '--json')).out).snapshots

/** Lost by an earlier test. */
let lost = new Set<number>()

/** Writes that are not there must have been acknowledged after the snapshot was begun. */
async function expectLostOnlySince(takenAt: string): Promise<void> {
  const { verdict } = await fleet.rig.judge.verify('agent-s')
  expect(verdict.wrong).toBe(0)
  expect(verdict.acked - verdict.missing.length).toBeGreaterThan(0)
  expect(verdict.missing.filter((at) => !lost.has(at) && at < Date.parse(takenAt))).toEqual([])
  lost = new Set(verdict.missing)
}

test('a primary without a replica makes snapshots by itself, and one at once when it is asked', async () => {
  await until('there are two snapshots', async () => (await list()).length >= 2)
  const asked = await command('snapshot', '--json')
  expect(asked).toMatchObject({ code: 0 })
  const taken = JSON.parse(asked.out)
  expect(taken).toMatchObject({ schema: 'understudy.snapshot-taken/v1', workload: 'running' })
  expect(asked.err).toMatch(/^sending: /m)
  expect((await list()).map(({ id }) => id)).toContain(taken.id)
  const doctor = await command('doctor')
  expect(doctor.out).toMatch(
    /^ok {4}snapshots {10}file:\/\/\S+ can be written, the newest of \d+ snapshots is \d+ s old$/m,
  )
})

test('a restore next to the running agent is refused', async () => {
  const { code, err } = await command('restore', '--force')
  expect(code).toBe(4)
  expect(err).toContain('another agent')
})

test('an instance that takes over from nothing begins with the newest snapshot, and says so', async () => {
  const before = await fleet.rig.operator.agent('agent-s')
  const known = await fleet.known('agent-s')
  const [newest] = await list()
  fleet.rig.cloud.interrupt(primaryOf(before), undefined)
  const incident = await fleet.incidentAfter('agent-s', known)
  expect(incident).toMatchObject({ outcome: 'relaunched', loss: { kind: 'bounded' } })
  const restored = incident.steps.find(({ step }) => step === 'snapshot-restored')
  expect(restored?.ok).toBe(true)
  expect(restored?.detail).toMatch(/^snapshot \d{8}T\d{6}Z-\d+-\d+, \d+ bytes in .* it is \d+ s old/)
  const through = /since (\S+) is lost/.exec(restored?.detail ?? '')?.[1] ?? ''
  expect(Date.parse(through)).toBeGreaterThanOrEqual(Date.parse(newest?.taken_at ?? ''))
  expect(incident.loss?.state_through).toBe(through)
  await expectLostOnlySince(through)
})

test('while the store cannot be reached nothing is started, and afterwards nothing is missing', async () => {
  await untilAgent(fleet.rig.operator, 'agent-s', 'serving', isServing)
  const before = await fleet.rig.operator.agent('agent-s')
  await until('the new primary has made a snapshot', async () => (await list())[0]?.epoch === before.epoch)
  const known = await fleet.known('agent-s')
  const [newest] = await list()
  renameSync(store, `${store}.away`)
  fleet.rig.cloud.interrupt(primaryOf(before), undefined)
  const incident = await fleet.incidentAfter('agent-s', known)
  expect(incident).toMatchObject({ outcome: 'failed' })
  expect(incident.outcome_reason).toContain('does not exist')
  const { instance_id: next } = await fleet.rig.operator.agent('agent-s')
  expect(existsSync(join(fleet.directoryOf(next ?? ''), 'workload.pid'))).toBe(false)
  renameSync(`${store}.away`, store)
  await untilAgent(fleet.rig.operator, 'agent-s', 'serving again', isServing)
  await expectLostOnlySince(newest?.taken_at ?? '')
})
