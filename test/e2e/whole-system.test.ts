import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { canMount, mountSmallDisk, unmountDisk } from '../../agent/src/replication/small-disk.ts'
import { primaryOf } from '../../coordinator/src/demo/rig.ts'
import { agentId } from '../../shared/src/core/ids.ts'
import { millis } from '../../shared/src/core/time.ts'
import type { AgentView } from '../../shared/src/protocol/agents.ts'
import type { IncidentView } from '../../shared/src/protocol/incidents.ts'
import { type Fleet, startFleet } from './support/fleet.ts'
import { agentProgram, run, until } from './support/programs.ts'

/**
 * Coordinator, agents, workloads and a client that keeps writing, each a process of its own. Whatever is done to them,
 * afterwards there is one primary, one record of what happened, and every write that was acknowledged.
 */

/** The standby of `agent-small` has a disk of this size. */
const SMALL_DISK_MIB = 24
const mounts: string[] = []

let fleet: Fleet
beforeAll(async () => {
  fleet = await startFleet(
    (usual) => (facts) => {
      if (facts.agentId === 'agent-small' && smallDisks) putOnSmallDisk(facts.directory)
      return usual(facts)
    },
    { coordinatorEnv: { UNDERSTUDY_MOVES_AT_ONCE: '1' } },
  )
  await fleet.protectedAgent('agent-a')
})
afterEach(async () => {
  expect(
    await fleet.rig.judge.overlaps(fleet.rig.witnessFile),
    'two workloads of one agent ran at once',
  ).toEqual([])
})
afterAll(async () => {
  for (const directory of mounts) unmountDisk(directory)
  await fleet.close()
})

/** Not before the primary is there, which is to have room. */
let smallDisks = false
function putOnSmallDisk(directory: string): void {
  mountSmallDisk(directory, SMALL_DISK_MIB)
  mounts.push(directory)
}

const readyReplica = (agent: AgentView) => {
  const ready = agent.replicas.find(({ status }) => status === 'ready')
  if (!ready?.instance_id) throw new Error(`${agent.id} has no ready replica`)
  return { id: ready.id, instance: ready.instance_id }
}
const promotePath = (agent: AgentView) => `/api/agents/${agent.id}/replicas/${readyReplica(agent).id}/promote`
const fault = (instance: string, name: string) => {
  const file = join(fleet.directoryOf(instance), name)
  writeFileSync(file, '')
  return { clear: () => rmSync(file, { force: true }) }
}

/** What a failure of a test has to say of the incident. */
const told = ({
  trigger,
  instance_id: from,
  new_instance_id: to,
  outcome_reason: why,
  steps,
}: IncidentView) =>
  `${trigger} on ${from}, then ${to}: ${why} (${steps.map(({ step, t_ms: at, detail }) => `${step} at ${Math.round(at)}: ${detail}`).join('; ')})`

async function expectNothingLost(id: string): Promise<void> {
  const { verdict } = await fleet.rig.judge.verify(id)
  expect(verdict.acked).toBeGreaterThan(0)
  expect({ missing: verdict.missing.length, wrong: verdict.wrong }).toEqual({ missing: 0, wrong: 0 })
}

test('two operators and a repeated call with the same Idempotency-Key make one switch', async () => {
  const before = await fleet.untilProtected('agent-a')
  const known = await fleet.known('agent-a')
  const switches = (await fleet.switches('agent-a')).length
  const path = promotePath(before)
  const body = { expected_epoch: before.epoch }
  const key = { 'idempotency-key': 'move-agent-a-once' }
  const [first, other, same] = await Promise.all([
    fleet.call('POST', path, body, key),
    fleet.call('POST', path, body),
    fleet.call('POST', path, body, key),
  ])
  const again = await fleet.call('POST', path, body, key)
  const { id } = first.body.incident
  for (const answer of [first, same, again])
    expect(answer).toMatchObject({ status: 200, body: { incident: { id } } })
  // The second operator has come in time to watch the same move, or is told that it was too late.
  if (other.status === 200) expect(other.body.incident.id).toBe(id)
  else
    expect(other).toMatchObject({
      status: 409,
      body: { code: expect.stringMatching(/^(busy|stale_epoch)$/) },
    })
  const late = await fleet.call('POST', path, body)
  expect(late).toMatchObject({
    status: 409,
    body: { code: 'stale_epoch', facts: { epoch: before.epoch + 1 } },
  })
  expect(late.body.hint).toMatch(/Look again/)
  expect(await fleet.incidentAfter('agent-a', known)).toMatchObject({
    outcome: 'promoted',
    loss: { kind: 'none' },
  })
  expect(await fleet.switches('agent-a')).toHaveLength(switches + 1)
  expect((await fleet.rig.operator.agent('agent-a')).instance_id).toBe(readyReplica(before).instance)
  await expectNothingLost('agent-a')
})

test('agent drill moves the workload and back, reports it, and leaves the same instances', async () => {
  const before = await fleet.untilProtected('agent-a')
  const known = await fleet.known('agent-a')
  const instance = primaryOf(before)
  const machines = () => [instance, readyReplica(before).instance].toSorted()
  const drill = (...args: string[]) =>
    run(agentProgram, ['drill', '--config', join(fleet.directoryOf(instance), 'agent.yaml'), ...args], {
      env: { COORDINATOR_URL: fleet.rig.coordinator.url },
    })

  const unasked = await drill()
  expect(unasked).toMatchObject({ code: 2, out: '' })
  expect(unasked.err).toMatch(/nobody serves for a moment[\s\S]*Try: Say --yes/)

  const { code, out, err } = await drill('--yes', '--switch-back', '--json')
  expect({ code, err }).toMatchObject({ code: 0, err: expect.stringMatching(/^out +T\+/m) })
  for (const step of ['workload-frozen', 'final-sync', 'health-check', 'address-moved'])
    expect(err).toMatch(new RegExp(`^back +T\\+.*${step}`, 'm'))
  const report = JSON.parse(out)
  expect(report).toMatchObject({ schema: 'understudy.drill/v1', status: 'done', switch_back: true })
  expect(report.requested_by).toBe(`agent agent-a on ${instance}`)
  for (const move of report.moves)
    expect(move).toMatchObject({
      outcome: 'promoted',
      no_primary_ms: expect.any(Number),
      health: { ok: true, said: 'healthy' },
      loss: { kind: 'none' },
    })
  expect(report.moves.map(({ to_instance_id: to }: { to_instance_id: string }) => to)).toEqual([
    readyReplica(before).instance,
    instance,
  ])
  const after = await fleet.untilProtected('agent-a')
  expect(after.instance_id).toBe(instance)
  expect([instance, readyReplica(after).instance].toSorted()).toEqual(machines())
  const fresh = (await fleet.rig.operator.incidents('agent-a')).filter(({ id }) => !known.has(id))
  expect(fresh.map(({ trigger }) => trigger)).toEqual(['drill', 'drill'])
  await expectNothingLost('agent-a')

  const text = await drill('--yes')
  expect(text.out).toMatch(/^drill +agent-a: it works, [\s\S]*^before +2 drills, 0 failed; nobody served/m)
  await fleet.untilProtected('agent-a')
})

test.each([
  [
    'fail-start',
    /start hook: it ended with 3 \(the test wants start to fail\)|start hook: .*3.*the test wants start to fail/,
  ],
  ['hang-start', /start hook: it did not finish within 3 s and was killed \(the test wants start to hang\)/],
  ['fail-health', /not healthy within 3 s: health hook: .*the test wants health to fail/],
  [
    'hang-health',
    /health hook: it did not finish within 3 s and was killed \(the test wants health to hang\)/,
  ],
])(
  'a replica with %s gives way to the old primary, and the record has what the hook said',
  async (name, said) => {
    const before = await fleet.untilProtected('agent-a')
    const known = await fleet.known('agent-a')
    const { clear } = fault(readyReplica(before).instance, name)
    await fleet.call('POST', promotePath(before), {})
    const incident = await fleet.incidentAfter('agent-a', known)
    clear()
    expect(incident.outcome).toBe('failed')
    expect(incident.outcome_reason).toContain(`${before.instance_id} runs on`)
    const failed = incident.steps.find(({ step }) => step === 'promotion-failed')
    expect(failed?.detail).toMatch(said)
    const after = await fleet.untilProtected('agent-a')
    expect(after.instance_id).toBe(before.instance_id)
    await expectNothingLost('agent-a')
  },
)

test('a coordinator that is killed during a hand-over leaves one primary, one incident and nothing lost', async () => {
  const before = await fleet.untilProtected('agent-a')
  const known = await fleet.known('agent-a')
  const switches = (await fleet.switches('agent-a')).length
  const { clear } = fault(before.instance_id ?? '', 'slow-freeze')
  void fleet.call('POST', promotePath(before), {}).catch(() => undefined)
  await until(
    'the hand-over is under way',
    async () => (await fleet.rig.operator.agent('agent-a')).phase === 'handing-over',
  )
  await fleet.rig.restartCoordinator(0)
  const incident = await fleet.incidentAfter('agent-a', known)
  clear()
  const after = await fleet.untilProtected('agent-a')
  // Where the primary has given its epoch up while nobody listened, it is the one that gets the next.
  const moved = incident.outcome === 'promoted'
  expect(after.instance_id, told(incident)).toBe(moved ? readyReplica(before).instance : before.instance_id)
  expect(incident.new_instance_id).toBe(moved ? after.instance_id : null)
  expect(incident.closed_at).not.toBeNull()
  expect(await fleet.switches('agent-a')).toHaveLength(switches + (moved ? 1 : 0))
  await expectNothingLost('agent-a')
})

test('a coordinator that is killed while the new primary starts brings the move to its end', async () => {
  const before = await fleet.untilProtected('agent-a')
  const known = await fleet.known('agent-a')
  const target = readyReplica(before).instance
  const { clear } = fault(target, 'slow-start')
  void fleet.call('POST', promotePath(before), {}).catch(() => undefined)
  await until(
    'the epoch has moved',
    async () => (await fleet.rig.operator.agent('agent-a')).epoch > before.epoch,
  )
  await fleet.rig.restartCoordinator(0)
  const incident = await fleet.incidentAfter('agent-a', known)
  clear()
  const after = await fleet.untilProtected('agent-a')
  expect(incident.outcome, told(incident)).toBe(after.instance_id === target ? 'promoted' : 'failed')
  expect(incident.loss ?? { kind: 'none' }).toMatchObject({ kind: 'none' })
  await expectNothingLost('agent-a')
})

test('a coordinator that is killed after a notice still knows of it, and moves in time', async () => {
  const before = await fleet.agent('agent-b')
  const known = await fleet.known('agent-b')
  fleet.rig.cloud.interrupt(primaryOf(before), millis(60_000))
  await until(
    'the notice is recorded',
    async () => (await fleet.rig.operator.incidents('agent-b')).length > known.size,
  )
  await fleet.rig.restartCoordinator(0)
  const incident = await fleet.incidentAfter('agent-b', known)
  expect(incident).toMatchObject({ trigger: 'notice', outcome: 'promoted', loss: { kind: 'none' } })
  expect(incident.new_instance_id).not.toBe(before.instance_id)
  await until('the new primary serves', async () => {
    const agent = await fleet.rig.operator.agent('agent-b')
    return (
      agent.instance_id === incident.new_instance_id &&
      agent.workload === 'running' &&
      agent.phase === 'steady'
    )
  })
  await expectNothingLost('agent-b')
})

test('a replica whose disk is full is shown with what to do, and the primary goes on', async ({ skip }) => {
  if (!canMount) skip('nothing may be mounted here')
  const primary = await fleet.agent('agent-small')
  smallDisks = true
  await fleet.rig.operator.createReplica('agent-small')
  await fleet.untilProtected('agent-small')
  const port = await fleet.rig.cloud.addressPort(agentId('agent-small'))
  for (let part = 0; part < 4; part += 1) {
    const answer = await fetch(`http://127.0.0.1:${port}/kv/big-${part}`, {
      method: 'PUT',
      body: 'x'.repeat(4 * 1024 * 1024),
    })
    expect(answer.status).toBe(200)
  }
  await until('the replica says that its disk is full', async () => {
    const { replicas } = await fleet.rig.operator.agent('agent-small')
    return replicas.some(({ status, failure }) => status !== 'ready' && /no space left/.test(failure ?? ''))
  })
  const agent = await fleet.rig.operator.agent('agent-small')
  expect(agent.replicas[0]?.failure).toMatch(/Free space or enlarge the volume/)
  expect(agent).toMatchObject({
    instance_id: primary.instance_id,
    workload: 'running',
    phase: 'steady',
    // Small as it was, the replica may have been its successor before.
    term: 1,
  })
  const refused = await fleet.call(
    'POST',
    `/api/agents/agent-small/replicas/${agent.replicas[0]?.id}/promote`,
    {},
  )
  expect(refused).toMatchObject({ status: 409, body: { code: 'not_ready' } })
  await expectNothingLost('agent-small')
})

test('of notices that come together each move waits its turn, and the workload serves meanwhile', async () => {
  const ids = ['agent-turn-1', 'agent-turn-2']
  const before = await Promise.all(ids.map((id) => fleet.protectedAgent(id)))
  const known = new Set((await Promise.all(ids.map((id) => fleet.known(id)))).flatMap((of) => [...of]))
  for (const agent of before) fleet.rig.cloud.interrupt(primaryOf(agent), millis(60_000))
  // Agents look every two seconds, each when it does: told by somebody else, both are known in the same moment.
  const termination_time = new Date(Date.now() + 60_000).toISOString()
  await Promise.all(
    before.map(({ id, instance_id }) =>
      fleet.call('POST', `/api/agents/${id}/termination-imminent`, { instance_id, termination_time }),
    ),
  )
  const incidents = await Promise.all(ids.map((id) => fleet.incidentAfter(id, known)))
  for (const incident of incidents)
    expect(incident).toMatchObject({ trigger: 'notice', outcome: 'promoted', loss: { kind: 'none' } })
  // One move at once, as is set here: one of them has waited, and froze its workload only then.
  const waits = incidents.flatMap(({ steps }) => {
    const turn = steps.find(({ step }) => step === 'turn-awaited')
    const frozen = steps.find(({ step }) => step === 'workload-frozen')
    return turn && frozen ? [{ began: turn.t_ms, lasted: turn.duration_ms ?? 0, frozenAt: frozen.t_ms }] : []
  })
  expect(waits).toHaveLength(1)
  const [{ began = 0, lasted = 0, frozenAt = 0 } = {}] = waits
  expect(lasted).toBeGreaterThan(0)
  expect(lasted).toBeLessThan(10_500)
  expect(frozenAt).toBeGreaterThan(began + lasted)
  for (const id of ids) await expectNothingLost(id)
})
