import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { MachineImage } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { primaryOf } from '../../coordinator/src/demo/rig.ts'
import { type OpenDatabase, openSqlite } from '../../coordinator/src/storage/database.ts'
import { instanceId } from '../../shared/src/core/ids.ts'
import { seconds } from '../../shared/src/core/time.ts'
import { poolId } from '../../shared/src/market/pool.ts'
import type { AgentView, ReplicaView } from '../../shared/src/protocol/agents.ts'
import type { IncidentView } from '../../shared/src/protocol/incidents.ts'
import { addHistory } from '../contract/own-model.ts'
import { createNetwork, type Network } from '../faults/network.ts'
import { writeNoise } from '../faults/plant.ts'
import { type Fleet, startFleet } from './support/fleet.ts'
import { until } from './support/programs.ts'

/**
 * What is done around a hand-over of our own accord, with a coordinator, agents and workloads that are processes of their own: the
 * scenarios of docs/policies.md from the first sign to the end, and what a client that writes all the time sees of them.
 */

const HOUR = 3_600_000
const COOLDOWN = 4000
const POOL = 'm5.large@us-east-1a'
const CHEAP = 'm5.large@us-east-1c'
const USUAL_BOOT = [300, 600] as const

const base = mkdtempSync(join(tmpdir(), 'understudy-policies-'))
const store = join(base, 'snapshots')
let network: Network
let fleet: Fleet
let database: OpenDatabase
/** Launches take as long as the test wants. */
let boot: readonly [number, number] = USUAL_BOOT

/** Behind gates, so that a line can be made slow, with a store for snapshots, and notices are seen at once. */
const image =
  (usual: MachineImage): MachineImage =>
  (facts) => {
    mkdirSync(facts.directory, { recursive: true })
    const { coordinatorUrl, advertise } = network.connect(facts)
    const { command, env } = usual({ ...facts, coordinatorUrl })
    const file = join(facts.directory, 'agent.yaml')
    // A busy machine is not an unhealthy workload.
    const text = readFileSync(file, 'utf8').replaceAll(/timeout_seconds: \d+/g, 'timeout_seconds: 20')
    writeFileSync(file, `${text}replication_advertise: ${advertise}\n`)
    const own = { UNDERSTUDY_SNAPSHOT_STORE: store, INTERRUPTION_CHECK_INTERVAL: '0.2' }
    return { command, env: { ...env, ...own } }
  }

beforeAll(async () => {
  mkdirSync(store)
  network = await createNetwork()
  fleet = await startFleet(image, {
    coordinatorEnv: {
      UNDERSTUDY_REPLICA_COOLDOWN: String(COOLDOWN / HOUR),
      UNDERSTUDY_EMPTY_POOL_FOR: '1',
      UNDERSTUDY_DEFAULT_MODEL: 'true',
    },
    // A loss without a word shows in the API after this long. Prices and capacity change only where a test says so.
    cloud: { bootMillis: () => boot, describeLag: seconds(1), marketMinutesPerSecond: 0 },
  })
  database = openSqlite({ path: join(fleet.rig.directory, 'understudy.db') })
})
afterEach(async () => {
  boot = USUAL_BOOT
  // What the next test needs the processors for.
  for (const { instanceId: id, state } of fleet.rig.cloud.instances())
    if (state === 'running') fleet.rig.cloud.pause(id)
  network.heal()
  expect(
    await fleet.rig.judge.overlaps(fleet.rig.witnessFile),
    'two workloads of one agent ran at once',
  ).toEqual([])
})
afterAll(async () => {
  await database.close()
  await fleet.close()
  await network.close()
  rmSync(base, { recursive: true, force: true })
})

const stepOf = ({ steps }: IncidentView, name: string) => steps.find(({ step }) => step === name)
const namesOf = ({ steps }: IncidentView) => steps.map(({ step }) => step)
const replicasOf = async (agent: string): Promise<readonly ReplicaView[]> =>
  (await fleet.call('GET', `/api/agents/${agent}/replicas`)).body.items
const stateOf = (instance: string | null) =>
  fleet.rig.cloud.instances().find(({ instanceId: id }) => id === instance)?.state

async function expectNothingLost(id: string): Promise<void> {
  const { verdict } = await fleet.rig.judge.verify(id)
  expect(verdict.acked).toBeGreaterThan(0)
  expect({ missing: verdict.missing.length, wrong: verdict.wrong }).toEqual({ missing: 0, wrong: 0 })
}

/** An agent that is tried once more is another one. */
let serial = 0
const fresh = (name: string): string => `${name}${++serial}`

/** Waits until nothing else of the fleet is under way, or about to be. */
async function served(id: string): Promise<AgentView> {
  let agent = await fleet.rig.operator.agent(id)
  await until(`${id} is served`, async () => {
    agent = await fleet.rig.operator.agent(id)
    return agent.phase === 'steady' && agent.workload === 'running'
  })
  return agent
}

/** The first: incidents of others would take its share of the moves that may be made at once. */
test('a cheaper pool that is safe: a replica there takes over by a planned move, and then nothing moves any more', async () => {
  const id = fresh('agent-c')
  const { market } = fleet.rig.cloud
  for (const pool of [POOL, CHEAP]) market.force(pool, 'calm')
  const before = await fleet.agent(id)
  const { db } = database
  // Who has only just been placed is left where it is.
  await db
    .updateTable('instances')
    .set({ launched_at: Date.now() - 48 * HOUR })
    .where('agent_id', '=', id)
    .execute()
  market.force(POOL, 'surge')
  const history = (pool: string) => [{ price: market.state(pool)?.price ?? 0 }]
  await addHistory(db, { [POOL]: history(POOL), [CHEAP]: history(CHEAP) })
  const level = { enabled: true, actuator: 'agent', actuator_level: 'live' }
  expect((await fleet.call('PUT', `/api/v1/lab/config/${id}`, level)).status).toBe(200)
  const known = await fleet.known(id)
  let decided: { decision_id: string }[] = []
  await until('it is decided to move', async () => {
    const { body } = await fleet.call('POST', '/api/v1/ml/decisions/run', {})
    decided = body.actions.filter((action: { agent_id: string }) => action.agent_id === id)
    return decided.length > 0
  })
  const incident = await fleet.incidentAfter(id, known)
  expect(incident).toMatchObject({
    ...{ signal_type: 'automatic-move', trigger: 'planned', outcome: 'promoted', loss: { kind: 'none' } },
    ...{ new_pool_id: CHEAP, seen_via: [{ via: 'decision' }] },
  })
  const [move] = await fleet.switches(id)
  expect(move).toMatchObject({ switch_reason: 'automatic-switch', new_pool_id: CHEAP, success: true })
  expect(move?.new_instance_price).toBeLessThan(move?.old_instance_price ?? 0)
  await until('the old instance is ended', () => stateOf(before.instance_id) === 'terminated')
  const { body: again } = await fleet.call('POST', '/api/v1/ml/decisions/run', {})
  expect(again.actions.filter((action: { agent_id: string }) => action.agent_id === id)).toEqual([])
  expect(
    poolId(
      fleet.rig.cloud.instances().find(({ instanceId: id }) => id === incident.new_instance_id)
        ?.pool as never,
    ),
  ).toBe(CHEAP)
  market.force(POOL, 'calm')
  await expectNothingLost(id)
})

test('a recommendation: a replica in the safest pool, the primary goes on, and it is let go when no notice has followed', async () => {
  const id = fresh('agent-r')
  const before = await fleet.agent(id)
  await fleet.rig.operator.change(id, { rebalance_threshold: 0.3 })
  const known = await fleet.known(id)
  fleet.rig.cloud.rebalance(primaryOf(before))
  const incident = await fleet.incidentAfter(id, known)
  expect(incident).toMatchObject({
    ...{ signal_type: 'rebalance-recommendation', outcome: 'no-action' },
    ...{ response_action: 'created-emergency-replica', interruption_probability: 0.4 },
  })
  expect(namesOf(incident)).toEqual(['probability-estimated', 'replica-created'])
  expect(stepOf(incident, 'replica-created')?.detail).toMatch(/ is the safest that is left .* per hour$/)
  const during = await fleet.untilProtected(id)
  expect(during).toMatchObject({ instance_id: before.instance_id, term: before.term, state: 'at-risk' })
  const [made] = await replicasOf(id)
  expect(made).toMatchObject({ type: 'automatic-rebalance', status: 'ready' })
  expect(made?.availability_zone).not.toBe('us-east-1a')
  const age = Date.now() - Date.parse(made?.created_at ?? '')
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, COOLDOWN - age)))
  // Two hours later no notice has come.
  await database.db
    .updateTable('rebalance_signals')
    .set({ detected_at: Date.now() - 2 * HOUR })
    .where('agent_id', '=', id)
    .execute()
  await until('it is let go', async () => (await replicasOf(id))[0]?.status === 'terminated')
  expect((await replicasOf(id))[0]?.reason).toBe(
    'let go: no notice followed the recommendation: it is not needed any more',
  )
  await until('its machine is ended', () => stateOf(made?.instance_id ?? null) === 'terminated')
  const after = await served(id)
  expect(after).toMatchObject({ instance_id: before.instance_id, term: before.term, state: 'healthy' })
  expect(await fleet.switches(id)).toEqual([])
  await expectNothingLost(id)
  await fleet.rig.operator.change(id, { rebalance_threshold: 1 })
})

test('a notice while the only standby has half of its first copy: it is waited for, and nothing is lost', async () => {
  const id = fresh('agent-w')
  const before = await fleet.agent(id)
  const primary = primaryOf(before)
  await writeNoise(join(fleet.directoryOf(primary), 'state', 'large'), 12)
  await fleet.rig.operator.createReplica(id)
  let instance: string | null = null
  await until('the standby boots', async () => {
    instance = (await replicasOf(id))[0]?.instance_id ?? null
    return stateOf(instance) === 'running'
  })
  network.between(primary, [instance ?? ''], { state: 'open', bytesPerSecond: 4 * 1024 * 1024 })
  await until('a part has arrived', async () => ((await replicasOf(id))[0]?.sync_percent ?? 0) >= 20)
  const known = await fleet.known(id)
  const [standby] = await replicasOf(id)
  fleet.rig.cloud.interrupt(primary, seconds(40))
  const incident = await fleet.incidentAfter(id, known)
  expect(incident).toMatchObject({
    ...{ trigger: 'notice', outcome: 'promoted', new_instance_id: instance, loss: { kind: 'none' } },
    ...{ response_action: 'promoted-existing-replica', replica_id: standby?.id },
  })
  const names = namesOf(incident)
  expect(names.indexOf('no-replica-ready')).toBeGreaterThanOrEqual(0)
  expect(names.indexOf('waits-for-replica')).toBeGreaterThan(names.indexOf('no-replica-ready'))
  expect(names.indexOf('hand-over-ordered')).toBeGreaterThan(names.indexOf('waits-for-replica'))
  expect(stepOf(incident, 'waits-for-replica')?.detail).toMatch(
    /^i-demo\d+ has [\d.]+ MiB of [\d.]+ MiB at [\d.]+ MiB a second: ready in .* are left$/,
  )
  expect(names).not.toContain('replica-launched')
  await expectNothingLost(id)
})

test('a notice that is over before any instance could be ready: a snapshot is made, and a new instance begins with it', async () => {
  const id = fresh('agent-s')
  const before = await fleet.agent(id)
  const known = await fleet.known(id)
  boot = [5000, 5000]
  const noticed = Date.now()
  fleet.rig.cloud.interrupt(primaryOf(before), seconds(3))
  const incident = await fleet.incidentAfter(id, known)
  expect(incident).toMatchObject({ trigger: 'notice', outcome: 'relaunched', loss: { kind: 'bounded' } })
  const names = namesOf(incident)
  const order = ['no-replica-ready', 'emergency-snapshot', 'state-lost', 'snapshot-restored', 'address-moved']
  expect(names.filter((name) => order.includes(name))).toEqual(order)
  expect(stepOf(incident, 'emergency-snapshot')).toMatchObject({ ok: true, reported_by: before.instance_id })
  // Which, and what it costs.
  expect(stepOf(incident, 'replica-launched')?.detail).toMatch(
    /^a notice, and no replica was ready; \S+ is the safest that is left .* \$0\.\d{4} per hour$/,
  )
  expect(Date.parse(incident.loss?.state_through ?? '')).toBeGreaterThan(noticed)
  const { verdict } = await fleet.rig.judge.verify(id)
  expect(verdict.wrong).toBe(0)
  // What was acknowledged before the notice is in the snapshot.
  expect(verdict.missing.filter((at) => at < noticed)).toEqual([])
  expect(verdict.acked).toBeGreaterThan(verdict.missing.length)
})

test('a notice while no spot pool has capacity: an instance on demand takes over, and what it costs is told', async () => {
  const id = fresh('agent-o')
  const before = await fleet.agent(id)
  await fleet.rig.operator.change(id, { on_demand_fallback: true })
  const known = await fleet.known(id)
  const { market } = fleet.rig.cloud
  const pools = market.states()
  for (const pool of pools) market.force(pool.id, 'surge')
  fleet.rig.cloud.interrupt(primaryOf(before), seconds(40))
  const incident = await fleet.incidentAfter(id, known)
  for (const pool of pools) market.force(pool.id, 'calm')
  expect(incident).toMatchObject({
    ...{ trigger: 'notice', outcome: 'promoted', response_action: 'created-emergency-replica' },
    loss: { kind: 'none' },
  })
  expect(stepOf(incident, 'no-spot-capacity')?.detail).toContain('an instance on demand is started')
  expect(stepOf(incident, 'replica-launched')?.detail).toMatch(
    /\$0\.\d{4} per hour on demand, \$-?0\.\d{4} more than the primary on spot$/,
  )
  const replica = (await replicasOf(id)).find((one) => one.id === incident.replica_id)
  expect(replica).toMatchObject({ life_cycle: 'on-demand', status: 'promoted' })
  const [rescued] = await fleet.switches(id)
  expect(rescued?.new_instance_price).toBe((await served(id)).on_demand_price)

  // Spot has capacity again, and it has been there for four hours.
  const onDemand = incident.new_instance_id
  await database.db
    .updateTable('instances')
    .set({ launched_at: Date.now() - 4 * HOUR })
    .where('id', '=', onDemand ?? '')
    .execute()
  const back = await fleet.incidentAfter(id, new Set([...known, incident.id]))
  expect(back).toMatchObject({
    ...{ signal_type: 'automatic-move', trigger: 'planned', outcome: 'promoted', loss: { kind: 'none' } },
    seen_via: [{ via: 'return-to-spot' }],
  })
  expect(stepOf(back, 'move-requested')?.detail).toMatch(
    /^back to spot: \S+ has capacity again and saves \$0\.\d{4} an hour$/,
  )
  expect((await fleet.switches(id))[0]).toMatchObject({
    switch_reason: 'automatic-switch',
    success: true,
  })
  expect((await served(id)).instance?.life_cycle).toBe('spot')
  await until('the instance on demand is ended', () => stateOf(onDemand) === 'terminated')
  await expectNothingLost(id)
})

test('primary and successor are lost together: a third copy takes over by a forced epoch on the word of the cloud', async () => {
  const id = fresh('agent-f')
  await fleet.agent(id)
  await fleet.rig.operator.change(id, { min_replicas: 2 })
  await until('two standbys are ready', async () => {
    const { replicas } = await fleet.rig.operator.agent(id)
    return replicas.filter(({ status }) => status === 'ready').length === 2
  })
  const before = await fleet.untilProtected(id)
  const learner = before.replicas.find(({ instance_id: at }) => at !== before.successor_id)?.instance_id
  const known = await fleet.known(id)
  for (const lost of [before.instance_id, before.successor_id])
    fleet.rig.cloud.interrupt(instanceId(lost ?? ''), undefined)
  const incident = await fleet.incidentAfter(id, known)
  expect(incident).toMatchObject({ trigger: 'silence', outcome: 'promoted', new_instance_id: learner })
  expect(stepOf(incident, 'epoch-moved')?.detail).toMatch(/; forced: every other voter has ended/)
  expect(incident.loss).toMatchObject({ kind: 'bounded', at_most_ms: expect.any(Number) })
  const { body } = await fleet.call('GET', `/api/agents/${id}/epochs`)
  expect(body.items).toContainEqual(
    expect.objectContaining({ forced: true, primary_id: learner, votes: ['coordinator'] }),
  )
  const { verdict } = await fleet.rig.judge.verify(id)
  expect(verdict.wrong).toBe(0)
  // No more is missing than the record says.
  const through = Date.parse(incident.loss?.state_through ?? '')
  expect(verdict.missing.filter((at) => at < through)).toEqual([])
})
