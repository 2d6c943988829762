import { randomUUID } from 'node:crypto'
import { instant, millis, mono } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Bench, startBench, until } from './bench.ts'

let bench: Bench
afterEach(() => bench.close())

const agent = async () => (await bench.call('GET', '/api/agents/a')).body
const epochs = async (query = '') => (await bench.call('GET', `/api/agents/a/epochs${query}`)).body

const standbys = () =>
  bench.db.selectFrom('replica_instances').selectAll().where('is_active', '=', 1).execute()

/** A log whose events can be looked at. */
function recorded() {
  const lines: { event: string; [key: string]: unknown }[] = []
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const events = (event: string) => lines.filter((line) => line.event === event)
  return { log, events }
}

/** A primary with a successor, which have no coordinator any more; what they do now is an incident of this name. */
async function leftAlone(...[options, body]: [Parameters<typeof startBench>[0]?, object?]) {
  bench = await startBench(options)
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary, body)
  await until(() => primary.lease === 'until')
  await bench.stop()
  return { primary, puppet, incident: randomUUID() }
}

test('every change of epoch is listed with its votes, the latest first', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  const [p, r] = [primary.instance, puppet.instance]
  await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, { expected_epoch: 2 })
  await until(async () => (await epochs()).items.length === 3)
  const { items, next } = await epochs()
  expect(next).toBeNull()
  expect(items).toMatchObject([
    { epoch: 3, kind: 'turnover', primary_id: r, successor_id: p, term: 3, forced: false },
    { epoch: 2, kind: 'succession', primary_id: p, successor_id: r, term: 1, votes: [p, 'coordinator'] },
    {
      epoch: 1,
      kind: 'first',
      primary_id: p,
      successor_id: null,
      votes: ['coordinator'],
      previous_digest: null,
    },
  ])
  expect(items[0].votes).toHaveLength(2)
  expect(items[0].votes).toContain(p)
  expect(items[0].previous_digest).toBe(items[1].digest)
  expect((await epochs('?limit=1&cursor=3')).items).toMatchObject([{ epoch: 2 }])
  expect((await epochs('?limit=1')).next).toBe('3')
  expect(await agent()).toMatchObject({ epoch: 3, term: 3, instance_id: r, successor_id: p })
  expect((await bench.call('GET', '/api/agents/none/epochs')).status).toBe(404)
})

test("a primary with a successor has leases, and says so; the coordinator's own promise is shown", async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  expect((await agent()).lease).toEqual({ mode: 'solo', remaining_ms: null })
  await bench.replica('a', primary)
  await until(async () => (await agent()).lease.mode === 'leased')
  expect(primary.lease).toBe('until')
  const { remaining_ms: left } = (await agent()).lease
  expect(left).toBeGreaterThan(0)
  expect(left).toBeLessThanOrEqual(1000)
})

test('a hand-over that was made while the coordinator was away is recorded once when it comes back', async () => {
  const { primary, puppet, incident } = await leftAlone()
  primary.step(incident, 'workload-frozen', 50)
  const frozen = Date.now() - 50
  primary.step(incident, 'final-sync', 10)
  primary.release(puppet.instance, incident)
  await until(() => puppet.elections.length === 1)
  puppet.step(incident, 'workload-started', 1)
  puppet.step(incident, 'health-check', 2)
  await new Promise((resolve) => setTimeout(resolve, 3000))
  const back = Date.now()
  await bench.start(primary, puppet)
  await until(
    async () => (await agent()).instance_id === puppet.instance && (await agent()).phase === 'steady',
  )
  await until(async () => (await bench.call('GET', '/api/incidents')).body.items[0]?.closed_at !== null)
  const { items } = (await bench.call('GET', '/api/incidents')).body
  expect(items).toHaveLength(1)
  expect(items[0]).toMatchObject({
    outcome: 'promoted',
    trigger: 'notice',
    instance_id: primary.instance,
    new_instance_id: puppet.instance,
    loss: { kind: 'none' },
    old_epoch: 2,
    new_epoch: 3,
  })
  expect(items[0].outcome_reason).toContain('while the coordinator was away')
  // From the freeze, which was before it came back, until it had moved the address.
  const steps: { step: string; t_ms: number; duration_ms: number }[] = items[0].steps
  const at = (name: string) => steps.filter(({ step }) => step === name).map(({ t_ms }) => t_ms)
  expect(at('workload-frozen')).toEqual([0])
  expect(at('health-check')).toHaveLength(1)
  expect(at('epoch-moved')).toHaveLength(1)
  expect(items[0].no_primary_from_t_ms).toBe(0)
  expect(items[0].no_primary_ms).toBeGreaterThan(back - frozen)
  expect(items[0].no_primary_ms).toBeLessThan(Date.now() - frozen + 1000)
  expect(Math.abs(Date.parse(items[0].detected_at) - frozen)).toBeLessThan(2000)
  // The members' own name for it leads to it, too.
  expect((await bench.call('GET', `/api/incidents/${incident}`)).body.id).toBe(items[0].id)
  expect((await bench.call('GET', '/api/switches')).body.items).toMatchObject([
    { epoch: 3, switch_reason: 'automatic-interruption-failover', success: true },
  ])
  // Whoever brings it again changes nothing.
  await primary.connect(bench.url)
  await puppet.connect(bench.url)
  await until(async () => (await agent()).phase === 'steady')
  expect((await bench.call('GET', '/api/switches')).body.items).toHaveLength(1)
  expect((await epochs()).items.map(({ epoch }: { epoch: number }) => epoch)).toEqual([3, 2, 1])
  // However often the old primary was told whom to follow, it is one standby.
  await until(async () => (await standbys()).length > 0)
  expect(await standbys()).toMatchObject([{ instance_id: primary.instance }])
})

test.each([false, true])(
  'the notice for which members have moved by themselves, told late, is no second incident, and nobody relies on the instance (a standby by then: %s)',
  async (follows) => {
    const { primary, puppet, incident } = await leftAlone()
    primary.step(incident, 'final-sync', 10)
    primary.release(puppet.instance, incident)
    await until(() => puppet.elections.length === 1)
    const incidents = async () => (await bench.call('GET', '/api/incidents')).body.items
    await bench.start(puppet)
    await until(async () => (await incidents())[0]?.outcome === 'promoted')
    await primary.connect(bench.url)
    if (follows) await until(async () => (await standbys()).length > 0)
    primary.report({
      ...{ kind: 'notice', signal: 'termination-notice', noticeId: 'n1', action: 'terminate' },
      ...{ time: instant(Date.now() + 110_000), ageMillis: millis(10_000) },
    })
    await until(async () => {
      const { replicas } = await agent()
      const old = replicas.find(({ instance_id: id }: { instance_id: string }) => id === primary.instance)
      return old?.notice === true
    })
    expect(await incidents()).toHaveLength(1)
  },
)

test.each([
  ['nothing', { bytes: 0, names: 0 }, { kind: 'none' }],
  ['what the deadline left no time for', { bytes: 4096, names: 0 }, { kind: 'bounded', bytes_behind: 4096 }],
])(
  'a primary that has given its epoch up and never says so itself has left out %s, by the word of its successor',
  async (_, left, loss) => {
    bench = await startBench()
    const primary = await bench.primary('a')
    const { id, puppet } = await bench.replica('a', primary)
    await until(() => primary.lease === 'until')
    const { report } = primary
    primary.report = (body) => (body.kind === 'released' ? undefined : report(body))
    primary.onOrder = (order) =>
      order.kind === 'hand-over'
        ? primary.release(order.target, order.incident, { left })
        : primary.obey(order)
    await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, { expected_epoch: 2 })
    await until(async () => (await bench.call('GET', '/api/incidents')).body.items[0]?.closed_at !== null)
    const { items } = (await bench.call('GET', '/api/incidents')).body
    expect(items).toMatchObject([{ outcome: 'promoted', new_instance_id: puppet.instance, loss }])
  },
)

test.each([
  [true, 'planned', 'operator-request', 'manual'],
  [false, 'notice', 'termination-notice', 'automatic-interruption-failover'],
])(
  'a move of which the new primary is the first to tell has its name, its steps and its loss, and was planned: %s',
  async (planned, trigger, signal_type, switch_reason) => {
    const pool = { pool_id: 'm5.large@us-east-1b' }
    const { primary, puppet, incident } = await leftAlone({ manual: true }, pool)
    primary.release(puppet.instance, incident, { planned, left: { bytes: 4096, names: 0 } })
    await until(() => puppet.elections.length === 1)
    puppet.step(incident, 'workload-started', 1)
    puppet.step(incident, 'health-check', 2)
    await bench.start(puppet)
    const incidents = async () => (await bench.call('GET', '/api/incidents')).body.items
    await until(async () => (await incidents())[0]?.loss?.bytes_behind === 4096)
    expect(await incidents()).toMatchObject([
      { outcome: 'promoted', trigger, signal_type, loss: { kind: 'bounded' } },
    ])
    const [{ id, steps }] = await incidents()
    expect(steps.map(({ step }: { step: string }) => step)).toContain('health-check')
    expect((await bench.call('GET', `/api/incidents/${incident}`)).body.id).toBe(id)
    await until(
      async () => (await bench.call('GET', '/api/switches')).body.items[0]?.switch_reason === switch_reason,
    )
  },
)

test('who was replaced and is heard again before its successor serves has not served meanwhile', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  await until(() => primary.lease === 'until')
  puppet.onElected = () => undefined
  const silent = Date.now()
  primary.silence()
  await until(() => puppet.elections.length === 1)
  const { epoch } = await agent()
  const beat = () =>
    primary.vote({
      kind: 'beat',
      epoch: epoch - 1,
      sentAt: mono(performance.now()),
      hears: false,
      office: false,
    })
  const beating = setInterval(beat, 20)
  onTestFinished(() => clearInterval(beating))
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const [elected] = puppet.elections
  if (elected) puppet.serve(elected)
  const incidents = async () => (await bench.call('GET', '/api/incidents')).body.items
  await until(async () => (await incidents())[0]?.outcome === 'promoted')
  const [incident] = await incidents()
  expect(incident.no_primary_ms).toBeGreaterThan(1800)
  expect(incident.no_primary_ms).toBeLessThanOrEqual(Date.now() - silent)
})

test('a notice on an old primary counts while its successor is still being brought up', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  await until(() => primary.lease === 'until')
  puppet.onElected = () => undefined
  const moving = bench.call('POST', `/api/agents/a/replicas/${id}/promote`, { expected_epoch: 2 })
  await until(() => puppet.elections.length === 1)
  primary.report({
    ...{ kind: 'notice', signal: 'termination-notice', noticeId: 'n1', action: 'terminate' },
    ...{ time: instant(Date.now() + 110_000), ageMillis: millis(0) },
  })
  await until(() => primary.acknowledged.length > 0)
  const [elected] = puppet.elections
  if (elected) puppet.serve(elected)
  expect((await moving).body.incident).toMatchObject({ outcome: 'promoted', trigger: 'planned' })
  // It has no vote any more, and another one is made.
  await until(async () => (await agent()).successor_id !== primary.instance)
  await until(async () => (await standbys()).some(({ instance_id: on }) => on !== primary.instance))
  expect(primary.orders.map(({ kind }) => kind)).not.toContain('follow')
})

test('a primary that was lost while the coordinator was away was last heard by the one before', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  await bench.stop()
  await primary.close()
  const away = 3000
  await new Promise((resolve) => setTimeout(resolve, away))
  await bench.start(puppet)
  await until(async () => (await agent()).instance_id === puppet.instance)
  await until(async () => (await bench.call('GET', '/api/incidents')).body.items[0]?.closed_at !== null)
  const [incident] = (await bench.call('GET', '/api/incidents')).body.items
  expect(incident).toMatchObject({ trigger: 'silence', outcome: 'promoted' })
  expect(incident.no_primary_ms).toBeGreaterThan(away)
  expect(incident.no_primary_from_t_ms).toBeLessThan(-away)
})

test('an instance is one standby at most after a restart, and the primary is none', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  await bench.stop()
  const row = await bench.db
    .selectFrom('replica_instances')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  const older = { created_at: row.created_at - 1000 }
  await bench.db
    .insertInto('replica_instances')
    .values([
      { ...row, ...older, id: randomUUID() },
      { ...row, ...older, id: randomUUID(), instance_id: primary.instance },
    ])
    .execute()
  await bench.start(primary, puppet)
  await until(async () => (await agent()).phase === 'steady')
  expect(await standbys()).toMatchObject([{ id, instance_id: puppet.instance }])
})

test('a coordinator whose database is older than what members remember waits for all of them before it votes', async () => {
  const { log, events } = recorded()
  bench = await startBench({ onDisk: true, log })
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  await until(() => primary.lease === 'until')
  const restore = await bench.backUp()
  await bench.stop()
  // Another start, which the backup does not know of.
  await bench.start(primary, puppet)
  await until(async () => (await agent()).phase === 'steady')
  await bench.stop()
  await restore()
  await bench.start(primary)
  await until(() => events('failover.database_outdated').length === 1)
  expect(events('failover.database_outdated')[0]).toMatchObject({
    level: 50,
    hint: expect.stringContaining('restored from a backup'),
  })
  const row = () =>
    bench.db.selectFrom('agents').select(['epoch', 'voted_epoch', 'outdated']).executeTakeFirstOrThrow()
  await until(async () => (await row()).outdated === 1)
  const { voted_epoch: given } = await row()
  expect(given).toBeGreaterThan(1000)
  // Nothing is voted on, also not after another start, while the workload runs on with leases from its successor.
  await new Promise((resolve) => setTimeout(resolve, 800))
  await bench.stop()
  await bench.start(primary)
  await new Promise((resolve) => setTimeout(resolve, 800))
  expect(await row()).toEqual({ epoch: 2, voted_epoch: given, outdated: 1 })
  expect(primary).toMatchObject({ role: 'primary', lease: 'until' })
  // Once everybody has told what it knows, votes are given again, in epochs that were not used before.
  await puppet.connect(bench.url)
  await until(async () => (await row()).outdated === 0)
  await until(async () => (await row()).epoch > given)
  await until(async () => (await agent()).phase === 'steady')
  expect((await epochs()).items[0]).toMatchObject({ kind: 'renewal', primary_id: primary.instance })
})

test('a number of a start that nobody has told makes nothing outdated', async () => {
  const { log, events } = recorded()
  bench = await startBench({ log })
  const primary = await bench.primary('a')
  const other = await bench.primary('b')
  const real = primary.disk.coordinatorStartProof
  expect(real).not.toBe('')
  for (const proof of ['', real, 'x'.repeat(43)]) {
    Object.assign(other.disk, { coordinatorStart: 2 ** 52, coordinatorStartProof: proof })
    await other.connect(bench.url)
  }
  await until(() => events('voter.refused').some(({ what }) => what === 'coordinatorStart'))
  expect(events('failover.database_outdated')).toEqual([])
  const rows = await bench.db.selectFrom('agents').select(['voted_epoch', 'outdated']).execute()
  expect(rows).toEqual([
    { voted_epoch: 1, outdated: 0 },
    { voted_epoch: 1, outdated: 0 },
  ])
})

test('when all members are there already, the database is no longer outdated as soon as that is written', async () => {
  const { log, events } = recorded()
  bench = await startBench({ onDisk: true, log })
  const primary = await bench.primary('a')
  const restore = await bench.backUp()
  await bench.stop()
  await bench.start(primary)
  await until(async () => (await agent()).phase === 'steady')
  await bench.stop()
  await restore()
  await bench.start(primary)
  await until(() => events('failover.database_outdated').length === 1)
  const row = () =>
    bench.db.selectFrom('agents').select(['voted_epoch', 'outdated']).executeTakeFirstOrThrow()
  await until(async () => (await row()).voted_epoch > 1000)
  await until(async () => (await row()).outdated === 0)
})

test('when the database has a later vote than is known, the next one is later still', async () => {
  const { log, events } = recorded()
  bench = await startBench({ log })
  const primary = await bench.primary('a')
  await bench.db.updateTable('agents').set({ voted_epoch: 50, voted_for: null, voted_digest: null }).execute()
  const { puppet } = await bench.replica('a', primary)
  await until(async () => (await agent()).successor_id === puppet.instance)
  expect(events('group.vote_refused')).toMatchObject([{ epoch: 2, found: 50 }])
  const made = (await epochs()).items.map(({ epoch }: { epoch: number }) => epoch)
  expect(made.at(-1)).toBe(1)
  for (const epoch of made.slice(0, -1)) expect(epoch).toBeGreaterThan(50)
})

test('votes that the coordinator gave before it was killed are never given otherwise', async () => {
  bench = await startBench({ onDisk: true })
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  await bench.stop()
  // It was killed after it had written its vote for the replica, before anybody heard of it.
  await bench.db
    .updateTable('agents')
    .set({ voted_epoch: 3, voted_for: puppet.instance, voted_digest: 'f'.repeat(64) })
    .execute()
  await bench.start(primary, puppet)
  // It may promise nothing to the old primary any more, so that one gets an epoch of its own, and not that one.
  await until(async () => (await agent()).epoch >= 4 && (await agent()).phase === 'steady')
  expect((await agent()).instance_id).toBe(primary.instance)
  const { items } = await epochs()
  expect(items.map(({ epoch }: { epoch: number }) => epoch)).not.toContain(3)
  expect(items[0]).toMatchObject({ kind: 'renewal' })
})

test('a certificate that was written with the vote is what is told after a restart', async () => {
  bench = await startBench({ onDisk: true })
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  // The new primary hears of its election only after the coordinator has been started again.
  puppet.onElected = () => undefined
  void bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {}).catch(() => undefined)
  await until(() => puppet.elections.length === 1)
  await until(async () => (await epochs()).items.length === 3)
  const before = (await epochs()).items[0]
  await bench.stop()
  puppet.onElected = (elected) => puppet.serve(elected)
  await bench.start(primary, puppet)
  await puppet.close()
  const { credential } = (await bench.enrol(puppet.instance, await bench.joinToken('a', puppet.instance)))
    .body
  const again = await bench.connect('a', puppet.instance, credential)
  await until(async () => (await agent()).phase === 'steady' && (await agent()).epoch > 3)
  expect((await epochs()).items.find(({ epoch }: { epoch: number }) => epoch === 3)).toEqual(before)
  expect([primary.instance, again.instance]).toContain((await agent()).instance_id)
})

test('an agent of before there were certificates goes on with the one that has the state', async () => {
  bench = await startBench({ onDisk: true })
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  await bench.stop()
  // As the migration leaves it.
  await bench.db.deleteFrom('epoch_certificates').execute()
  await bench.db
    .updateTable('agents')
    .set({ epoch: 7, term: 7, voted_epoch: 7, successor_id: null })
    .execute()
  await Promise.all([primary.close(), puppet.close()])
  bench.wipe(primary.instance, puppet.instance)
  await bench.start()
  const join = async (instance: string) => {
    const { credential } = (await bench.enrol(instance as never, await bench.joinToken('a', instance))).body
    return bench.connect('a', instance, credential)
  }
  // The replica comes first, and waits.
  const replica = await join(puppet.instance)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(replica.elections).toEqual([])
  const back = await join(primary.instance)
  await until(() => back.elections.length === 1)
  await until(() => replica.role === 'replica')
  expect(await agent()).toMatchObject({ instance_id: primary.instance, epoch: 8, term: 8 })
})

test('what a voter says is taken from the instance of that credential, after its greeting, and in reason', async () => {
  const { log, events } = recorded()
  bench = await startBench({ log })
  const primary = await bench.primary('a')
  const { credential } = (await bench.enrol(primary.instance, await bench.joinToken('a', primary.instance)))
    .body
  const dial = (name: string, given: string) =>
    new WebSocket(`${bench.url.replace('http', 'ws')}/api/agents/${name}/voter`, {
      headers: { authorization: `Bearer ${given}` },
    })
  const refused = (socket: WebSocket) =>
    new Promise((resolve) => {
      socket.once('unexpected-response', (_, { statusCode }) => resolve(statusCode))
      socket.on('error', () => undefined)
    })
  expect(await refused(dial('a', 'uc_i-none_x'))).toBe(401)
  expect(await refused(dial('b', credential))).toBe(403)
  expect(await refused(dial('a', bench.adminToken))).toBe(401)

  const closed = (text: string) =>
    new Promise((resolve) => {
      const socket = dial('a', credential)
      socket.once('open', () => socket.send(text))
      socket.once('close', resolve)
    })
  expect(await closed('not json')).toBe(1008)
  expect(await closed('{"kind":"beat"}')).toBe(1008)
  expect(await closed(' '.repeat(70_000))).toBe(1009)

  // A certificate that nobody has signed changes nothing.
  const stored = primary.disk.record?.certificate
  if (!stored) throw new Error('the primary has no certificate')
  const forged = { ...stored, proposal: { ...stored.proposal, epoch: 9, term: 9 } }
  const socket = dial('a', credential)
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send(JSON.stringify({ kind: 'certificate', certificate: forged }))
  await until(() => events('voter.refused').length === 1)
  expect((await agent()).epoch).toBe(1)
  socket.close()
})
