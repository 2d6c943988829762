import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CycleView, DecisionView } from '../../shared/src/protocol/decision-log.ts'
import { type Bench, startBench, until } from './bench.ts'
import { activateOwnModel, addHistory } from './own-model.ts'
import type { Puppet } from './puppet.ts'

/**
 * What is decided moves an agent through failover itself: three agents in a pool that has become dear, beside one that is
 * cheap, and the model that comes with the coordinator.
 */

const DEAR = 'm5.large@us-east-1a'
const CHEAP = 'm5.large@us-east-1c'
const OTHER = 'm6i.large@us-east-1b'
const HOUR = 3_600_000

let bench: Bench
const primaries = new Map<string, Puppet>()
const primaryOf = (agent: string) => primaries.get(agent) as Puppet

beforeAll(async () => {
  bench = await startBench()
  for (const agent of ['a', 'b', 'c']) {
    primaries.set(agent, await bench.primary(agent, DEAR))
    await configure(agent, { enabled: false, actuator: 'agent' })
  }
  bench.cloud.market.force(DEAR, 'surge')
  // Who has only just been placed is left where it is.
  await bench.db
    .updateTable('instances')
    .set({ launched_at: Date.now() - 48 * HOUR })
    .execute()
  const price = (pool: string) => [{ price: bench.cloud.market.state(pool)?.price ?? 0 }]
  await addHistory(bench.db, { [DEAR]: price(DEAR), [CHEAP]: price(CHEAP) })
  await activateOwnModel(bench)
  const asked = {
    ...{ instance_type: 'm5.large', availability_zone: 'us-east-1a' },
    instance_id: primaryOf('a').instance,
  }
  // The price of the cloud is asked for every five seconds.
  await until(async () => (await bench.call('POST', '/api/v1/evaluate', asked)).body.decision === 'SWITCH')
}, 120_000)
afterAll(() => bench.close())

const configure = async (agent: string, change: Record<string, unknown>): Promise<void> => {
  const { status, body } = await bench.call('PUT', `/api/v1/lab/config/${agent}`, change)
  expect(status, JSON.stringify(body)).toBe(200)
}
const run = async (): Promise<CycleView> => (await bench.call('POST', '/api/v1/ml/decisions/run', {})).body
const agentOf = async (agent: string) => (await bench.call('GET', `/api/agents/${agent}`)).body
const replicasOf = async (agent: string) =>
  (await bench.call('GET', `/api/agents/${agent}/replicas`)).body.items

const isOfDecision = ({ created_by: by }: { created_by: string }) => by.startsWith('decision ')

/** A cycle that begins the move of one agent, and the replica that is made for it. */
async function begin(agent: string) {
  await configure(agent, { enabled: true, actuator_level: 'live' })
  const cycle = await run()
  expect(cycle).toMatchObject({ acted: 1, actions: [{ agent_id: agent, status: 'running' }] })
  const decision = cycle.actions[0]?.decision_id as string
  const isMade = (replica: { created_by: string; instance_id: string | null }) =>
    replica.created_by === `decision ${decision}` && replica.instance_id !== null
  await until(async () => (await replicasOf(agent)).some(isMade))
  const replica = (await replicasOf(agent)).find(isMade)
  expect(replica).toMatchObject({ pool_id: CHEAP, status: 'launching' })
  return { decision, replica: replica as { id: string; instance_id: string } }
}

async function resultOf(agent: string, decision: string): Promise<DecisionView['result']> {
  const find = async (): Promise<DecisionView['result'] | undefined> =>
    (await bench.call('GET', `/api/v1/ml/decisions?agent_id=${agent}`)).body.items.find(
      ({ id }: DecisionView) => id === decision,
    )?.result
  await until(async () => (await find())?.status !== 'running')
  return (await find()) ?? null
}

test('in a dry run it says what it would do, and nothing is made', async () => {
  await configure('a', { enabled: true, actuator_level: 'dry_run' })
  const cycle = await run()
  expect(cycle).toMatchObject({
    ...{ agents: 3, acted: 0, decisions: { SWITCH: 1 } },
    actions: [{ agent_id: 'a', status: 'would_act' }],
  })
  expect(cycle.actions[0]?.reason).toBe(
    `it would make a replica of a in ${CHEAP}, wait until it is ready, and let it take over from ${primaryOf('a').instance}`,
  )
  expect(cycle.skipped.map(({ agent_id: id }) => id)).toEqual(['b', 'c'])
  expect(await replicasOf('a')).toEqual([])
})

/** What the active version is to have said of a pool a minute ago. */
async function addPrediction(pool: string): Promise<void> {
  const { db } = bench
  const { id } = await db
    .selectFrom('pools')
    .select('id')
    .where('pool_id', '=', pool)
    .executeTakeFirstOrThrow()
  const at = Date.now() - 60_000
  await db
    .insertInto('prediction_runs')
    .values({
      ...{ id: 900, at, alias: 'active', model_id: 'model-x', model_sha256: '', answered_by: 'active' },
      ...{ horizon_ms: 12 * HOUR, threshold: 0.5, pools: 1, left_out: '{}', took_ms: 1 },
    })
    .execute()
  await db
    .insertInto('predictions_log')
    .values({ run: 900, pool: id, at, p: 0.9, features_hash: '', filled: 0, label: null, label_reason: null })
    .execute()
}

const actedOn = async (pool: string): Promise<boolean> => {
  const { items } = (await bench.call('GET', `/api/v1/ml/predictions?pool=${encodeURIComponent(pool)}`)).body
  return items.find(({ model_id: id }: { model_id: string }) => id === 'model-x')?.acted
}

test('live: a replica in the cheap pool, which takes over by a planned switch; then it stays there', async () => {
  await addPrediction(DEAR)
  const { decision, replica } = await begin('a')
  expect(await actedOn(DEAR)).toBe(false)
  const old = primaryOf('a')
  const puppet = await bench.join('a', old, replica)
  expect(await resultOf('a', decision)).toEqual({
    status: 'done',
    reason: `${puppet.instance} in ${CHEAP} has taken over from ${old.instance}`,
  })
  expect(await agentOf('a')).toMatchObject({ instance_id: puppet.instance, pool_id: CHEAP })
  expect(old.role).toBe('fenced')
  await until(() => actedOn(DEAR))
  const { items } = (await bench.call('GET', '/api/agents/a/switches')).body
  expect(items).toMatchObject([
    { new_instance_id: puppet.instance, success: true, switch_reason: 'automatic-switch' },
  ])
  const { items: incidents } = (await bench.call('GET', '/api/incidents')).body
  expect(incidents).toMatchObject([
    { agent_id: 'a', trigger: 'planned', outcome: 'promoted', signal_type: 'automatic-move' },
  ])
  expect(incidents[0].seen_via).toMatchObject([{ via: 'decision' }])

  expect(await run()).toMatchObject({ acted: 0, decisions: { STAY: 1 }, actions: [] })
  expect((await agentOf('a')).instance_id).toBe(puppet.instance)
  // Failover itself makes the new standby that the new primary needs.
  expect((await replicasOf('a')).filter(isOfDecision)).toHaveLength(1)
  await configure('a', { enabled: false })
})

test('an operator moves it first: there is no second switch, and the replica is ended', async () => {
  const old = primaryOf('b')
  const { decision, replica } = await begin('b')
  const { id, puppet } = await bench.replica('b', old, { pool_id: OTHER })
  expect((await bench.call('POST', `/api/agents/b/replicas/${id}/promote`, {})).status).toBe(200)
  await until(async () => (await agentOf('b')).phase === 'steady')
  await bench.join('b', puppet, replica)
  expect(await resultOf('b', decision)).toEqual({
    status: 'refused',
    reason: `${puppet.instance} is primary of b by now, not ${old.instance}; the replica that was made for it was ended`,
  })
  expect((await agentOf('b')).instance_id).toBe(puppet.instance)
  expect((await replicasOf('b')).find((one: { id: string }) => one.id === replica.id)).toMatchObject({
    status: 'terminated',
    is_active: false,
  })
  await configure('b', { enabled: false })
})

test('an incident opens meanwhile: failover has the word, and the replica stays for it', async () => {
  const primary = primaryOf('c')
  const { decision, replica } = await begin('c')
  const at = Date.now()
  await bench.db
    .insertInto('spot_interruption_events')
    .values({
      ...{ id: 'open', agent_id: 'c', instance_id: primary.instance, trigger: 'notice', detected_at: at },
      ...{ signal_type: 'rebalance-recommendation', deadline_at: null, seen_via: 'test', old_epoch: 1 },
      ...{ response_action: '', outcome: '', outcome_reason: '', failover_completed: 0 },
    })
    .execute()
  await bench.join('c', primary, replica)
  expect(await resultOf('c', decision)).toEqual({
    status: 'refused',
    reason: 'the incident open of c is not over; the replica stays for the incident',
  })
  expect((await agentOf('c')).instance_id).toBe(primary.instance)
  expect((await replicasOf('c')).find((one: { id: string }) => one.id === replica.id)).toMatchObject({
    status: 'ready',
    is_active: true,
  })
})
