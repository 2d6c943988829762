import { afterEach, expect, test } from 'vitest'
import { type Bench, startBench, until } from './bench.ts'
import type { Puppet } from './puppet.ts'

/** `cloud: manual`: an operator starts instances, moves addresses, and says that an instance has ended. */

let bench: Bench
afterEach(() => bench.close())

const POOL = { pool_id: 'm5.large@us-east-1b' }
const agent = async () => (await bench.call('GET', '/api/agents/a')).body
const gone = (instance: string, body: unknown = { confirmed: true }) =>
  bench.call('POST', `/api/agents/a/instances/${instance}/gone`, body)
const notice = (puppet: Puppet, left: number) =>
  puppet.report({
    kind: 'notice',
    signal: 'termination-notice',
    noticeId: 'n1',
    action: 'terminate',
    time: (Date.now() + left) as never,
    ageMillis: 0 as never,
  })

/** A primary that runs alone and is lost, and a replica that comes back later with a whole copy. */
async function lostAlone() {
  bench = await startBench({ manual: true })
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary, POOL)
  // A replica under notice has no vote any more, so the primary runs alone.
  const noticeId = 'n1'
  puppet.report({
    kind: 'notice',
    signal: 'termination-notice',
    noticeId,
    action: 'terminate',
    time: (Date.now() + 60_000) as never,
    ageMillis: 0 as never,
  })
  await until(async () => (await agent()).successor_id === null)
  await until(async () => (await agent()).lease.mode === 'solo')
  await puppet.close()
  await primary.close()
  const { credential } = (await bench.enrol(puppet.instance, await bench.joinToken('a', puppet.instance)))
    .body
  const back = await bench.connect('a', puppet.instance, credential)
  back.report({ kind: 'notice-withdrawn', noticeId })
  await until(() => back.role === 'replica')
  await until(async () => (await agent()).state === 'offline')
  return { primary: primary.instance, replica: id, back }
}

test('a primary that ran alone is replaced on the word of an operator, once', async () => {
  const { primary, replica, back } = await lostAlone()
  const refused = await bench.call('POST', `/api/agents/a/replicas/${replica}/promote`, {})
  expect(refused).toMatchObject({ status: 409, body: { code: 'not_ready' } })
  expect(refused.body.detail).toContain(
    'it runs alone, so it is replaced only once its instance is known to have ended',
  )
  expect(refused.body.hint).toContain(`POST /api/agents/a/instances/${primary}/gone`)

  const said = await gone(primary)
  expect(said).toMatchObject({ status: 200, body: { instance_id: primary } })
  await until(async () => (await agent()).instance_id === back.instance)
  await until(async () => (await agent()).phase === 'steady')
  const incident = (await bench.call('GET', `/api/incidents/${said.body.incident_id}`)).body
  expect(incident).toMatchObject({ outcome: 'promoted', trigger: 'silence' })
  const moved = incident.steps.find(({ step }: { step: string }) => step === 'epoch-moved')
  expect(moved.detail).toMatch(/; forced: every other voter has ended, has resigned or consents$/)

  expect((await gone(primary)).status).toBe(200)
  const { items } = (await bench.call('GET', '/api/incidents')).body
  expect(items.filter((item: { trigger: string }) => item.trigger === 'silence')).toHaveLength(1)
  expect(await agent()).toMatchObject({ instance_id: back.instance, successor_id: null })
  const { items: epochs } = (await bench.call('GET', '/api/agents/a/epochs')).body
  expect(epochs[0]).toMatchObject({
    kind: 'forced',
    forced: true,
    primary_id: back.instance,
    votes: ['coordinator'],
  })
})

test('it takes a confirmation, an instance of that agent, and one that is silent', async () => {
  bench = await startBench({ manual: true })
  const primary = await bench.primary('a')
  await new Promise((resolve) => setTimeout(resolve, 1200))
  for (const body of [{}, { confirmed: false }, { confirmed: true, because: 'x' }])
    expect(await gone(primary.instance, body)).toMatchObject({ status: 400, body: { code: 'input_invalid' } })
  expect(await gone('i-none')).toMatchObject({ status: 404, body: { code: 'not_found' } })
  expect(await gone(primary.instance)).toMatchObject({
    status: 409,
    body: { code: 'conflict', facts: { epoch: 1, primary: primary.instance, phase: 'steady' } },
  })
  expect(await agent()).toMatchObject({ state: 'healthy', epoch: 1 })
})

test('an address that nobody has moved is not said to have moved', async () => {
  bench = await startBench({ manual: true })
  const primary = await bench.primary('a')
  const { id } = await bench.replica('a', primary, POOL)
  const { body } = await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {})
  const steps = body.incident.steps.map(({ step }: { step: string }) => step)
  expect(body.incident.outcome).toBe('promoted')
  expect(steps).toContain('epoch-moved')
  expect(steps).not.toContain('address-moved')
  expect(steps).not.toContain('traffic-cut')
})

test('a standby that has ended is let go', async () => {
  bench = await startBench({ manual: true })
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary, POOL)
  await puppet.close()
  await until(async () => (await gone(puppet.instance)).status === 200)
  expect((await gone(puppet.instance)).body.incident_id).toBeNull()
  const [replica] = (await bench.call('GET', '/api/agents/a/replicas')).body.items
  expect(replica).toMatchObject({ id, status: 'failed', failure: expect.stringContaining('operator') })
  expect((await agent()).replica_count).toBe(0)
})

test('when the time of a notice is over the reason says so, and the incident ends on the word of an operator', async () => {
  bench = await startBench({ manual: true })
  const primary = await bench.primary('a')
  notice(primary, 300)
  await until(async () => (await agent()).state === 'draining')
  await until(async () => /passed .* ago and the instance still answers/.test((await agent()).reason))
  await primary.close()
  await until(async () => /passed .* ago and nothing is heard/.test((await agent()).reason))
  const { incident_id: id } = (await gone(primary.instance)).body
  const { body: created } = await bench.call('POST', '/api/agents/a/replicas', POOL)
  const next = await bench.launch('a', POOL.pool_id)
  const [, token] = /JOIN_TOKEN=(\S+)/.exec(created.join_command) ?? []
  const { credential } = (await bench.enrol(next, token ?? '')).body
  await bench.connect('a', next, credential)
  await until(async () => (await bench.call('GET', `/api/incidents/${id}`)).body.outcome !== 'running')
  expect((await bench.call('GET', '/api/incidents')).body.items).toHaveLength(1)
  expect((await agent()).instance_id).toBe(next)
})

test('a replica that was deleted and joins again is a standby again in the same term', async () => {
  bench = await startBench({ manual: true })
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary, POOL)
  await bench.call('DELETE', `/api/agents/a/replicas/${id}`)
  await until(() => puppet.orders.some(({ kind }) => kind === 'fence'))
  // The one that was the successor has no vote any more.
  await until(async () => (await agent()).successor_id === null)
  await puppet.close()
  const { credential } = (await bench.enrol(puppet.instance, await bench.joinToken('a', puppet.instance)))
    .body
  const back = await bench.connect('a', puppet.instance, credential)
  await until(async () => (await agent()).replicas[0]?.status === 'ready')
  expect(back.orders).toContainEqual(expect.objectContaining({ kind: 'follow', term: 1 }))
  expect((await agent()).term).toBe(1)
  // It is remembered as one that is there.
  await back.close()
  await until(async () => (await gone(back.instance)).status === 200)
  await until(async () => (await agent()).replica_count === 0)
})

test('primary and successor are lost together: a third copy takes over once an operator has said so of both, and the loss is a number', async () => {
  bench = await startBench({ manual: true })
  const primary = await bench.primary('a')
  const { puppet: successor } = await bench.replica('a', primary, POOL)
  const { puppet: learner } = await bench.replica('a', primary, { pool_id: 'm5.large@us-east-1c' })
  expect(await agent()).toMatchObject({ successor_id: successor.instance })
  await primary.close()
  await successor.close()
  await until(async () => (await gone(primary.instance)).status === 200)
  // Silence is no evidence: the successor may have been elected, or may come back with everything.
  await new Promise((resolve) => setTimeout(resolve, 2500))
  const epochs = async () => (await bench.call('GET', '/api/agents/a/epochs')).body.items
  expect((await epochs()).filter(({ forced }: { forced: boolean }) => forced)).toEqual([])
  expect((await agent()).instance_id).toBe(primary.instance)

  await until(async () => (await gone(successor.instance)).status === 200)
  await until(async () => (await agent()).instance_id === learner.instance)
  await until(async () => (await agent()).phase === 'steady')
  const [incident] = (await bench.call('GET', '/api/incidents')).body.items
  expect(incident).toMatchObject({
    ...{ trigger: 'silence', outcome: 'promoted', new_instance_id: learner.instance },
    loss: { kind: 'bounded', at_most_ms: expect.any(Number), state_through: expect.any(String) },
  })
  expect((await epochs())[0]).toMatchObject({
    kind: 'forced',
    forced: true,
    primary_id: learner.instance,
    votes: ['coordinator'],
  })
})
