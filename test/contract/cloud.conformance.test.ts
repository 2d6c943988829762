import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { seededRandom } from '@understudy/shared/core/random'
import { systemClock } from '@understudy/shared/core/time'
import { parsePool, poolId } from '@understudy/shared/market/pool'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createImdsClient } from '../../agent/src/imds/imds-client.ts'
import type { Address, Cloud, LaunchSpec } from '../../coordinator/src/cloud/cloud.ts'
import { createManualCloud } from '../../coordinator/src/cloud/manual/manual-cloud.ts'
import { serveControl } from '../../coordinator/src/cloud/simulated/control-api.ts'
import { createRemoteCloud } from '../../coordinator/src/cloud/simulated/remote-cloud.ts'
import {
  createSimulatedCloud,
  type SimulatedCloud,
} from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { until } from './bench.ts'

interface World {
  readonly cloud: Cloud
  readonly address: Address
  readonly behind: SimulatedCloud
  close(): Promise<void>
}

async function simulated(remote: boolean): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-cloud-'))
  const behind = createSimulatedCloud({
    seed: 1,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    directory,
    image: () => ({ command: ['sleep', '3600'], env: {} }),
    bootMillis: () => [0, 0],
  })
  const control = remote ? await serveControl(behind) : undefined
  const ports = control ? createRemoteCloud(control.url) : behind
  return {
    cloud: ports.cloud,
    address: ports.address,
    behind,
    async close() {
      await control?.close()
      await behind.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

const soon = () => AbortSignal.timeout(30_000)
const spec = (requestId: string, pool = 'm5.large@us-east-1a'): LaunchSpec => ({
  requestId,
  pool: parsePool(pool),
  agentId: agentId('a'),
  userData: { coordinatorUrl: 'http://127.0.0.1:1', joinToken: 'x'.repeat(20) },
})

describe.each([
  ['in this process', false],
  ['over HTTP', true],
])('the simulated cloud, %s', (_, remote) => {
  let world: World
  beforeEach(async () => {
    world = await simulated(remote)
  })
  afterEach(() => world.close())

  test('offers pools with prices below on-demand', async () => {
    const offers = await world.cloud.offers(soon())
    expect(offers).toHaveLength(20)
    for (const { spotPrice, onDemandPrice } of offers) expect(spotPrice).toBeLessThan(onDemandPrice)
  })

  test('starts one instance for one request, and says what it is', async () => {
    const [first, again] = await Promise.all([
      world.cloud.launch(spec('r1'), soon()),
      world.cloud.launch(spec('r1'), soon()),
    ])
    expect(again).toEqual(first)
    const described = await world.cloud.describe(first.instanceId, soon())
    expect(described && poolId(described.pool)).toBe('m5.large@us-east-1a')
    await until(async () => (await world.cloud.describe(first.instanceId, soon()))?.state === 'running')
  })

  test('a pool without capacity refuses, and may be tried again', async () => {
    world.behind.market.force('m5.large@us-east-1a', 'surge')
    await expect(world.cloud.launch(spec('r2'), soon())).rejects.toMatchObject({
      code: 'no_capacity',
      retryable: true,
    })
    await expect(world.cloud.launch(spec('r3', 'x9.huge@us-east-1a'), soon())).rejects.toMatchObject({
      code: 'input_invalid',
    })
  })

  test('on demand an instance can be had where spot has no capacity, and knows that it is none', async () => {
    world.behind.market.force('m5.large@us-east-1a', 'surge')
    const { instanceId: id } = await world.cloud.launch({ ...spec('r1'), lifeCycle: 'on-demand' }, soon())
    const imds = createImdsClient(world.behind.imdsOf(id).endpoint, systemClock, seededRandom(1))
    expect(await imds.get('meta-data/instance-life-cycle', soon())).toBe('on-demand')
  })

  test('ending an instance ends it; ending it again, or one that is not there, is no error', async () => {
    const { instanceId: id } = await world.cloud.launch(spec('r4'), soon())
    await world.cloud.terminate(id, soon())
    await world.cloud.terminate(id, soon())
    await world.cloud.terminate(instanceId('i-none'), soon())
    expect((await world.cloud.describe(id, soon()))?.state).toBe('terminated')
    expect(await world.cloud.describe(instanceId('i-none'), soon())).toBeUndefined()
  })

  test('an address refuses a change of an older epoch', async () => {
    const { instanceId: id } = await world.cloud.launch(spec('r5'), soon())
    const target = { agentId: agentId('a'), instanceId: id }
    expect(await world.address.point({ ...target, epoch: 3 }, soon())).toBe(`it leads to ${id}`)
    expect(await world.address.point({ ...target, epoch: 3 }, soon())).toBe(`it leads to ${id}`)
    await expect(world.address.point({ ...target, epoch: 2 }, soon())).rejects.toMatchObject({
      code: 'stale_epoch',
    })
    await expect(world.address.drain({ agentId: agentId('a'), epoch: 2 }, soon())).rejects.toMatchObject({
      code: 'stale_epoch',
    })
    expect(await world.address.drain({ agentId: agentId('a'), epoch: 4 }, soon())).toContain('are cut')
  })
})

test('a cloud that is not there is told as such', async () => {
  const { cloud } = createRemoteCloud('http://127.0.0.1:9')
  await expect(cloud.offers(soon())).rejects.toMatchObject({ code: 'unavailable', retryable: true })
})

test('where instances are started by hand a launch says how', async () => {
  const cloud = createManualCloud()
  expect(await cloud.offers(soon())).toEqual([])
  expect(await cloud.describe(instanceId('i-any'), soon())).toBeUndefined()
  await expect(cloud.launch(spec('r'), soon())).rejects.toMatchObject({ code: 'not_supported' })
})
