import { afterEach, expect, test } from 'vitest'
import { type Bench, startBench, until } from './bench.ts'

let bench: Bench
afterEach(() => bench.close())

test('a coordinator on PostgreSQL enrols, hands over, and knows all of it again after a restart', async () => {
  bench = await startBench({ dialect: 'postgres' })
  const primary = await bench.primary('a')
  const { id, puppet: replica } = await bench.replica('a', primary)
  const [p, r] = [primary.instance, replica.instance]
  await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, { expected_epoch: 2 })
  const epochs = async () => (await bench.call('GET', '/api/agents/a/epochs')).body.items
  await until(async () => (await epochs()).length === 3)
  expect(await epochs()).toMatchObject([
    { epoch: 3, kind: 'turnover', primary_id: r, successor_id: p, term: 3, forced: false },
    { epoch: 2, kind: 'succession', primary_id: p, successor_id: r },
    { epoch: 1, kind: 'first', primary_id: p, votes: ['coordinator'] },
  ])
  await until(async () => (await bench.call('GET', '/api/agents/a/switches')).body.items.length === 1)
  const health = await bench.call('GET', '/health')
  expect(health.body).toMatchObject({ status: 'healthy', database: 'ok' })

  const before = await epochs()
  await bench.stop()
  await bench.start(primary, replica)
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.status === 'online')
  expect(await epochs()).toEqual(before)
  expect((await bench.call('GET', '/api/agents/a')).body).toMatchObject({ epoch: 3, instance_id: r })
})

test('a notice on PostgreSQL with no replica: one is made and takes over when it is ready', async () => {
  bench = await startBench({ dialect: 'postgres' })
  const key = crypto.randomUUID()
  const headers = { 'idempotency-key': key }
  await bench.primary('a')
  const once = await bench.call('POST', '/api/agents/a/replicas', {}, headers)
  const again = await bench.call('POST', '/api/agents/a/replicas', {}, headers)
  expect([once.status, again.body]).toEqual([201, once.body])
  expect(await bench.idempotencyKeys()).toHaveLength(1)
  const { body } = await bench.call('GET', '/api/agents/a/replicas')
  expect(body.items).toHaveLength(1)
})
