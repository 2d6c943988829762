import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { fromUsd } from '@understudy/shared/core/money'
import { instant } from '@understudy/shared/core/time'
import { testData } from '@understudy/shared/testkit/test-data'
import { afterEach, expect, test } from 'vitest'
import { testDatabase } from '../storage/testing.ts'
import { importCatalogFile, parseAsOf } from './catalog-files.ts'
import { createKnownCatalog } from './catalog-known.ts'
import { createCatalogStore } from './catalog-store.ts'
import { toStaticIntelligence } from './static-intelligence.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const NOW = instant(Date.UTC(2025, 10, 20))
const AS_OF = instant(Date.UTC(2024, 11, 9, 10, 30))

async function world() {
  const database = await testDatabase('sqlite')
  const directory = mkdtempSync(join(tmpdir(), 'understudy-catalog-'))
  cleanups.push(
    () => database.close(),
    () => rmSync(directory, { recursive: true, force: true }),
  )
  const store = createCatalogStore(database.bulk)
  const signal = new AbortController().signal
  return {
    store,
    load(content: string | Uint8Array | object) {
      const path = join(directory, 'file')
      writeFileSync(
        path,
        typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content),
      )
      return importCatalogFile({ path, asOf: AS_OF, at: NOW }, store, signal)
    },
    loadPath: (path: string) => importCatalogFile({ path, asOf: AS_OF, at: NOW }, store, signal),
  }
}

const record = {
  InstanceType: 'c5.large',
  VCpuInfo: { DefaultVCpus: 2 },
  MemoryInfo: { SizeInMiB: 4096 },
  ProcessorInfo: { SupportedArchitectures: ['x86_64'] },
  NetworkInfo: { NetworkCards: [{ PeakBandwidthInGbps: 10 }] },
}
const zone = (name: string, id: string) => ({ ZoneName: name, ZoneId: id, RegionName: name.slice(0, -1) })
const zones = { AvailabilityZones: [zone('ap-south-1a', 'aps1-az1'), zone('ap-south-1b', 'aps1-az3')] }
const advisor = {
  ranges: ['<5%', '5-10%', '10-15%', '15-20%', '>20%'].map((label, index) => ({ index, label, max: 0 })),
  spot_advisor: {
    'ap-south-1': {
      Linux: {
        ...Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`c${i + 20}.large`, { r: 4, s: 50 }])),
        'c5.large': { r: 1, s: 70 },
      },
    },
  },
}

test('what the command line prints is taken, and static_intelligence.json is made of it', async () => {
  const { store, load } = await world()
  expect(await load(advisor)).toEqual({ kind: 'spot-advisor', rows: 121, refused: 0 })
  expect(await load({ InstanceTypes: [record, { InstanceType: 'x' }] })).toEqual({
    kind: 'instance-types',
    rows: 1,
    refused: 1,
  })
  expect(await load(zones)).toEqual({ kind: 'zones', rows: 2, refused: 0 })
  const content = toStaticIntelligence({
    region: 'ap-south-1',
    zones: (await store.zones('ap-south-1')).map(({ name }) => name),
    advisor: await store.advisor('ap-south-1', 'Linux'),
    types: await store.instanceTypes(),
  })
  expect(content.metadata).toMatchObject({
    last_updated: '2024-12-09T10:30:00',
    region: 'ap-south-1',
    source: 'AWS Spot Advisor',
  })
  expect(content.spot_advisor['c5.large@ap-south-1a']).toEqual({
    interrupt_rate: 0.075,
    interrupt_rate_code: 1,
    last_updated: '2024-12-09T10:30:00',
  })
  // What the earlier platform refused: more than 20 %.
  expect(content.spot_advisor['c20.large@ap-south-1b']?.interrupt_rate).toBeGreaterThan(0.2)
  expect(Object.keys(content.spot_advisor)).toHaveLength(242)
  expect(content.instance_metadata).toEqual({
    'c5.large': { vcpu: 2, memory_gb: 4, architecture: 'x86_64', family: 'c5' },
  })
})

test('on-demand prices as CSV, packed or not; rows that are none are counted', async () => {
  const { store, load } = await world()
  const csv = [
    'region,instance_type,vcpu,ondemand_usd_per_hour',
    'ap-south-1,c5.large,2,0.0850000000',
    'us-east-1,c5.large,2,0.0800000000',
    'us-east-1,m5.large,2,0',
    'nowhere,m5.large,2,1',
    '',
  ].join('\n')
  expect(await load(gzipSync(csv))).toEqual({ kind: 'on-demand', rows: 2, refused: 2 })
  const known = createKnownCatalog(store)
  expect(known.onDemand({ instanceType: 'c5.large', availabilityZone: 'us-east-1f' })).toBeUndefined()
  await known.load()
  expect(known.onDemand({ instanceType: 'c5.large', availabilityZone: 'us-east-1f' })).toBe(fromUsd(0.08))
  expect(known.isKnownType('c5.large')).toBeUndefined()
  expect(await store.source('on-demand/us-east-1')).toMatchObject({
    as_of: AS_OF,
    fetched_at: NOW,
    error: null,
  })
})

test('a zone is unknown only where the zones are known', async () => {
  const { store, load } = await world()
  await load(zones)
  await load([record])
  const known = createKnownCatalog(store)
  await known.load()
  expect(known.isKnownZone('ap-south-1b')).toBe(true)
  expect(known.isKnownZone('ap-south-1z')).toBe(false)
  expect(known.isKnownZone('us-east-1z')).toBeUndefined()
  expect([known.isKnownType('c5.large'), known.isKnownType('c9.large')]).toEqual([true, false])
})

test.each([
  ['a file that breaks off', gzipSync(JSON.stringify(zones)).subarray(0, 40)],
  ['JSON that breaks off', JSON.stringify(zones).slice(0, 60)],
  ['something else', { Reservations: [] }],
  ['another table', 'a,b\n1,2\n'],
  ['a list of nothing', { InstanceTypes: [{}] }],
  ['zones that do not belong together', { AvailabilityZones: [zone('ap-south-1a', 'use1-az1')] }],
  [
    'one zone under two ids',
    { AvailabilityZones: [zone('ap-south-1a', 'aps1-az1'), zone('ap-south-1a', 'aps1-az2')] },
  ],
])('%s changes nothing', async (_, content) => {
  const { store, load } = await world()
  await load(zones)
  await expect(load(content)).rejects.toMatchObject({ code: 'input_invalid' })
  expect((await store.zones()).map(({ id }) => id)).toEqual(['aps1-az1', 'aps1-az3'])
  expect(await store.sources()).toHaveLength(1)
})

test('the day of the data is a day in the past', () => {
  expect(parseAsOf('2025-06-28', NOW)).toBe(Date.UTC(2025, 5, 28))
  for (const bad of ['tomorrow', '2031-01-01', '1999-01-01'])
    expect(() => parseAsOf(bad, NOW)).toThrow('--as-of')
})

const advisors = ['2022-07-23', '2024-02-28', '2025-06-28'].map((day) =>
  testData(`advisor/spot-advisor-data-${day}.json.gz`),
)
const onDemand = testData('catalog/ec2_linux_ondemand_by_region_2025-04-04.csv.gz')

test('the public files of several years', async ({ skip }) => {
  for (const { missing } of [...advisors, onDemand]) skip(missing !== undefined, missing)
  const { store, loadPath } = await world()
  for (const { path } of advisors) {
    const { kind, rows, refused } = await loadPath(path)
    expect({ kind, refused }).toEqual({ kind: 'spot-advisor', refused: 0 })
    expect(rows).toBeGreaterThan(10_000)
  }
  expect(await loadPath(onDemand.path)).toEqual({
    kind: 'on-demand',
    rows: 15_338,
    refused: 0,
  })
  expect((await store.advisor('ap-south-1', 'Linux')).length).toBeGreaterThan(300)
})
