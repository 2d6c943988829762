import { pino } from 'pino'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { AppError } from '../../shared/src/core/app-error.ts'
import { instant, millis, mono } from '../../shared/src/core/time.ts'
import { type Bench, startBench, until } from './bench.ts'

/** Standbys that are deleted, listed and launched, over the real API. */

let bench: Bench
afterEach(() => bench.close())

const active = () => bench.db.selectFrom('replica_instances').selectAll().where('is_active', '=', 1).execute()
const stateOf = (instance: string) =>
  bench.cloud.instances().find(({ instanceId: id }) => id === instance)?.state

test('the successor of a primary that has fallen silent is not deleted: it has the state that is needed', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  primary.silence()
  puppet.silence()
  // As long as it says that it hears the primary, nobody is elected.
  const epoch = (await bench.call('GET', '/api/agents/a')).body.epoch
  const beat = () =>
    puppet.vote({ kind: 'beat', epoch, sentAt: mono(performance.now()), hears: true, office: false })
  const beating = setInterval(beat, 50)
  onTestFinished(() => clearInterval(beating))
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.state === 'offline')
  const refused = await bench.call('DELETE', `/api/agents/a/replicas/${id}`)
  expect(refused).toMatchObject({ status: 409, body: { code: 'busy' } })
  expect(refused.body.detail).toContain(`nothing was heard from the primary ${primary.instance}`)
  expect(stateOf(puppet.instance)).toBe('running')
  expect(await active()).toMatchObject([{ id }])
})

test('a standby that nobody needs is deleted, and its instance is ended', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  expect((await bench.call('DELETE', `/api/agents/a/replicas/${id}`)).status).toBe(200)
  expect(stateOf(puppet.instance)).toBe('terminated')
})

test('a standby whose instance cannot be ended at once is deleted all the same, and its instance is ended later', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  vi.spyOn(bench.cloud.cloud, 'terminate').mockRejectedValueOnce(new AppError('unavailable', 'not now'))
  const deleted = await bench.call('DELETE', `/api/agents/a/replicas/${id}`)
  expect(deleted).toMatchObject({ status: 200, body: { status: 'terminated', is_active: false } })
  expect(stateOf(puppet.instance)).toBe('running')
  await until(() => stateOf(puppet.instance) === 'terminated')
})

test('an instance whose launch seemed to have failed is ended when it enrols, and is no standby', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { cloud } = bench.cloud
  const { launch } = cloud
  vi.spyOn(cloud, 'launch').mockImplementationOnce(async (...asked) => {
    await launch(...asked)
    throw new AppError('unavailable', 'the answer was lost')
  })
  // That no pool has capacity, nobody has said.
  const refused = await bench.call('POST', '/api/agents/a/replicas', {})
  expect(refused).toMatchObject({ status: 503, body: { code: 'unavailable' } })
  const [failed] = (await bench.call('GET', '/api/agents/a/replicas')).body.items
  expect(failed).toMatchObject({ status: 'failed' })
  const stray = bench.cloud.instances().find(({ instanceId: id }) => id !== primary.instance)
  const puppet = await bench.join('a', primary, { id: failed.id, instance_id: stray?.instanceId ?? '' })
  await until(() => stateOf(puppet.instance) === 'terminated')
  expect(puppet.orders.map(({ kind }) => kind)).not.toContain('follow')
  expect(await active()).toEqual([])
})

test('a standby that is deleted while it is being launched does not stay', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { cloud } = bench.cloud
  const { launch } = cloud
  const answered = Promise.withResolvers<void>()
  vi.spyOn(cloud, 'launch').mockImplementationOnce(async (...asked) => {
    const launched = await launch(...asked)
    await answered.promise
    return launched
  })
  const creating = bench.call('POST', '/api/agents/a/replicas', {})
  await until(() => bench.cloud.instances().length === 2)
  const [row] = await active()
  expect((await bench.call('DELETE', `/api/agents/a/replicas/${row?.id}`)).status).toBe(200)
  answered.resolve()
  const created = await creating
  expect(created).toMatchObject({ status: 409, body: { code: 'conflict' } })
  expect(created.body.detail).toContain('was deleted while it was being launched')
  const others = bench.cloud.instances().filter(({ instanceId: id }) => id !== primary.instance)
  expect(others).toMatchObject([{ state: 'terminated' }])
  expect((await bench.call('GET', '/api/agents/a')).body.replicas).toEqual([])
})

test('a standby that was there before a notice took over, though it was not ready when the notice came', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { body: created } = await bench.call('POST', '/api/agents/a/replicas', {})
  const puppet = await bench.join('a', primary, created.replica)
  puppet.onOrder = () => undefined
  primary.report({
    ...{ kind: 'notice', signal: 'termination-notice', noticeId: 'n1', action: 'terminate' },
    ...{ time: instant(Date.now() + 60_000), ageMillis: millis(0) },
  })
  const incident = async () => (await bench.call('GET', '/api/incidents')).body.items[0]
  await until(async () =>
    (await incident())?.steps.some(({ step }: { step: string }) => step === 'no-replica-ready'),
  )
  puppet.onOrder = (order) => puppet.obey(order)
  puppet.obey(puppet.orders.find(({ kind }) => kind === 'follow') as never)
  await until(async () => (await incident()).outcome === 'promoted')
  expect(await incident()).toMatchObject({
    ...{ response_action: 'promoted-existing-replica', replica_id: created.replica_id },
    new_instance_id: puppet.instance,
  })
})

test('a standby that was lost while the coordinator was about to end is made by the next one', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  await bench.stop()
  await puppet.close()
  const at = Date.now()
  await bench.db
    .updateTable('replica_instances')
    .set({ status: 'failed', is_active: 0, terminated_at: at })
    .where('id', '=', id)
    .execute()
  await bench.db
    .updateTable('instances')
    .set({ terminated_at: at })
    .where('id', '=', puppet.instance)
    .execute()
  await bench.start(primary)
  await until(async () => (await active()).length === 1)
  expect(await active()).toMatchObject([{ type: 'automatic-termination', created_by: 'understudy' }])
})

test('all standbys of an agent are read at once, however many there were', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  for (let past = 0; past < 3; past += 1) {
    const { id } = await bench.replica('a', primary)
    await bench.call('DELETE', `/api/agents/a/replicas/${id}`)
  }
  const { id } = await bench.replica('a', primary)
  const asked = vi.spyOn(bench.db, 'selectFrom')
  const { items } = (await bench.call('GET', '/api/agents/a/replicas')).body
  const queries = asked.mock.calls.filter(([table]) => table === 'replica_instances')
  asked.mockRestore()
  expect(items).toHaveLength(4)
  expect(items[0]).toMatchObject({ id, status: 'ready' })
  expect(queries).toHaveLength(1)
})

test('a step of an incident of another agent is not written down', async () => {
  const lines: { event: string; instance?: string }[] = []
  bench = await startBench({ log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }) })
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  const other = await bench.primary('b')
  const { body } = await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {})
  const incident = body.incident.id
  other.step(incident, 'told by another')
  await until(() => lines.some(({ event }) => event === 'incident.foreign_step'))
  puppet.step(incident, 'told by its own')
  const steps = async () => (await bench.call('GET', `/api/incidents/${incident}`)).body.steps
  await until(async () => (await steps()).some(({ step }: { step: string }) => step === 'told by its own'))
  expect((await steps()).map(({ step }: { step: string }) => step)).not.toContain('told by another')
})

test('the notice of a standby is known to the next coordinator: that one does not promote it, and makes another', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  const incidents = async () => (await bench.call('GET', '/api/incidents')).body.items
  puppet.report({
    ...{ kind: 'notice', signal: 'termination-notice', noticeId: 'n1', action: 'terminate' },
    ...{ time: instant(Date.now() + 120_000), ageMillis: millis(0) },
  })
  await until(async () => (await incidents())[0]?.outcome === 'no-action')
  await until(async () => (await active()).length === 2)
  await bench.stop()
  // As if it had ended before it could make another.
  await bench.db.deleteFrom('replica_instances').where('id', '!=', id).execute()
  await bench.start(primary, puppet)
  await until(async () => (await active()).length === 2)
  // Another one is made its primary's successor meanwhile.
  await until(async () => {
    const { status, body } = await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {})
    expect({ status, code: body.code }).toEqual({ status: 409, code: 'not_ready' })
    return body.detail.includes('has an interruption notice of its own')
  })
  expect(await incidents()).toHaveLength(1)
})
