import { afterEach, expect, test } from 'vitest'
import { type Answer, type Bench, startBench, until } from './bench.ts'

let bench: Bench
afterEach(() => bench.close())

const RID = '00000000-0000-4000-8000-000000000000'

/** Every refusal has the same shape, says what is wrong, and never shows a stack. */
function expectProblem(answer: Answer, status: number, code: string, text: string): void {
  expect(answer).toMatchObject({ status, type: 'application/problem+json', body: { status, code } })
  expect(JSON.stringify(answer.body)).toContain(text)
  expect(JSON.stringify(answer.body)).not.toContain('node_modules')
}

test('malformed JSON is refused and changes nothing', async () => {
  bench = await startBench()
  await bench.primary('a')
  const answer = await bench.raw('POST', '/api/agents/a/replicas', '{"created_by": "x"', {
    'content-type': 'application/json',
  })
  expectProblem(answer, 400, 'input_invalid', 'JSON')
  expect((await bench.call('GET', '/api/agents/a/replicas')).body.items).toEqual([])
})

test('an unknown key is named', async () => {
  bench = await startBench()
  await bench.primary('a')
  const answer = await bench.call('POST', '/api/agents/a/replicas', {
    created_by: 'x',
    exclude_zone: ['us-east-1a'],
  })
  expectProblem(answer, 400, 'input_invalid', 'unknown key')
  expect(answer.body.errors).toEqual([{ pointer: '/exclude_zone', message: 'unknown key' }])
})

test.each([
  [{ exclude_zones: 'us-east-1a' }, '/exclude_zones'],
  [{ pool_id: 'm5.large' }, '/pool_id'],
  [{ created_by: 7 }, '/created_by'],
  [[], ''],
])('a value of the wrong type is named with its place: %j', async (body, pointer) => {
  bench = await startBench()
  await bench.primary('a')
  const answer = await bench.call('POST', '/api/agents/a/replicas', body)
  expect(answer.status).toBe(400)
  expect(answer.body.errors[0].pointer).toBe(pointer)
})

test('an agent or a replica that is not there is a 404 that says where to look', async () => {
  bench = await startBench()
  await bench.primary('a')
  expectProblem(await bench.call('GET', '/api/agents/none'), 404, 'not_found', 'GET /api/agents lists them')
  expectProblem(await bench.call('POST', '/api/agents/none/replicas', {}), 404, 'not_found', 'no agent none')
  expectProblem(
    await bench.call('GET', `/api/agents/a/replicas/${RID}/promote?dry_run`),
    404,
    'not_found',
    RID,
  )
  expectProblem(await bench.call('POST', `/api/agents/a/replicas/${RID}/promote`, {}), 404, 'not_found', RID)
  expectProblem(await bench.call('DELETE', `/api/agents/a/replicas/${RID}`), 404, 'not_found', RID)
  expectProblem(await bench.call('GET', `/api/incidents/${RID}`), 404, 'not_found', RID)
  expectProblem(await bench.call('GET', '/api/nowhere'), 404, 'not_found', '/openapi.json')
})

test('a body that is too large is refused', async () => {
  bench = await startBench()
  const answer = await bench.call('POST', '/api/agents/a/replicas', { created_by: 'x'.repeat(300_000) })
  expectProblem(answer, 413, 'payload_too_large', 'may have')
})

test("the customer's curl calls work without a content type, and without a body", async () => {
  bench = await startBench()
  await bench.primary('agent-demo-1')
  const created = await bench.raw(
    'POST',
    '/api/agents/agent-demo-1/replicas',
    '{"created_by": "test@example.com"}',
    {
      'content-type': 'application/x-www-form-urlencoded',
    },
  )
  expect(created.status).toBe(201)
  expect(created.body.replica).toMatchObject({
    created_by: 'test@example.com',
    type: 'manual',
    status: 'launching',
  })
  expect((await bench.call('POST', '/api/agents/agent-demo-1/create-emergency-replica')).status).toBe(200)
})

test('a promotion with an epoch that has moved on is refused with the present facts', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id } = await bench.replica('a', primary)
  const answer = await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, { expected_epoch: 7 })
  expectProblem(answer, 409, 'stale_epoch', 'at epoch 2, not 7')
  expect(answer.body.facts).toMatchObject({ epoch: 2, primary: primary.instance })
})

test('a replica is promoted once; the second call says that it was', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  const path = `/api/agents/a/replicas/${id}/promote`
  const moved = await bench.call('POST', path, { expected_epoch: 2 })
  expect(moved).toMatchObject({
    status: 200,
    body: {
      new_primary: { instance_id: puppet.instance, epoch: 3 },
      incident: {
        outcome: 'promoted',
        trigger: 'planned',
        signal_type: 'operator-request',
        failover_completed: true,
      },
    },
  })
  expectProblem(await bench.call('POST', path, {}), 409, 'conflict', 'was promoted before')
  const { items } = (await bench.call('GET', '/api/agents/a/switches')).body
  expect(items).toMatchObject([
    { epoch: 3, switch_reason: 'manual', success: true, new_instance_id: puppet.instance },
  ])
})

test('two operators that promote at once make one move', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id } = await bench.replica('a', primary)
  const path = `/api/agents/a/replicas/${id}/promote`
  // The move is still under way when the second one comes.
  primary.onOrder = (order) => void setTimeout(() => primary.obey(order), 2000)
  const both = await Promise.all([1, 2].map(() => bench.call('POST', path, { expected_epoch: 2 })))
  expect(both.map(({ status }) => status)).toEqual([200, 200])
  expect(new Set(both.map(({ body }) => body.incident.id)).size).toBe(1)
  expect((await bench.call('GET', '/api/switches')).body.items).toHaveLength(1)
})

test('the same Idempotency-Key creates one replica; with another body it is refused', async () => {
  bench = await startBench()
  await bench.primary('a')
  const headers = { 'idempotency-key': 'one' }
  const first = await bench.call('POST', '/api/agents/a/replicas', { created_by: 'x' }, headers)
  const again = await bench.call('POST', '/api/agents/a/replicas', { created_by: 'x' }, headers)
  expect(again.body).toEqual(first.body)
  expect((await bench.call('GET', '/api/agents/a/replicas')).body.items).toHaveLength(1)
  const other = await bench.call('POST', '/api/agents/a/replicas', { created_by: 'y' }, headers)
  expectProblem(other, 409, 'conflict', 'used for another request')
})

test('a second agent cannot claim an instance, not even with a token of its own', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const token = await bench.joinToken('b')
  expectProblem(
    await bench.enrol(primary.instance, token),
    409,
    'conflict',
    'has enrolled before, for the agent a',
  )
  const again = await bench.joinToken('a', primary.instance)
  expect((await bench.enrol(primary.instance, again)).status).toBe(201)
})

test.each([
  [
    'a forged document',
    (body: Record<string, unknown>) => replaceIn(body, 'document', 'm5.large', 'm9.huge'),
    401,
    'signature',
  ],
  [
    'a wrong token',
    (body: object) => ({ ...body, join_token: `us_${'0'.repeat(16)}_${'a'.repeat(43)}` }),
    401,
    'unknown',
  ],
  ['an older protocol', (body: object) => ({ ...body, protocol: 99 }), 400, 'speaks protocol'],
  [
    'no document',
    (body: object) => ({ ...body, identity: { document: '{}', signature: 'x'.repeat(40) } }),
    400,
    'not one',
  ],
] as const)('%s does not let an instance in', async (_, forge, status, text) => {
  bench = await startBench()
  const token = await bench.joinToken('a')
  const instance = await bench.launch('a', 'm5.large@us-east-1a')
  const body = await bench.enrolBody(instance, token)
  const answer = await bench.call('POST', '/api/agents/enroll', forge(body as never))
  expect(answer.status).toBe(status)
  expect(JSON.stringify(answer.body)).toContain(text)
})

const replaceIn = (body: Record<string, unknown>, key: string, from: string, to: string) => {
  const identity = body.identity as Record<string, string>
  return { ...body, identity: { ...identity, [key]: identity[key]?.replace(from, to) } }
}

test('a document of an instance that has ended lets nobody in', async () => {
  bench = await startBench()
  const token = await bench.joinToken('a')
  const instance = await bench.launch('a', 'm5.large@us-east-1a')
  const body = await bench.enrolBody(instance, token)
  bench.cloud.interrupt(instance, undefined)
  expectProblem(
    await bench.call('POST', '/api/agents/enroll', body),
    401,
    'unauthenticated',
    'knows no running instance',
  )
})

test('an instance whose answer was lost may ask again with the same token; no other instance may', async () => {
  bench = await startBench()
  await bench.primary('a')
  const token = await bench.joinToken('a')
  const [instance, other] = [
    await bench.launch('a', 'm5.large@us-east-1b'),
    await bench.launch('a', 'm5.large@us-east-1c'),
  ]
  expect((await bench.enrol(instance, token)).status).toBe(201)
  const again = await bench.enrol(instance, token)
  expect(again.status).toBe(201)
  const puppet = await bench.connect('a', instance, again.body.credential)
  await puppet.close()
  expectProblem(await bench.enrol(other, token), 401, 'unauthenticated', 'was used before')
})

test('instances of one agent must protect the same number of directories', async () => {
  bench = await startBench()
  await bench.primary('a')
  const token = await bench.joinToken('a')
  const instance = await bench.launch('a', 'm5.large@us-east-1b')
  const body = { ...(await bench.enrolBody(instance, token)), state_directories: 2 }
  expectProblem(
    await bench.call('POST', '/api/agents/enroll', body),
    409,
    'conflict',
    'protects 1 state directories',
  )
})

test('nobody gets in without a token, and nobody gets further than the role allows', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const without = { authorization: '' }
  expectProblem(
    await bench.call('GET', '/api/agents', undefined, without),
    401,
    'unauthenticated',
    'needs a token',
  )
  expectProblem(
    await bench.call('POST', '/api/agents/a/replicas', {}, without),
    401,
    'unauthenticated',
    'token',
  )
  expectProblem(
    await bench.call('GET', '/api/agents', undefined, { authorization: 'Bearer us_x' }),
    401,
    'unauthenticated',
    'needs a token',
  )
  expect((await bench.call('GET', '/livez', undefined, without)).status).toBe(200)
  expect(primary.elections).toHaveLength(1)
})

test('a page of another site can change nothing', async () => {
  bench = await startBench({ mode: 'demo' })
  await bench.primary('a')
  const foreign = { origin: 'https://evil.example', 'content-type': 'text/plain' }
  expectProblem(
    await bench.raw('POST', '/api/agents/a/replicas', '{}', foreign),
    403,
    'forbidden',
    'evil.example',
  )
})

test('a replica by hand: pool chosen with reasons, progress, deletion', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const created = await bench.call('POST', '/api/agents/a/replicas', { exclude_zones: ['us-east-1b'] })
  const chosen = created.body.choice.filter(({ chosen }: { chosen: boolean }) => chosen)
  expect(chosen).toMatchObject([{ pool_id: created.body.replica.pool_id }])
  expect(created.body.replica.availability_zone).not.toMatch(/us-east-1[ab]/)
  const path = `/api/agents/a/replicas/${created.body.replica_id}`
  const progress = await bench.call('POST', `${path}/sync-status`, {
    status: 'syncing',
    sync_percent: 64,
    bytes_done: 64,
    bytes_total: 100,
  })
  expect(progress.body).toMatchObject({ sync_percent: 64, bytes_done: 64, bytes_total: 100 })
  expect((await bench.call('DELETE', path)).body).toMatchObject({ status: 'terminated', is_active: false })
  expect((await bench.call('DELETE', path)).body).toMatchObject({ status: 'terminated' })
  expect((await bench.call('GET', '/api/agents/a')).body.replica_count).toBe(0)
  expect(primary.role).toBe('primary')
})

test('progress by HTTP never makes a replica ready: the primary has to vouch for it', async () => {
  bench = await startBench()
  await bench.primary('a')
  const { body } = await bench.call('POST', '/api/agents/a/replicas', {})
  const path = `/api/agents/a/replicas/${body.replica_id}`
  await bench.call('POST', `${path}/sync-status`, { status: 'ready' })
  const plan = await bench.call('GET', `${path}/promote?dry_run`)
  expect(plan.body).toMatchObject({ possible: false, epoch: 1 })
  expectProblem(await bench.call('POST', `${path}/promote`, {}), 409, 'not_ready', 'facts')
})

test('a dry run tells what would happen and changes nothing', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  const { body } = await bench.call('GET', `/api/agents/a/replicas/${id}/promote?dry_run`)
  expect(body).toMatchObject({
    possible: true,
    epoch: 2,
    stops: { instance_id: primary.instance },
    starts: { instance_id: puppet.instance },
    state_behind: { ms: 0, bytes: 0 },
    expected_gap_ms: null,
  })
  expect((await bench.call('GET', '/api/agents/a')).body.epoch).toBe(2)
})

test('a termination notice by API promotes the ready replica, once, and repeats its answer', async () => {
  bench = await startBench()
  const primary = await bench.primary('agent-demo-1')
  const { puppet } = await bench.replica('agent-demo-1', primary)
  const body = { instance_id: primary.instance, termination_time: '2025-11-20T10:47:00Z' }
  const first = await bench.call('POST', '/api/agents/agent-demo-1/termination-imminent', body)
  expect(first).toMatchObject({
    status: 200,
    body: {
      new_primary: { instance_id: puppet.instance, epoch: 3 },
      incident: {
        signal_type: 'termination-notice',
        response_action: 'promoted-existing-replica',
        failover_completed: true,
        success: true,
        loss: { kind: 'none' },
      },
    },
  })
  expect(first.body.incident.failover_time_ms).toBeGreaterThan(0)
  const again = await bench.call('POST', '/api/agents/agent-demo-1/termination-imminent', body)
  expect(again.body.incident.id).toBe(first.body.incident.id)
  expect((await bench.call('GET', '/api/agents/agent-demo-1')).body.term).toBe(3)
  expect((await bench.call('GET', '/api/agents/agent-demo-1/switches')).body.items).toMatchObject([
    { switch_reason: 'automatic-interruption-failover', success: true },
  ])
})

test('a notice for an instance of somebody else is refused', async () => {
  bench = await startBench()
  await bench.primary('a')
  const other = await bench.primary('b', 'm5.large@us-east-1b')
  const body = { instance_id: other.instance, termination_time: '2030-01-01T00:00:00Z' }
  expectProblem(
    await bench.call('POST', '/api/agents/a/termination-imminent', body),
    404,
    'not_found',
    'not an instance of a',
  )
})

test('a rebalance recommendation answers with the probability and makes a replica in the safest pool', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const path = '/api/agents/a/rebalance-recommendation'
  const { body } = await bench.call('POST', path, { instance_id: primary.instance })
  expect(body).toMatchObject({
    interruption_probability: 0.4,
    threshold: 0.3,
    action: 'created-emergency-replica',
    replica: { type: 'automatic-rebalance', status: 'launching' },
  })
  expect((await bench.call('POST', path, { instance_id: primary.instance })).body.incident_id).toBe(
    body.incident_id,
  )
  expect((await bench.call('GET', '/api/agents/a')).body).toMatchObject({
    state: 'at-risk',
    replica_count: 1,
    epoch: 1,
  })
})

test('below the threshold, or without leave, a recommendation makes nothing', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const path = '/api/agents/a/rebalance-recommendation'
  await bench.call('PATCH', '/api/agents/a', { rebalance_threshold: 0.5 })
  expect((await bench.call('POST', path, { instance_id: primary.instance })).body).toMatchObject({
    action: 'none',
    replica: null,
  })
  expectProblem(
    await bench.call('PATCH', '/api/agents/a', { rebalance_threshold: 2 }),
    400,
    'input_invalid',
    'threshold',
  )
  expectProblem(
    await bench.call('PATCH', '/api/agents/a', { auto: true }),
    400,
    'input_invalid',
    'unknown key',
  )
})

test('missed heartbeats end in a promotion, with the loss as a number', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  await bench.leased('a')
  primary.silence()
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.instance_id === puppet.instance)
  await until(async () => (await bench.call('GET', '/api/incidents')).body.items[0].closed_at !== null)
  const [incident] = (await bench.call('GET', '/api/incidents?agent_id=a')).body.items
  expect(incident).toMatchObject({
    signal_type: 'instance-lost',
    trigger: 'silence',
    outcome: 'promoted',
    loss: { kind: 'bounded' },
  })
  expect(incident.no_primary_ms).toBeGreaterThan(400)
  expect(primary.orders.some(({ kind }) => kind === 'fence' || kind === 'follow')).toBe(true)
})

test('an incident can be read, and taken away as JSON, text or zip', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id } = await bench.replica('a', primary)
  const { body } = await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {})
  const path = `/api/incidents/${body.incident.id}`
  const incident = (await bench.call('GET', path)).body
  expect(incident.steps.map(({ step }: { step: string }) => step)).toEqual(
    expect.arrayContaining(['move-requested', 'hand-over-ordered', 'epoch-moved', 'address-moved']),
  )
  expect((await bench.call('GET', `${path}/export?format=text`)).body).toContain('epoch 2 -> 3')
  const zip = await fetch(`${bench.url}${path}/export?format=zip`, {
    headers: { authorization: `Bearer ${bench.adminToken}` },
  })
  expect(zip.headers.get('content-type')).toBe('application/zip')
  expect(
    Buffer.from(await zip.arrayBuffer())
      .subarray(0, 2)
      .toString(),
  ).toBe('PK')
  expect((await bench.call('GET', `${path}/export?format=pdf`)).status).toBe(400)
})

test('lists are read page by page', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const second = await bench.replica('a', primary)
  await bench.call('POST', `/api/agents/a/replicas/${second.id}/promote`, {})
  second.puppet.attached = [primary.instance]
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.replicas[0]?.status === 'ready')
  const [back] = (await bench.call('GET', '/api/agents/a')).body.replicas
  await bench.call('POST', `/api/agents/a/replicas/${back.id}/promote`, {})
  for (const path of ['/api/incidents', '/api/switches']) {
    const first = await bench.call('GET', `${path}?limit=1`)
    expect(first.body.items).toHaveLength(1)
    const rest = await bench.call('GET', `${path}?limit=1&cursor=${encodeURIComponent(first.body.next)}`)
    expect(rest.body.items).toHaveLength(1)
    expect(rest.body.items[0].id).not.toBe(first.body.items[0].id)
    expect(rest.body.next).toBeNull()
    expect((await bench.call('GET', `${path}?agent_id=a`)).body.items).toHaveLength(2)
    expect((await bench.call('GET', `${path}?agent_id=b`)).body.items).toEqual([])
    expectProblem(await bench.call('GET', `${path}?agent=a`), 400, 'input_invalid', 'agent')
  }
  expectProblem(await bench.call('GET', '/api/incidents?cursor=x'), 400, 'input_invalid', 'cursor')
})

test('health, readiness, metrics and the description of the API are there', async () => {
  bench = await startBench()
  await bench.primary('a')
  for (const path of ['/api/health', '/health', '/api/v1/ml/health'])
    expect((await bench.call('GET', path)).body).toMatchObject({
      status: 'healthy',
      agents: { total: 1, online: 1 },
    })
  expect((await bench.call('GET', '/readyz?verbose')).body).toContain('ok database')
  const metrics = (await bench.call('GET', '/metrics')).body
  expect(metrics).toContain('understudy_agents{state="healthy"} 1')
  expect(metrics).toContain('understudy_failovers_total{outcome="promoted",trigger="notice"} 0')
  const { body: api } = await bench.call('GET', '/openapi.json')
  expect(api.openapi).toBe('3.1.0')
  expect(Object.keys(api.paths)).toEqual(
    expect.arrayContaining([
      '/api/agents/enroll',
      '/api/agents/{id}/termination-imminent',
      '/api/agents/{id}/replicas/{rid}/promote',
      '/api/incidents/{id}/export',
    ]),
  )
})

test('an operator signs in with a token and gets a cookie that no script can read', async () => {
  bench = await startBench()
  const wrong = await bench.call('POST', '/api/session', { token: 'us_wrong' }, { authorization: '' })
  expectProblem(wrong, 401, 'unauthenticated', 'not valid')
  const response = await fetch(`${bench.url}/api/session`, {
    method: 'POST',
    body: JSON.stringify({ token: bench.adminToken }),
    headers: { 'content-type': 'application/json' },
  })
  const cookie = response.headers.get('set-cookie') ?? ''
  expect(cookie).toMatch(/HttpOnly/)
  expect(cookie).toMatch(/SameSite=Strict/)
  const session = { authorization: '', cookie: cookie.split(';')[0] ?? '' }
  expect((await bench.call('GET', '/api/agents', undefined, session)).status).toBe(200)
  const form = { ...session, 'content-type': 'text/plain' }
  expect((await bench.raw('POST', '/api/agents/a/replicas', '{}', form)).status).toBe(403)
  await bench.call('DELETE', '/api/session', {}, session)
  expect((await bench.call('GET', '/api/agents', undefined, session)).status).toBe(401)
})
