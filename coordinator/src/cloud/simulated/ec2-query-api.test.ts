import {
  DescribeSpotPriceHistoryCommand,
  type DescribeSpotPriceHistoryCommandInput,
  EC2Client,
  type SpotPrice,
} from '@aws-sdk/client-ec2'
import { type MicroUsd, microUsd } from '@understudy/shared/core/money'
import { hours, instant, minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { catalog } from './catalog.ts'
import { startEc2QueryApi } from './ec2-query-api.ts'
import { createMarket } from './market.ts'
import { createPriceHistory } from './price-history.ts'
import { createSimulatedRoles, type RoleKeys } from './simulated-roles.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** AWS's own client, which signs with the real time, against a stand-in that has run for `before` by now. */
async function start(before = 0) {
  const time = createVirtualTime(Date.now() - before)
  const market = createMarket(3, catalog, () => time.clock.now())
  const roles = createSimulatedRoles(time.clock)
  const api = await startEc2QueryApi({ market, pools: catalog, roles, clock: time.clock })
  cleanups.push(() => api.close())
  for (let passed = 0; passed < before; passed += minutes(5)) {
    await time.advance(minutes(5))
    market.advance(5)
  }
  const clientWith = ({ accessKeyId, secretAccessKey, sessionToken }: Omit<RoleKeys, 'issued' | 'ends'>) => {
    const client = new EC2Client({
      region: 'us-east-1',
      endpoint: api.endpoint,
      maxAttempts: 1,
      credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) },
    })
    cleanups.push(() => client.destroy())
    return client
  }
  const client = clientWith(roles.keysOf('i-demo001'))
  async function all(input: DescribeSpotPriceHistoryCommandInput, with_ = client) {
    const rows: SpotPrice[] = []
    let pages = 0
    for (let token: string | undefined; pages === 0 || token; pages += 1) {
      const page = await with_.send(new DescribeSpotPriceHistoryCommand({ ...input, NextToken: token }))
      rows.push(...(page.SpotPriceHistory ?? []))
      token = page.NextToken
    }
    return { rows, pages }
  }
  return { time, market, roles, api, client, clientWith, all }
}
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => '',
    (error: Error) => error.name,
  )
const idOf = (row: SpotPrice) => `${row.InstanceType}@${row.AvailabilityZone}`

test('from now on: one row per pool, the price that holds', async () => {
  const { time, market, all } = await start(hours(6))
  const now = new Date(time.clock.now())
  const { rows } = await all({ StartTime: now, EndTime: now, InstanceTypes: ['c5.large', 'm5.large'] })
  expect(rows).toHaveLength(8)
  for (const row of rows) {
    expect(microUsd(Math.round(Number(row.SpotPrice) * 1e6))).toBe(market.state(idOf(row))?.price)
    expect(row.ProductDescription).toBe('Linux/UNIX')
    expect(row.AvailabilityZoneId).toMatch(/^use1-az[1-4]$/)
    expect(row.Timestamp?.getTime()).toBeLessThanOrEqual(now.getTime())
  }
})

test('pages together are the whole window, newest first, with the row that held at its start', async () => {
  const { time, market, all } = await start(hours(30))
  const from = instant(time.clock.now() - hours(12))
  const window = {
    StartTime: new Date(from),
    EndTime: new Date(time.clock.now()),
    AvailabilityZone: 'us-east-1b',
  }
  const whole = await all(window)
  const paged = await all({ ...window, MaxResults: 7 })
  expect(paged.rows).toEqual(whole.rows)
  expect(paged.pages).toBe(Math.ceil(whole.rows.length / 7))
  const times = whole.rows.map(({ Timestamp }) => Timestamp?.getTime() ?? 0)
  expect(times).toEqual([...times].sort((a, b) => b - a))
  for (const { id, pool } of catalog.filter((entry) => entry.pool.availabilityZone === 'us-east-1b')) {
    const own = whole.rows.filter((row) => idOf(row) === id)
    expect(own.map(({ Timestamp }) => Timestamp?.getTime()).reverse()).toEqual(
      market.history.between(id, from, time.clock.now()).map(({ at }) => at),
    )
    expect(
      own.filter(({ Timestamp }) => (Timestamp?.getTime() ?? 0) <= from),
      pool.instanceType,
    ).toHaveLength(1)
  }
})

test('what changes while pages are turned moves no row', async () => {
  const { time, market, client, all } = await start(hours(24))
  const asked = { StartTime: new Date(time.clock.now() - hours(24)) }
  const before = (await all(asked)).rows
  const first = await client.send(new DescribeSpotPriceHistoryCommand({ ...asked, MaxResults: 10 }))
  await time.advance(minutes(1))
  for (const { id } of catalog) market.force(id, 'surge')
  const second = await client.send(
    new DescribeSpotPriceHistoryCommand({ ...asked, MaxResults: 10, NextToken: first.NextToken }),
  )
  expect([...(first.SpotPriceHistory ?? []), ...(second.SpotPriceHistory ?? [])]).toEqual(before.slice(0, 20))
})

test('filters and products', async () => {
  const { time, all } = await start()
  const now = new Date(time.clock.now())
  const count = async (input: DescribeSpotPriceHistoryCommandInput) =>
    (await all({ StartTime: now, ...input })).rows.length
  expect(await count({})).toBe(20)
  expect(await count({ ProductDescriptions: ['Linux/UNIX'] })).toBe(20)
  expect(await count({ ProductDescriptions: ['Windows'] })).toBe(0)
  expect(await count({ AvailabilityZoneId: 'use1-az2' })).toBe(5)
  expect(await count({ InstanceTypes: ['x1.large' as 'c5.large'] })).toBe(0)
  expect(
    await count({
      Filters: [
        { Name: 'instance-type', Values: ['r5.large', 'c6i.large'] },
        { Name: 'availability-zone', Values: ['us-east-1a'] },
      ],
    }),
  ).toBe(2)
})

test('who does not sign, or not rightly, gets nothing', async () => {
  const { time, roles, api, clientWith, all } = await start()
  const keys = roles.keysOf('i-demo001')
  const ask = (change: Partial<RoleKeys>) => failureOf(all({}, clientWith({ ...keys, ...change })))
  expect(await ask({ secretAccessKey: 'another' })).toBe('AuthFailure')
  expect(await ask({ sessionToken: 'another' })).toBe('AuthFailure')
  expect(await ask({ sessionToken: '' })).toBe('AuthFailure')
  expect(await ask({ accessKeyId: 'ASIA0000000000000000' })).toBe('AuthFailure')
  expect(await ask({})).toBe('')
  expect(await failureOf(all({}, clientWith(roles.accountKeys)))).toBe('')
  const plain = await fetch(api.endpoint, { method: 'POST', body: 'Action=DescribeSpotPriceHistory' })
  expect(plain.status).toBe(401)
  expect(await plain.text()).toContain('<Code>MissingAuthenticationToken</Code>')
  // Ours runs six minutes ahead of the client's.
  await time.advance(minutes(6))
  expect(await ask({})).toBe('RequestExpired')
})

test('keys of a role are changed before they end, and do not work after', async () => {
  const { time, roles } = await start()
  const first = roles.keysOf('i-demo001')
  await time.advance(hours(5))
  expect(roles.keysOf('i-demo001')).toBe(first)
  await time.advance(minutes(51))
  const second = roles.keysOf('i-demo001')
  expect(second.accessKeyId).not.toBe(first.accessKeyId)
  expect(first.ends - time.clock.now()).toBeGreaterThan(minutes(5))
  expect(JSON.parse(roles.documentOf('i-demo001'))).toMatchObject({
    Code: 'Success',
    AccessKeyId: second.accessKeyId,
  })
})

test('mistakes are named as EC2 names them, and refusals come when they are told to', async () => {
  const { api, all } = await start()
  expect(await failureOf(all({ InstanceTypes: ['nonsense' as 'c5.large'] }))).toBe('InvalidParameterValue')
  expect(await failureOf(all({ Filters: [{ Name: 'odd', Values: ['x'] }] }))).toBe('InvalidParameterValue')
  expect(await failureOf(all({ MaxResults: -1 }))).toBe('InvalidParameterValue')
  expect(await failureOf(all({ DryRun: true }))).toBe('DryRunOperation')
  api.refuse('UnauthorizedOperation', 403, 2)
  expect(await failureOf(all({}))).toBe('UnauthorizedOperation')
  expect(await failureOf(all({}))).toBe('UnauthorizedOperation')
  expect(await failureOf(all({}))).toBe('')
})

test('a token of somebody else is refused', async () => {
  const { client } = await start()
  const page = client.send(new DescribeSpotPriceHistoryCommand({ NextToken: 'bm9uc2Vuc2U' }))
  expect(await failureOf(page)).toBe('InvalidPaginationToken')
})

test('history: the changes of a window and what held at its start, whatever was noted', () => {
  const step = fc.record({ after: fc.nat(5000), price: fc.integer({ min: 1, max: 5 }) })
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.nat(200_000),
      fc.nat(200_000),
      (steps, a, b) => {
        const history = createPriceHistory()
        let now = 1_000_000
        let last: MicroUsd | undefined
        for (const { after, price } of steps) {
          now += after
          last = microUsd(price)
          history.note('pool', instant(now), last)
        }
        const all = history.between('pool', instant(0), instant(now))
        expect(all.at(-1)?.price).toBe(last)
        all.slice(1).forEach((change, index) => {
          expect(change.at).toBeGreaterThan(all[index]?.at ?? 0)
        })
        const [from, to] = [1_000_000 + Math.min(a, b), 1_000_000 + Math.max(a, b)]
        const found = history.between('pool', instant(from), instant(to))
        const held = all.findLast(({ at }) => at <= from)
        expect(found).toEqual([...(held ? [held] : []), ...all.filter(({ at }) => at > from && at <= to)])
      },
    ),
  )
})

test('history is bounded', () => {
  const history = createPriceHistory()
  for (let index = 0; index < 6000; index += 1)
    history.note('pool', instant(index * 1000), microUsd(1 + (index % 2)))
  const kept = history.between('pool', instant(0), instant(6_000_000))
  expect(kept).toHaveLength(5000)
  expect(kept[0]?.at).toBe(1_000_000)
})
