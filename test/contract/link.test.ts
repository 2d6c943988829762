import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Bench, startBench, until } from './bench.ts'
import { connectPuppet } from './puppet.ts'

let bench: Bench
afterEach(() => bench.close())

test('a link needs the credential of that agent', async () => {
  bench = await startBench()
  const token = await bench.joinToken('a')
  const instance = await bench.launch('a', 'm5.large@us-east-1a')
  const { credential } = (await bench.enrol(instance, token)).body
  const attempt = (agent: string, given: string) =>
    connectPuppet({ url: bench.url, agent, instance, credential: given }).then(
      () => 'connected',
      (error: Error) => error.message,
    )
  expect(await attempt('a', 'uc_i-none_x')).toBe('status 401')
  expect(await attempt('b', credential)).toBe('status 403')
  expect(await attempt('a', bench.adminToken)).toBe('status 401')
})

test('an agent of another protocol is told why and let go', async () => {
  bench = await startBench()
  const token = await bench.joinToken('a')
  const instance = await bench.launch('a', 'm5.large@us-east-1a')
  const { credential } = (await bench.enrol(instance, token)).body
  const puppet = await connectPuppet({ url: bench.url, agent: 'a', instance, credential, protocol: 99 })
  await until(() => puppet.refusals.length > 0)
  expect(puppet.refusals[0]).toContain('speaks protocol')
  await puppet.close()
})

test('a message that is not understood ends the connection, not the coordinator', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const token = await bench.joinToken('a', primary.instance)
  const { credential } = (await bench.enrol(primary.instance, token)).body
  for (const text of ['not json', '{"type":"hello"}', '{"type":"heartbeat","seq":"x"}']) {
    const socket = new WebSocket(`${bench.url.replace('http', 'ws')}/api/agents/a/link`, {
      headers: { authorization: `Bearer ${credential}` },
    })
    const answer = new Promise<string>((resolve) =>
      socket.once('message', (data: Buffer) => resolve(data.toString())),
    )
    const closed = new Promise((resolve) => socket.once('close', resolve))
    await new Promise((resolve) => socket.once('open', resolve))
    socket.send(text)
    expect(await answer).toContain('refused')
    await closed
  }
  expect((await bench.call('GET', '/livez')).status).toBe(200)
})

test('a report that is not understood is refused and acknowledged, and the link stays open', async () => {
  const lines: { event: string; why: string }[] = []
  bench = await startBench({ log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }) })
  const primary = await bench.primary('a')
  primary.sendAnything({ type: 'report', id: 900, body: { kind: 'promoted', epoch: 'x', incident: 7 } })
  await until(() => primary.acknowledged.includes(900))
  primary.sendAnything({ type: 'report', id: 901, body: { kind: 'unheard-of' } })
  await until(() => primary.acknowledged.includes(901))
  primary.report({ kind: 'sync', epoch: 1, sync: 'none' })
  await until(() => primary.acknowledged.includes(2))
  expect(primary.refusals).toEqual([])
  const refused = lines.filter(({ event }) => event === 'link.report_refused')
  expect(refused).toHaveLength(2)
  for (const { why } of refused) expect(why).toMatch(/^body[^\n{]*$/)
  primary.sendAnything({ type: 'report', id: 'x', body: { kind: 'fenced', epoch: 1 } })
  await until(() => primary.refusals.length > 0)
  expect(primary.refusals[0]).toMatch(/^protocol: a message was not understood: id: [^\n{]*$/)
})

test('a new connection of an instance takes the place of the old one', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const token = await bench.joinToken('a', primary.instance)
  const { credential } = (await bench.enrol(primary.instance, token)).body
  const second = await bench.connect('a', primary.instance, credential)
  // The daemon was restarted, as far as the coordinator can see: it goes on in a new epoch.
  await until(() => second.elections.some(({ certificate }) => certificate.proposal.epoch === 2))
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.epoch === 2)
})

test('a replica is ready only while its agent is connected', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  const status = async () => (await bench.call('GET', '/api/agents/a')).body.replicas[0]?.status
  const metric = async () =>
    /understudy_replicas\{.*"(\w+)"\} 1/.exec((await bench.call('GET', '/metrics')).body)?.[1]
  expect([await status(), await metric()]).toEqual(['ready', 'ready'])
  const { credential } = (await bench.enrol(puppet.instance, await bench.joinToken('a', puppet.instance)))
    .body
  await puppet.close()
  await until(async () => (await status()) === 'syncing')
  expect(await metric()).toBe('syncing')
  // What the primary last said of it does not make it ready.
  primary.beat()
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect((await bench.call('GET', '/api/agents/a/replicas')).body.items).toMatchObject([
    { id, status: 'syncing' },
  ])
  await bench.connect('a', puppet.instance, credential)
  await until(async () => (await status()) === 'ready')
  primary.attached = []
  await until(async () => (await status()) === 'syncing')
})

test('with a notice and no replica, one is made and takes over when it is ready', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  primary.report({
    kind: 'notice',
    signal: 'termination-notice',
    noticeId: 'n1',
    action: 'terminate',
    time: (Date.now() + 60_000) as never,
    ageMillis: 0 as never,
  })
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.replica_count === 1)
  const [incident] = (await bench.call('GET', '/api/incidents')).body.items
  expect(incident).toMatchObject({ outcome: 'running', seen_via: [{ via: 'imds', after_ms: 0 }] })
  expect(incident.deadline_at).not.toBeNull()
  const [replica] = (await bench.call('GET', '/api/agents/a')).body.replicas
  expect(replica.type).toBe('automatic-termination')
})

test('a notice whose time moves is one incident with the new deadline', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const said = (left: number) => {
    const time = Math.round((Date.now() + left) / 1000) * 1000
    primary.report({
      kind: 'notice',
      signal: 'termination-notice',
      noticeId: `n${time}`,
      action: 'terminate',
      time: time as never,
      ageMillis: 0 as never,
    })
    return time
  }
  const incidents = async () => (await bench.call('GET', '/api/incidents')).body.items
  const untilDeadline = (time: number) =>
    until(async () => Math.abs(Date.parse((await incidents())[0]?.deadline_at) - time) < 100)
  await untilDeadline(said(60_000))
  await untilDeadline(said(30_000))
  await untilDeadline(said(90_000))
  expect(await incidents()).toHaveLength(1)
  expect((await bench.call('GET', '/api/agents/a')).body.reason).toMatch(/in (8|9)\d/)
})

test('one notice that comes by two paths is one incident', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  primary.onOrder = (order) => {
    // It takes its time, so that the second path finds the move under way.
    if (order.kind !== 'hand-over') primary.obey(order)
  }
  const { puppet } = await bench.replica('a', primary)
  const body = {
    instance_id: primary.instance,
    termination_time: new Date(Date.now() + 60_000).toISOString(),
  }
  const call = bench.call('POST', '/api/agents/a/termination-imminent', body)
  await until(() => primary.orders.some(({ kind }) => kind === 'hand-over'))
  primary.report({
    kind: 'notice',
    signal: 'termination-notice',
    noticeId: 'n1',
    action: 'terminate',
    time: (Date.now() + 60_000) as never,
    ageMillis: 0 as never,
  })
  await new Promise((resolve) => setTimeout(resolve, 50))
  const handOver = primary.orders.find(({ kind }) => kind === 'hand-over')
  if (handOver) primary.obey(handOver)
  const { incident, new_primary } = (await call).body
  expect(new_primary.instance_id).toBe(puppet.instance)
  expect(incident.seen_via.map(({ via }: { via: string }) => via)).toEqual(['api', 'imds'])
  expect((await bench.call('GET', '/api/incidents')).body.items).toHaveLength(1)
})

test('a new primary that cannot start gives way to the old one, and the record says so', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  primary.onOrder = (order) => {
    if (order.kind === 'hand-over') primary.step(order.incident, 'workload-frozen')
    primary.obey(order)
  }
  puppet.onElected = ({ certificate }) => {
    const { epoch } = certificate.proposal
    puppet.resign(epoch)
    puppet.report({ kind: 'promotion-failed', epoch, why: 'start hook: it ended with status 1' })
  }
  const { body } = await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {})
  expect(body.incident).toMatchObject({ outcome: 'failed', success: false })
  expect(body.incident.steps).toContainEqual(
    expect.objectContaining({
      step: 'promotion-failed',
      ok: false,
      detail: expect.stringContaining('status 1'),
    }),
  )
  expect(body.incident.no_primary_ms).toBeGreaterThan(0)
  expect(body.incident.loss).toMatchObject({
    kind: 'none',
    sentence: expect.stringContaining('its own state'),
  })
  expect((await bench.call('GET', '/api/agents/a')).body).toMatchObject({
    instance_id: primary.instance,
    epoch: 4,
  })
})

test('a successor that gives up right after it was elected is the only copy: the record says what is missing on it', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  await bench.leased('a')
  puppet.onElected = ({ certificate }) => {
    const { epoch } = certificate.proposal
    puppet.resign(epoch)
    puppet.report({ kind: 'promotion-failed', epoch, why: 'the lease ended before the workload was up' })
  }
  primary.silence()
  await until(async () => (await bench.call('GET', '/api/incidents')).body.items[0]?.closed_at)
  const [incident] = (await bench.call('GET', '/api/incidents')).body.items
  expect(incident).toMatchObject({ trigger: 'silence', outcome: 'failed', loss: { kind: 'bounded' } })
})

test('a hand-over that fails after the freeze counts the time until the thaw', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id } = await bench.replica('a', primary)
  primary.onOrder = (order) => {
    if (order.kind !== 'hand-over') return primary.obey(order)
    const { incident, epoch } = order
    primary.step(incident, 'workload-frozen')
    primary.report({ kind: 'hand-over-failed', epoch, incident, why: 'the replica did not confirm' })
    setTimeout(() => primary.step(incident, 'workload-thawed', 40), 100)
  }
  const { body } = await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {})
  expect(body.incident).toMatchObject({ outcome: 'failed', loss: { kind: 'none' } })
  const gap = async () => (await bench.call('GET', `/api/incidents/${body.incident.id}`)).body.no_primary_ms
  await until(async () => (await gap()) >= 90)
  const before = await gap()
  // Frozen later for another reason.
  primary.step(body.incident.id, 'workload-frozen')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  primary.step(body.incident.id, 'workload-thawed')
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(await gap()).toBe(before)
})

test('dashboards get a picture and then what changes', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const frames: { type: string; seq: number; content?: Record<string, Record<string, { state: string }>> }[] =
    []
  const socket = new WebSocket(`${bench.url.replace('http', 'ws')}/api/live`, {
    headers: { authorization: `Bearer ${bench.adminToken}` },
  })
  socket.on('message', (data: Buffer) => frames.push(JSON.parse(data.toString())))
  await until(() => frames.length > 0)
  expect(frames[0]).toMatchObject({ type: 'snapshot', mode: 'serve' })
  await until(() => frames.some(({ content }) => content?.agents?.a?.state === 'healthy'))
  await bench.call('POST', '/api/agents/a/rebalance-recommendation', { instance_id: primary.instance })
  await until(() => frames.some(({ content }) => content?.agents?.a?.state === 'at-risk'))
  const seqs = frames.slice(1).map(({ seq }) => seq)
  expect(seqs).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index))
  socket.close()
})
