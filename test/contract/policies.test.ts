import { afterAll, beforeAll, expect, test } from 'vitest'
import { instant, millis } from '../../shared/src/core/time.ts'
import type { ReplicaView } from '../../shared/src/protocol/agents.ts'
import { type Bench, startBench, until } from './bench.ts'
import type { Puppet } from './puppet.ts'

/** What the coordinator does of its own accord about the standbys of an agent, over the real API. */

const POOL = 'm5.large@us-east-1a'
const HOUR = 3_600_000

let bench: Bench
beforeAll(async () => {
  bench = await startBench({ env: { UNDERSTUDY_REPLICA_COOLDOWN: '1' } })
}, 60_000)
afterAll(() => bench.close())

const set = async (agent: string, settings: Record<string, unknown>) => {
  const { status, body } = await bench.call('PATCH', `/api/agents/${agent}`, settings)
  expect(status, JSON.stringify(body)).toBe(200)
  return body
}
const recommend = async (agent: string, { instance }: Puppet) =>
  (await bench.call('POST', `/api/agents/${agent}/rebalance-recommendation`, { instance_id: instance })).body
const agentOf = async (agent: string) => (await bench.call('GET', `/api/agents/${agent}`)).body
const replicasOf = async (agent: string): Promise<ReplicaView[]> =>
  (await bench.call('GET', `/api/agents/${agent}/replicas`)).body.items

test('settings of policies are checked, kept and in the audit', async () => {
  await bench.primary('settings', POOL)
  const policies = { on_rebalance: 'handover', min_replicas: 0, on_demand_fallback: true }
  expect(await set('settings', policies)).toMatchObject(policies)
  expect((await agentOf('settings')).settings).toMatchObject(policies)
  const wrong = await bench.call('PATCH', '/api/agents/settings', { on_rebalance: 'drain' })
  expect(wrong).toMatchObject({ status: 400, body: { errors: [{ pointer: '/on_rebalance' }] } })
  expect((await bench.call('PATCH', '/api/agents/settings', { min_replicas: 8 })).status).toBe(400)
  const audit = await bench.db
    .selectFrom('audit_log')
    .select('after')
    .where('object', '=', 'settings')
    .where('action', '=', 'agent.settings')
    .execute()
  expect(JSON.parse(audit.at(-1)?.after ?? '{}')).toMatchObject(policies)
})

test('an agent that ignores recommendations is told so', async () => {
  const primary = await bench.primary('ignores', POOL)
  await set('ignores', { on_rebalance: 'ignore' })
  expect(await recommend('ignores', primary)).toMatchObject({
    action: 'none',
    reason: 'the probability is 0.40, and the agent ignores recommendations',
  })
  expect(await replicasOf('ignores')).toEqual([])
})

test('a recommendation makes a replica with a reason, and one that no notice followed lets it go after the cool-down', async () => {
  const primary = await bench.primary('quiet', POOL)
  const answer = await recommend('quiet', primary)
  expect(answer).toMatchObject({ action: 'created-emergency-replica', interruption_probability: 0.4 })
  const { body: incident } = await bench.call('GET', `/api/incidents/${answer.incident_id}`)
  expect(incident).toMatchObject({ outcome: 'no-action', response_action: 'created-emergency-replica' })
  expect(incident.steps.map(({ step }: { step: string }) => step)).toEqual([
    'probability-estimated',
    'replica-created',
  ])
  expect(incident.steps[0].detail).toMatch(
    /^0\.40 that a notice follows: no level has 3 .* it would be 0\.\d{4} within 2 h$/,
  )
  const [made] = await replicasOf('quiet')
  expect(made).toMatchObject({ type: 'automatic-rebalance', life_cycle: 'spot', created_by: 'understudy' })
  expect(made?.reason).toMatch(/^AWS recommends to rebalance the primary; \S+@us-east-1\w is the safest/)
  expect((await agentOf('quiet')).state).toBe('at-risk')
  const standby = await bench.join('quiet', primary, made as ReplicaView & { instance_id: string })
  await until(async () => (await replicasOf('quiet'))[0]?.status === 'ready')
  // Two hours later.
  for (const table of ['rebalance_signals', 'replica_instances'] as const)
    await bench.db
      .updateTable(table)
      .set(
        table === 'rebalance_signals'
          ? { detected_at: Date.now() - 2 * HOUR }
          : { created_at: Date.now() - 2 * HOUR },
      )
      .where('agent_id', '=', 'quiet')
      .execute()
  await bench.stop()
  await bench.start(primary, standby)
  await until(async () => (await replicasOf('quiet'))[0]?.status === 'terminated')
  const [gone] = await replicasOf('quiet')
  expect(gone).toMatchObject({ id: made?.id, is_active: false })
  expect(gone?.reason).toBe('let go: no notice followed the recommendation: it is not needed any more')
  expect((await agentOf('quiet')).state).toBe('healthy')
})

test('with the policy handover the primary gives its epoch to a replica that is ready', async () => {
  const primary = await bench.primary('hands-over', POOL)
  await set('hands-over', { on_rebalance: 'handover' })
  const { id, puppet } = await bench.replica('hands-over', primary)
  expect(await recommend('hands-over', primary)).toMatchObject({
    action: 'replica-exists',
    reason: expect.stringContaining('takes over when it is ready'),
  })
  await until(async () => (await agentOf('hands-over')).instance_id === puppet.instance)
  await until(async () => (await agentOf('hands-over')).phase === 'steady')
  const { items } = (await bench.call('GET', '/api/agents/hands-over/switches')).body
  expect(items).toMatchObject([{ switch_reason: 'automatic-rebalance', new_instance_id: puppet.instance }])
  const incidents = (await bench.call('GET', '/api/incidents?agent_id=hands-over')).body.items
  expect(incidents[0]).toMatchObject({
    signal_type: 'automatic-move',
    seen_via: [{ via: 'rebalance' }],
    replica_id: id,
    outcome: 'promoted',
    loss: { kind: 'none' },
  })
  expect(incidents[0].steps[0].detail).toContain('a notice follows the recommendation with a probability')
})

test('as many standbys are kept as an agent is to have, each in a pool of its own', async () => {
  await bench.primary('kept', POOL)
  await set('kept', { min_replicas: 2 })
  await until(async () => (await replicasOf('kept')).length === 2)
  const replicas = await replicasOf('kept')
  expect(new Set([POOL, ...replicas.map(({ pool_id }) => pool_id)]).size).toBe(3)
  expect(replicas[0]?.reason).toContain('2 are to be kept at all times; ')
})

const notice = (puppet: Puppet, seconds: number) =>
  puppet.report({
    ...{
      kind: 'notice',
      signal: 'termination-notice',
      noticeId: `n-${puppet.instance}`,
      action: 'terminate',
    },
    ...{ time: instant(Date.now() + seconds * 1000), ageMillis: millis(0) },
  })
const openOf = async (agent: string) =>
  (await bench.call('GET', `/api/incidents?agent_id=${agent}`)).body.items[0]
const stepOf = async (agent: string, name: string) =>
  (await openOf(agent))?.steps.find(({ step }: { step: string }) => step === name)

test('a notice without a replica: one is made, what it costs is told, and the primary is to make a snapshot', async () => {
  const primary = await bench.primary('alone', POOL)
  notice(primary, 120)
  await until(async () => (await stepOf('alone', 'replica-launched')) !== undefined)
  expect((await stepOf('alone', 'replica-launched')).detail).toMatch(
    /^a notice, and no replica was ready; \S+ is the safest that is left .* \$0\.\d{4} per hour$/,
  )
  await until(async () => (await stepOf('alone', 'counts-on-snapshot')) !== undefined)
  expect((await stepOf('alone', 'counts-on-snapshot')).detail).toMatch(
    /^i-bench\d+ is launching, and how long it takes cannot be said yet; 1\d\d(\.\d)? s are left\. It takes over/,
  )
  await until(async () => (await stepOf('alone', 'emergency-snapshot'))?.reported_by === primary.instance)
})

test('where no spot pool has capacity an agent that may is helped on demand, and another is told why not', async () => {
  const primaries = { may: await bench.primary('may', POOL), 'may-not': await bench.primary('may-not', POOL) }
  await set('may', { on_demand_fallback: true })
  for (const { id } of bench.cloud.market.states()) bench.cloud.market.force(id, 'surge')
  for (const primary of Object.values(primaries)) notice(primary, 120)
  await until(async () => (await stepOf('may', 'replica-launched')) !== undefined)
  const [bought] = await replicasOf('may')
  expect(bought).toMatchObject({ life_cycle: 'on-demand', instance_id: expect.stringMatching(/^i-bench/) })
  expect(bought?.reason).toMatch(
    /; \S+ is the cheapest that is large enough, \$0\.\d{4} per hour on demand, \$-?0\.\d{4} more than the primary on spot$/,
  )
  expect((await stepOf('may', 'no-spot-capacity')).detail).toContain('an instance on demand is started')
  await until(async () => (await stepOf('may-not', 'no-spot-capacity')) !== undefined)
  expect((await stepOf('may-not', 'no-spot-capacity')).detail).toContain('on_demand_fallback is off')
  // It is tried again and again.
  await until(async () => (await replicasOf('may-not')).every(({ is_active }) => !is_active))
  // Where AWS is about to act nobody waits until a pool that has just refused may be asked again, which would be in five minutes.
  for (const { id } of bench.cloud.market.states()) bench.cloud.market.force(id, 'calm')
  await until(async () => (await stepOf('may-not', 'replica-launched')) !== undefined)
  expect((await replicasOf('may-not'))[0]).toMatchObject({ life_cycle: 'spot', is_active: true })
})
