import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { instant } from '@understudy/shared/core/time'
import { isPoolId } from '@understudy/shared/market/pool'
import { expect, test } from 'vitest'
import { type Measured, scanSizes } from './market-cases.ts'
import { lostBuckets, poolIds, priceChanges, pricesOf, writePriceFile } from './market-prices.ts'
import { toFigures, toJson, toTable } from './market-report.ts'
import { openMarketRig } from './market-rig.ts'

/** What the figures of the market benchmark rest on. */

const BUCKETS = 90 * 288

test('prices are the same for the same seed, and of every pool others', () => {
  const [a, b, other, next] = [
    pricesOf(3, 1000, 1),
    pricesOf(3, 1000, 1),
    pricesOf(3, 1000, 2),
    pricesOf(4, 1000, 1),
  ]
  expect(a).toEqual(b)
  expect(a).not.toEqual(other)
  expect(a).not.toEqual(next)
  expect(a.every((price) => price > 0)).toBe(true)
  const changes = priceChanges(3, BUCKETS, 1).length
  expect(changes / 90).toBeGreaterThan(4)
  expect(changes / 90).toBeLessThan(6)
})

test('pools are named as EC2 names them, each once, with the zones of a type together', () => {
  const ids = poolIds(1000)
  expect(new Set(ids).size).toBe(1000)
  expect(ids.every(isPoolId)).toBe(true)
  expect(ids.slice(0, 3)).toEqual(['c5.large@ap-south-1a', 'c5.large@ap-south-1b', 'c5.large@ap-south-1c'])
  expect(() => poolIds(1_000_000)).toThrow('can be made up')
})

test('about as many buckets are lost as asked, in gaps of every class, and neither the first nor the last', () => {
  const lengths: number[] = []
  let gone = 0
  for (let pool = 0; pool < 50; pool += 1) {
    const lost = lostBuckets(pool, BUCKETS, 2, 1)
    expect([lost[0], lost.at(-1)]).toEqual([0, 0])
    gone += lost.reduce((all, one) => all + one, 0)
    lengths.push(...[...lost.join('').matchAll(/1+/g)].map(([run]) => run.length))
  }
  expect(gone / (50 * BUCKETS)).toBeGreaterThan(0.018)
  expect(gone / (50 * BUCKETS)).toBeLessThan(0.022)
  for (const [low, high] of [
    [1, 2],
    [3, 6],
    [7, 24],
    [25, 48],
    [49, 60],
  ] as const)
    expect(lengths.some((length) => length >= low && length <= high)).toBe(true)
  expect(lostBuckets(1, BUCKETS, 0, 1).every((one) => one === 0)).toBe(true)
})

test('a price file has a row for each change, in order of time', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-bench-test-'))
  try {
    const file = join(directory, 'prices.csv.gz')
    const from = instant(Date.UTC(2026, 0, 1))
    const rows = await writePriceFile(file, { pools: 3, days: 10, seed: 1, from })
    const [head, ...lines] = gunzipSync(readFileSync(file)).toString().trim().split('\n')
    expect(head).toBe('timestamp,availability_zone,instance_type,spot_price_usd_per_hour')
    expect(lines).toHaveLength(rows)
    expect(lines[0]).toMatch(/^2026-01-01T00:00:00Z,ap-south-1a,c5.large,[\d.]+$/)
    expect(lines).toEqual(lines.toSorted((a, b) => (a.slice(0, 20) < b.slice(0, 20) ? -1 : 1)))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})

test('a child does what it is told on SQLite: ingest, load, scan, and a second scan has nothing to do', async () => {
  const rig = openMarketRig('', () => undefined)
  try {
    const ingested = await rig.run('ingest', await rig.newPlace('sqlite'), {
      rows: 60,
      batch: 25,
      pools: 3,
      width: 2,
      seed: 1,
    })
    // Three submissions: twelve buckets of two pools, of the third pool, and of the first two again.
    expect(ingested).toMatchObject({ sent: 60, clean: 60, first: 24, repeated: 24, serverCpuSeconds: 0 })
    expect(ingested.cpuSeconds).toBeGreaterThan(0)
    const place = await rig.newPlace('sqlite')
    const from = instant(Date.UTC(2026, 0, 1))
    const range = { from, to: instant(from + 10 * 86_400_000) }
    const source = { made: { from: 0, to: 3, seed: 1 } }
    const { rows, lacking } = await rig.run('load', place, { source, range, lost: 5 })
    expect(rows + lacking).toBe(3 * 10 * 288)
    const scan = await rig.run('scan', place, { range })
    expect(scan).toMatchObject({ pools: 3, open: 0 })
    expect(scan.filled).toBeGreaterThan(0)
    expect(scan.peakRssMib).toBeGreaterThan(20)
    expect(await rig.run('scan', place, { range })).toMatchObject({ gaps: scan.gaps, rows: 0 })
    const read = await rig.run('read', place, { range, points: 100, rounds: 2 })
    expect(read.millis).toHaveLength(2)
    expect(read.longest).toBeLessThanOrEqual(100)
  } finally {
    await rig.close()
  }
}, 120_000)

test('scans grow to as many pools as asked', () => {
  expect(scanSizes(1000)).toEqual([100, 300, 1000])
  expect(scanSizes(1)).toEqual([1])
})

test('figures stand beside their aims, and a missed one is told', () => {
  const one = (given: Partial<Measured>): Measured => ({
    what: 'scan',
    data: 'generated',
    store: 'sqlite',
    pools: 100,
    amount: 100 * BUCKETS,
    seconds: 2,
    cpuSeconds: 2,
    serverCpuSeconds: 0,
    peakRssMib: 200,
    ...given,
  })
  const all = [
    one({ what: 'ingest', amount: 500_000, seconds: 20 }),
    one({}),
    one({ pools: 1000, seconds: 25, cpuSeconds: 40 }),
    one({ what: 'read', p50Millis: 12, p95Millis: 30 }),
    one({ what: 'read', data: 'real', p50Millis: 15, p95Millis: 30 }),
  ]
  const figures = Object.fromEntries(toFigures(all).map(({ name, value }) => [name, value]))
  expect(figures).toMatchObject({
    ingest_sqlite: 25_000,
    scan_sqlite: 25,
    scan_rss_sqlite: 200,
    scan_growth_sqlite: 2,
    read_sqlite: 15,
    ingest_postgres: null,
  })
  expect(toJson(all, { wrong: [] })).toMatchObject({
    missed: ['ingest_sqlite', 'scan_growth_sqlite'],
    wrong: [],
  })
  expect(toTable(all, [1, 2, 3])).toMatch(/ingest_sqlite +25000 +rows\/s +>= 50000 +NO/)
})
