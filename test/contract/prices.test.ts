import { afterEach, expect, test } from 'vitest'
import { openEc2, readCurrentPrices } from '../../agent/src/aws/aws.ts'
import { createImdsClient } from '../../agent/src/imds/imds-client.ts'
import { catalog } from '../../coordinator/src/cloud/simulated/catalog.ts'
import { startEc2QueryApi } from '../../coordinator/src/cloud/simulated/ec2-query-api.ts'
import { startImdsSimulator } from '../../coordinator/src/cloud/simulated/imds-simulator.ts'
import { instanceItems } from '../../coordinator/src/cloud/simulated/instance-items.ts'
import { createMarket } from '../../coordinator/src/cloud/simulated/market.ts'
import { createSimulatedRoles, ROLE_NAME } from '../../coordinator/src/cloud/simulated/simulated-roles.ts'
import { seededRandom } from '../../shared/src/core/random.ts'
import { type Clock, instant, minutes, systemClock } from '../../shared/src/core/time.ts'
import { parsePool } from '../../shared/src/market/pool.ts'

/** The agent's client against the simulated metadata service and the simulated EC2, each on its real wire. */

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function world({ agentClock = systemClock, role = true }: { agentClock?: Clock; role?: boolean } = {}) {
  const market = createMarket(1, catalog)
  const roles = createSimulatedRoles(systemClock)
  const api = await startEc2QueryApi({ market, pools: catalog, roles, clock: systemClock })
  cleanups.push(() => api.close())
  const imds = await startImdsSimulator({
    clock: systemClock,
    items: {
      ...instanceItems({
        instanceId: 'i-0123456789abcdef0',
        pool: parsePool('c5.large@us-east-1b'),
        privateIp: '127.0.0.1',
        document: '',
        signature: '',
      }),
      ...(role
        ? {
            'meta-data/iam/security-credentials': ROLE_NAME,
            [`meta-data/iam/security-credentials/${ROLE_NAME}`]: () =>
              roles.documentOf('i-0123456789abcdef0'),
          }
        : {}),
    },
  })
  cleanups.push(() => imds.close())
  const client = createImdsClient(imds.endpoint, systemClock, seededRandom(1))
  const { ec2, instanceType } = await openEc2(client, agentClock, api.endpoint)
  return { api, market, instanceType, prices: (types = [instanceType]) => readCurrentPrices(ec2, types) }
}

test('the prices of the simulated market, as they are', async () => {
  const { prices, market, instanceType } = await world()
  expect(instanceType).toBe('c5.large')
  const expected = catalog
    .filter(({ pool }) => pool.instanceType === 'c5.large')
    .map(({ id }) => [id, market.state(id)?.price])
  expect([...(await prices()).prices]).toEqual(expected)
  market.force('c5.large@us-east-1a', 'surge')
  // EC2 says its times in whole seconds; what changed within this one holds from its beginning.
  expect((await prices()).prices.get('c5.large@us-east-1a')).toBe(market.state('c5.large@us-east-1a')?.price)
  expect(await prices(['m5.large', 'x9.large'])).toMatchObject({ missing: ['x9.large'] })
})

test('an agent whose clock is an hour off samples at the time of AWS', async () => {
  const off: Clock = { ...systemClock, now: () => instant(systemClock.now() - minutes(60)) }
  const { prices } = await world({ agentClock: off })
  const { at, prices: found } = await prices()
  expect(found.size).toBe(4)
  expect(Math.abs(at - Date.now())).toBeLessThan(60_000)
})

test('a role that may not, and no role', async () => {
  const { prices, api } = await world()
  api.refuse('UnauthorizedOperation', 403, 1)
  await expect(prices()).rejects.toMatchObject({
    code: 'forbidden',
    message: 'the role understudy-agent may not call ec2:DescribeSpotPriceHistory (UnauthorizedOperation)',
  })
  expect((await prices()).prices.size).toBe(4)
  const without = await world({ role: false })
  await expect(without.prices()).rejects.toMatchObject({
    code: 'forbidden',
    hint: expect.stringContaining('ec2:'),
  })
  expect(without.api.answered).toBe(0)
})
