import { afterEach, expect, test } from 'vitest'
import { instant, millis } from '../../shared/src/core/time.ts'
import { type Bench, startBench, until } from './bench.ts'
import type { Puppet } from './puppet.ts'

let bench: Bench
afterEach(() => bench.close())

const drillOf = async (agent: string, id: string) =>
  (await bench.call('GET', `/api/agents/${agent}/drills/${id}`)).body

test('a drill is a planned move of its own kind: it counts neither as a switch by hand nor in the savings', async () => {
  bench = await startBench({ env: { UNDERSTUDY_SWITCH_COST: '1' } })
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  const instances = async () =>
    (await bench.db.selectFrom('instances').select(['id', 'terminated_at']).orderBy('id').execute()).map(
      ({ id, terminated_at }) => [id, terminated_at],
    )
  const before = await instances()
  const begun = await bench.call('POST', '/api/agents/a/drills', {})
  expect(begun).toMatchObject({
    status: 202,
    body: { agent_id: 'a', requested_by: 'test', switch_back: false },
  })
  await until(async () => (await drillOf('a', begun.body.id)).ended_at !== null)
  const drill = await drillOf('a', begun.body.id)
  expect(drill).toMatchObject({
    status: 'done',
    reason: `${puppet.instance} took over; ${primary.instance} stands by`,
    moves: [
      {
        direction: 'out',
        from_instance_id: primary.instance,
        to_instance_id: puppet.instance,
        outcome: 'promoted',
        detect_to_promoted_ms: expect.any(Number),
        no_primary_ms: expect.any(Number),
        loss: { kind: 'none' },
      },
    ],
    before: { drills: { count: 0 }, incidents: { count: 0 } },
  })
  expect(drill.moves[0].steps.map(({ step }: { step: string }) => step)).toContain('epoch-moved')
  const { items } = (await bench.call('GET', '/api/incidents')).body
  expect(items).toMatchObject([{ id: drill.moves[0].incident_id, trigger: 'drill', outcome: 'promoted' }])
  expect((await bench.call('GET', '/api/agents/a/switches')).body.items).toMatchObject([
    { switch_reason: 'drill', new_instance_id: puppet.instance },
  ])
  expect((await bench.call('GET', '/api/savings')).body).toMatchObject({ switches: 0, switch_cost: 0 })
  const counted =
    /understudy_failovers_total\{outcome="promoted",trigger="drill"\} 1[\s\S]*understudy_failover_no_primary_seconds_count 0/
  // Counted as soon as it is shown.
  await until(async () => counted.test((await bench.call('GET', '/metrics')).body))
  expect(await instances()).toEqual(before)
  const audited = await bench.db.selectFrom('audit_log').select(['action', 'object']).execute()
  expect(audited).toContainEqual({ action: 'agent.drill', object: 'a' })
  expect((await bench.call('GET', '/api/agents/a/drills')).body).toMatchObject({
    items: [{ id: begun.body.id }],
    next: null,
  })
})

test('without a ready replica, to strangers and while something is open a drill is refused, and nothing moves', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const ask = (headers: Record<string, string> = {}, body = {}) =>
    bench.call('POST', '/api/agents/a/drills', body, headers)
  expect(await ask()).toMatchObject({
    status: 409,
    body: { code: 'not_ready', detail: 'no replica of a is ready: it has none' },
  })
  const viewer = { authorization: `Bearer ${await bench.operatorToken('viewer')}` }
  expect((await ask(viewer)).status).toBe(403)
  expect((await ask({ authorization: 'Bearer nobody' })).status).toBe(401)
  expect(await ask({}, { replica: 'x' })).toMatchObject({ status: 400, body: { code: 'input_invalid' } })
  expect((await bench.call('GET', `/api/agents/a/drills/${crypto.randomUUID()}`)).status).toBe(404)

  await bench.replica('a', primary)
  // The primary takes its time, so that the drill is still under way when the second one is asked for.
  const orders: Parameters<typeof primary.obey>[0][] = []
  primary.onOrder = (order) => void orders.push(order)
  const first = await ask()
  expect(first.status).toBe(202)
  expect(await ask()).toMatchObject({
    status: 409,
    body: { code: 'busy', facts: { drill: first.body.id } },
  })
  for (const order of orders) primary.obey(order)
  primary.onOrder = (order) => primary.obey(order)
  await until(async () => (await drillOf('a', first.body.id)).ended_at !== null)
  expect((await bench.call('GET', '/api/agents/a/switches')).body.items).toHaveLength(1)
})

test('a coordinator that is restarted in the middle of a drill brings it to its end', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  // It does not get to it before the coordinator has ended.
  primary.onOrder = () => undefined
  const begun = await bench.call('POST', '/api/agents/a/drills', {})
  await bench.stop()
  expect(await bench.db.selectFrom('drills').select(['status', 'ended_at']).execute()).toEqual([
    { status: 'moving', ended_at: null },
  ])
  primary.onOrder = (order) => primary.obey(order)
  await bench.start(primary, puppet)
  await until(async () => (await drillOf('a', begun.body.id)).ended_at !== null)
  const drill = await drillOf('a', begun.body.id)
  // Either it went through with it, or it says that it did not; it is over in any case, and of its kind.
  expect(['done', 'failed']).toContain(drill.status)
  expect((await bench.call('GET', '/api/incidents')).body.items).toMatchObject([
    { id: drill.moves[0].incident_id, trigger: 'drill', outcome: drill.moves[0].outcome },
  ])
})

const notice = (puppet: Puppet) =>
  puppet.report({
    ...{
      kind: 'notice',
      signal: 'termination-notice',
      noticeId: `n-${puppet.instance}`,
      action: 'terminate',
    },
    ...{ time: instant(Date.now() + 120_000), ageMillis: millis(0) },
  })

test('a notice in the middle of a drill: the move goes on as the real one, and the report says so', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  // It is told to hand over, and AWS takes it back before it has.
  const orders: Parameters<typeof primary.obey>[0][] = []
  primary.onOrder = (order) => void orders.push(order)
  const begun = await bench.call('POST', '/api/agents/a/drills', { switch_back: true })
  const id = begun.body.moves[0].incident_id
  notice(primary)
  const incident = async () => (await bench.call('GET', `/api/incidents/${id}`)).body
  await until(async () => (await incident()).trigger === 'notice')
  expect(await incident()).toMatchObject({
    ...{ signal_type: 'termination-notice', deadline_at: expect.any(String), outcome: 'running' },
    seen_via: [{ via: 'operator' }, { via: 'imds' }],
  })
  primary.onOrder = (order) => primary.obey(order)
  for (const order of orders) primary.obey(order)
  await until(async () => (await drillOf('a', begun.body.id)).ended_at !== null)
  const drill = await drillOf('a', begun.body.id)
  expect(drill).toMatchObject({
    status: 'failed',
    reason: `AWS took ${primary.instance} back in the middle, and the drill was given up: the move went on as a real one, and ${puppet.instance} took over`,
    moves: [{ direction: 'out', outcome: 'promoted', loss: { kind: 'none' } }],
  })
  expect((await incident()).steps.map(({ step }: { step: string }) => step)).toEqual(
    expect.arrayContaining(['move-requested', 'notice-received', 'epoch-moved']),
  )
  expect((await bench.call('GET', '/api/agents/a/switches')).body.items).toMatchObject([
    { switch_reason: 'automatic-interruption-failover', new_instance_id: puppet.instance },
  ])
  // It counts as an interruption, and the new primary gets a standby of its own.
  expect((await bench.call('GET', '/api/incidents')).body.items).toHaveLength(1)
  await until(async () =>
    (await bench.call('GET', '/api/agents/a/replicas')).body.items.some(
      ({ type, is_active }: { type: string; is_active: boolean }) =>
        is_active && type === 'automatic-termination',
    ),
  )
})

test('a notice to the old primary before it is moved back: it is not, at once, and another standby is made', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  // As a standby it takes its time to be ready again.
  primary.onOrder = (order) => {
    if (order.kind === 'hand-over') primary.obey(order)
  }
  const begun = await bench.call('POST', '/api/agents/a/drills', { switch_back: true })
  await until(async () => (await drillOf('a', begun.body.id)).status === 'moving-back')
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.phase === 'steady')
  notice(primary)
  await until(async () => (await drillOf('a', begun.body.id)).ended_at !== null)
  expect(await drillOf('a', begun.body.id)).toMatchObject({
    status: 'failed',
    reason: `${puppet.instance} took over, and AWS takes ${primary.instance} back: it is not moved back`,
  })
  const [last] = (await bench.call('GET', '/api/incidents')).body.items
  expect(last).toMatchObject({ trigger: 'notice', instance_id: primary.instance, outcome: 'no-action' })
  await until(async () =>
    (await bench.call('GET', '/api/agents/a/replicas')).body.items.some(
      ({ type, is_active }: { type: string; is_active: boolean }) =>
        is_active && type === 'automatic-termination',
    ),
  )
})
