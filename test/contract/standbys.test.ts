import { afterEach, expect, test } from 'vitest'
import { type Bench, startBench, until } from './bench.ts'

/** Standbys that are deleted, listed and launched, over the real API. */

let bench: Bench
afterEach(() => bench.close())

const stateOf = (instance: string) =>
  bench.cloud.instances().find(({ instanceId: id }) => id === instance)?.state

test('the successor of a primary that has fallen silent is not deleted: it has the state that is needed', async () => {
  bench = await startBench({ env: { UNDERSTUDY_LEASE: '4' } })
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  primary.silence()
  await new Promise((resolve) => setTimeout(resolve, 2300))
  const refused = await bench.call('DELETE', `/api/agents/a/replicas/${id}`)
  expect(refused).toMatchObject({ status: 409, body: { code: 'busy' } })
  expect(refused.body.detail).toContain(`nothing was heard from the primary ${primary.instance}`)
  expect(stateOf(puppet.instance)).toBe('running')
  await until(async () => (await bench.call('GET', '/api/agents/a')).body.instance_id === puppet.instance)
})

test('a standby that nobody needs is deleted, and its instance is ended', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  expect((await bench.call('DELETE', `/api/agents/a/replicas/${id}`)).status).toBe(200)
  expect(stateOf(puppet.instance)).toBe('terminated')
})
