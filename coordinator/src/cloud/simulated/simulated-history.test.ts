import { hours, instant, minutes } from '@understudy/shared/core/time'
import { checkSample, isRefusal } from '@understudy/shared/market/sample'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import { createEc2Clients } from '../ec2/ec2-clients.ts'
import { createEc2History } from '../ec2/ec2-history.ts'
import type { HistoryQuery, HistorySource } from '../history-source.ts'
import { catalog } from './catalog.ts'
import { startEc2QueryApi } from './ec2-query-api.ts'
import { createMarket } from './market.ts'
import { createSimulatedHistory } from './simulated-history.ts'
import { createSimulatedRoles } from './simulated-roles.ts'

/** Every row that a source gives, in one order. */
async function rowsOf(source: HistorySource, query: HistoryQuery): Promise<string[]> {
  const rows: string[] = []
  for await (const page of source.fetch(query, new AbortController().signal))
    for (const given of page) {
      const sample = checkSample(given, {
        now: instant(Date.now()),
        isKnownZone: () => true,
        onDemand: () => undefined,
      })
      rows.push(isRefusal(sample) ? sample.reason : `${sample.poolId} ${sample.at} ${sample.price}`)
    }
  return rows.sort()
}

test('asked in its own process and over the wire the simulated market says the same', async () => {
  const time = createVirtualTime(Date.now() - hours(12))
  const market = createMarket(3, catalog, () => time.clock.now())
  for (let passed = 0; passed < hours(12); passed += minutes(5)) {
    await time.advance(minutes(5))
    market.advance(5)
  }
  const roles = createSimulatedRoles(time.clock)
  const api = await startEc2QueryApi({ market, pools: catalog, roles, clock: time.clock })
  const { accessKeyId, secretAccessKey, sessionToken } = roles.keysOf('i-demo001')
  const clients = createEc2Clients({
    endpoint: api.endpoint,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) },
  })
  const wire = createEc2History(clients, { run: (call, signal) => call(signal) })
  const own = createSimulatedHistory(catalog, market.history)

  // Whole seconds, as EC2 takes them.
  const now = Math.floor(time.clock.now() / 1000) * 1000
  const range = { from: instant(now - hours(6)), to: instant(now - hours(1)) }
  const query = { region: 'us-east-1', instanceTypes: ['c5.large', 'm5.large'], range }
  const rows = await rowsOf(own, query)
  expect(rows.length).toBeGreaterThan(20)
  expect(await rowsOf(wire, query)).toEqual(rows)

  const one = { ...query, availabilityZone: 'us-east-1b', instanceTypes: ['c5.large'] }
  const ofZone = rows.filter((row) => row.startsWith('c5.large@us-east-1b '))
  expect(await rowsOf(own, one)).toEqual(ofZone)
  expect(await rowsOf(wire, one)).toEqual(ofZone)
  expect(await rowsOf(own, { ...query, region: 'ap-south-1' })).toEqual([])
  expect(await rowsOf(wire, { ...query, instanceTypes: ['x9.large'] })).toEqual([])
  await api.close()
})
