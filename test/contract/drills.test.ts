import { afterEach, expect, test } from 'vitest'
import { type Bench, startBench, until } from './bench.ts'

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
