import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { instanceId } from '../../shared/src/core/ids.ts'
import type { IncidentView } from '../../shared/src/protocol/incidents.ts'
import { agentProcess, send, workloadProcesses } from '../faults/processes.ts'
import { type Fleet, startFleet } from './support/fleet.ts'
import { until } from './support/programs.ts'

/** What primary and successor decide between themselves, with real processes. */

let fleet: Fleet
beforeAll(async () => {
  fleet = await startFleet()
})
afterAll(async () => {
  await fleet.close()
})

async function expectNothingLost(id: string): Promise<void> {
  const { verdict } = await fleet.rig.judge.verify(id)
  expect(verdict.acked).toBeGreaterThan(0)
  expect({ missing: verdict.missing.length, wrong: verdict.wrong }).toEqual({ missing: 0, wrong: 0 })
  expect(await fleet.rig.judge.overlaps(fleet.rig.witnessFile)).toEqual([])
}

function expectInOrder(incident: IncidentView, order: readonly string[]): void {
  const steps = order.flatMap((name) => incident.steps.find(({ step }) => step === name) ?? [])
  expect(steps.map(({ step }) => step)).toEqual(order)
  // They are from several clocks, and each says how far it may be off.
  for (const [index, { step, t_ms: at, uncertainty_ms: off }] of steps.entries()) {
    const before = steps[index - 1]
    if (before)
      expect(at + off, `${before.step}, then ${step}`).toBeGreaterThanOrEqual(
        before.t_ms - before.uncertainty_ms,
      )
  }
}

test('an agent that is told to end hands over first: every byte is sealed, and one incident says so', async () => {
  const before = await fleet.protectedAgent('agent-a')
  const old = instanceId(before.instance_id ?? '')
  const known = await fleet.known('agent-a')
  const pid = agentProcess(old, fleet.directoryOf(old))
  if (pid === undefined) throw new Error(`no agent runs on ${old}`)
  send(pid, 'SIGTERM')
  const incident = await fleet.incidentAfter('agent-a', known)
  expect(incident).toMatchObject({
    outcome: 'promoted',
    new_instance_id: before.successor_id,
    loss: { kind: 'none' },
    seen_via: [{ via: 'members' }],
  })
  // What the agent said before the coordinator knew of it is in the record too, in its true order.
  expectInOrder(incident, ['workload-frozen', 'final-sync', 'workload-started', 'address-moved'])
  // When the coordinator knew: the successor begins as soon as it has won, and may start before or after that.
  expectInOrder(incident, ['final-sync', 'epoch-moved', 'address-moved'])
  const frozen = incident.steps.find(({ step }) => step === 'workload-frozen')
  expect(incident.no_primary_from_t_ms).toBe(frozen?.t_ms)
  await until('its agent has ended', async () => agentProcess(old, fleet.directoryOf(old)) === undefined)
  await expectNothingLost('agent-a')
})

test('an agent that is told to end hands over a workload that cannot be frozen any more: it is stopped', async () => {
  const before = await fleet.protectedAgent('agent-c')
  const old = instanceId(before.instance_id ?? '')
  const known = await fleet.known('agent-c')
  writeFileSync(join(fleet.directoryOf(old), 'fail-freeze'), '')
  send(agentProcess(old, fleet.directoryOf(old)) ?? 0, 'SIGTERM')
  const incident = await fleet.incidentAfter('agent-c', known)
  expect(incident).toMatchObject({
    outcome: 'promoted',
    new_instance_id: before.successor_id,
    loss: { kind: 'none' },
  })
  expect(incident.steps.find(({ step }) => step === 'workload-frozen')).toMatchObject({
    ok: true,
    detail: expect.stringMatching(/the test wants freeze to fail.*; it was stopped instead$/),
  })
  expect(incident.steps.map(({ step }) => step)).not.toContain('workload-thawed')
  await until('its agent has ended', async () => agentProcess(old, fleet.directoryOf(old)) === undefined)
  await expectNothingLost('agent-c')
})

test('a primary that boots again while the coordinator is away has a new epoch from its successor', async () => {
  const before = await fleet.protectedAgent('agent-b')
  const { cloud } = fleet.rig
  const primary = instanceId(before.instance_id ?? '')
  const workload = () => workloadProcesses(primary, fleet.directoryOf(primary))
  const first = workload()
  fleet.rig.coordinator.kill()
  await fleet.rig.coordinator.ended
  cloud.crash(primary)
  await cloud.reboot(primary)
  await until('the workload is started again', () => workload().some((pid) => !first.includes(pid)))
  await fleet.rig.restartCoordinator(0)
  const after = await fleet.untilProtected('agent-b')
  expect(after.instance_id).toBe(primary)
  const { body } = await fleet.call('GET', '/api/agents/agent-b/epochs')
  const renewal = body.items.find(({ epoch }: { epoch: number }) => epoch === after.term)
  expect(renewal).toMatchObject({ kind: 'renewal', primary_id: primary })
  expect(renewal.votes.toSorted()).toEqual([before.successor_id, primary].toSorted())
  await expectNothingLost('agent-b')
})
