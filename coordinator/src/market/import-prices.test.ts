import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { hours, instant } from '@understudy/shared/core/time'
import { testData } from '@understudy/shared/testkit/test-data'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ImportRequest, importPrices } from './import-prices.ts'
import { createMemorySink } from './testing.ts'

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-import-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const START = Date.UTC(2020, 0, 1)
const at = (hour: number) => instant(START + hours(hour))
const iso = (hour: number) => new Date(at(hour)).toISOString()
const zones: Record<string, string> = { 'aps1-az1': 'ap-south-1a', 'use1-az6': 'us-east-1b' }

async function load(content: string | Uint8Array, request: Partial<ImportRequest> = {}) {
  const path = request.path ?? join(directory, 'file')
  if (request.path === undefined) writeFileSync(path, content)
  const sink = createMemorySink()
  const known = {
    now: instant(Date.UTC(2025, 0, 1)),
    isKnownZone: () => undefined,
    onDemand: () => undefined,
  }
  const progress: number[] = []
  const report = await importPrices(
    { ...request, path },
    {
      sink,
      known,
      zoneName: (id) => zones[id],
      onProgress: ({ fraction }) => progress.push(fraction),
    },
    new AbortController().signal,
  )
  return { report, sink, progress }
}

const HEADING = 'timestamp,availability_zone,instance_type,spot_price_usd_per_hour'
const csv = (...rows: string[]) => `${[HEADING, ...rows].join('\n')}\n`
const line = (hour: number, price = '0.0416', zone = 'sa-east-1a') => `${iso(hour)},${zone},c5.large,${price}`
/** Of hour `i`, as hard to pack as real ones. */
const priceOf = (i: number) => 30_000 + ((i * 7919 * 104_729) % 9973)
const many = csv(...Array.from({ length: 12_000 }, (_, i) => line(i, (priceOf(i) / 1e6).toFixed(6))))
const POOL = 'c5.large@sa-east-1a'

describe('CSV', () => {
  test('rows are recorded in micro-dollars, and covered from the first to the last', async () => {
    const { report, sink, progress } = await load(csv(line(0), line(20, '0.041601'), line(30, '0.05')))
    expect(report).toMatchObject({ format: 'csv', rows: 3, pools: 1, from: at(0), to: at(30), damaged: null })
    expect([...(sink.changes.get(POOL) ?? [])]).toEqual([
      [at(0), 41_600],
      [at(20), 41_601],
      [at(30), 50_000],
    ])
    expect(sink.coverage.get(POOL)).toEqual([{ from: at(0), to: at(30) }])
    expect(report.covered).toBe(hours(30))
    expect(progress.at(-1)).toBe(1)
  })

  test('columns may stand in another order, and further ones between', async () => {
    const { report } = await load(
      `instance_type,note,spot_price_usd_per_hour,timestamp,availability_zone\nc5.large,x,0.04,${iso(0)},sa-east-1a\r\n`,
    )
    expect(report).toMatchObject({ rows: 1, refused: { total: 0 } })
  })

  test('bad rows are refused by reason, the rest is kept, and what they hide is not covered', async () => {
    const { report, sink } = await load(
      csv(
        line(0),
        line(20, 'NaN'),
        line(40),
        line(60, '0'),
        line(61, '-1'),
        line(62, '99999'),
        `${iso(63).slice(0, -1)},sa-east-1a,c5.large,0.04`,
        '1999-01-01T00:00:00Z,sa-east-1a,m5.large,0.04',
        '2020-02-30T00:00:00Z,sa-east-1a,m5.large,0.04',
        '2040-01-01T00:00:00Z,sa-east-1a,m5.large,0.04',
        `${iso(64)},nowhere,c5.large,0.04`,
        'one,two',
        line(65, '0.05', 'sa-east-1b'),
      ),
    )
    expect(report.rows).toBe(3)
    expect(report.refused).toMatchObject({
      total: 10,
      byCode: {
        price_not_a_number: 1,
        price_zero: 1,
        price_negative: 1,
        price_implausible: 1,
        time_without_zone: 1,
        time_too_old: 1,
        time_malformed: 1,
        time_in_future: 1,
        pool_malformed: 1,
        row_malformed: 1,
      },
    })
    expect(report.refused.examples[0]).toEqual({
      code: 'price_not_a_number',
      reason: expect.stringContaining('"NaN" is not a price'),
      where: 'line 3',
    })
    // One of its rows says no time that can be trusted.
    expect(sink.coverage.has(POOL)).toBe(false)
  })

  test('a hundred thousand bad rows are counted and few of them kept', async () => {
    const { report } = await load(csv(...Array.from({ length: 100_000 }, () => 'nothing')))
    expect(report.refused.byCode).toEqual({ row_malformed: 100_000 })
    expect(report.refused.examples.length).toBeLessThan(21)
    expect(report.coveredPools).toBe(0)
  })

  test.each([
    ['another heading', 'time,az,type,price\n1,2,3,4\n', /lacks timestamp, availability_zone/],
    ['no table', 'just some text\nand more\n', /no prices/],
    ['nothing', '', /empty/],
    ['one endless line', `${HEADING}\n${'x'.repeat(1_000_000)}`, /far too long/],
    ['xz', Buffer.from('fd377a585a0000', 'hex'), /compressed in a way/],
  ])('%s is no price file', async (_, content, message) => {
    await expect(load(content)).rejects.toMatchObject({
      code: 'input_invalid',
      message: expect.stringMatching(message),
    })
  })

  test('a file that is not there', async () => {
    await expect(load('', { path: join(directory, 'none') })).rejects.toMatchObject({ code: 'not_found' })
  })
})

describe.each([
  ['gzip', gzipSync(many)],
  ['zstd', zstdCompressSync(many)],
])('%s', (name, packed) => {
  test('is unpacked on the way', async () => {
    const { report, sink } = await load(packed)
    expect(report).toMatchObject({ rows: 12_000, damaged: null, refused: { total: 0 } })
    expect(sink.coverage.get(POOL)).toEqual([{ from: at(0), to: at(11_999) }])
  })

  test('cut off: what was whole is kept, covered as far as it goes, and the damage is told', async () => {
    const { report, sink } = await load(packed.subarray(0, Math.floor(packed.length / 2)))
    expect(report.damaged).toMatch(new RegExp(`^${name}: `))
    expect(report.rows).toBeLessThan(12_000)
    expect(report.rows).toBeGreaterThan(1000)
    for (const [time, price] of sink.changes.get(POOL) ?? [])
      expect(price).toBe(priceOf((time - START) / hours(1)))
    expect(sink.coverage.get(POOL)).toHaveLength(1)
    for (const { to } of sink.coverage.get(POOL) ?? []) expect(to).toBe(report.to)
  })

  test('with bytes that are not its own: no price is invented', async () => {
    const broken = Buffer.from(packed)
    broken.fill(0, Math.floor(packed.length * 0.4), Math.floor(packed.length * 0.6))
    const { report, sink } = await load(broken)
    for (const [time, price] of sink.changes.get(POOL) ?? [])
      expect(price).toBe(priceOf((time - START) / hours(1)))
    expect(report.damaged).toMatch(new RegExp(`^${name}: `))
    expect(report.rows).toBeLessThan(12_000)
  })
})

test('the last line of a plain file that breaks off may be half a price: it is not believed', async () => {
  const { report, sink } = await load(csv(line(0), line(10), line(20, '0.0416')).slice(0, -3))
  expect(report).toMatchObject({ rows: 2, refused: { byCode: { row_malformed: 1 } } })
  expect(sink.coverage.get(POOL)).toEqual([{ from: at(0), to: at(10) }])
})

describe('JSON of DescribeSpotPriceHistory', () => {
  const row = (hour: number, more: object = {}) => ({
    AvailabilityZone: 'us-east-1f',
    InstanceType: 'm5.large',
    ProductDescription: 'Linux/UNIX',
    SpotPrice: '0.043700',
    Timestamp: iso(hour).replace('.000Z', '+00:00'),
    ...more,
  })
  const page = (rows: object[], next?: string) =>
    JSON.stringify({ SpotPriceHistory: rows, ...(next === undefined ? {} : { NextToken: next }) }, null, 4)

  test('rows, newest first as EC2 gives them; other products are passed over', async () => {
    const { report, sink } = await load(
      page([row(40), row(20), row(20, { ProductDescription: 'Windows' }), row(0)]),
    )
    expect(report).toMatchObject({
      format: 'json',
      rows: 3,
      order: 'descending',
      skipped: { otherProduct: 1 },
    })
    expect(sink.coverage.get('m5.large@us-east-1f')).toEqual([{ from: at(0), to: at(40) }])
  })

  test('pages one after the other, some of them twice', async () => {
    const first = page([row(40), row(20)], 'more')
    const { report, sink } = await load(`${first}\n${first}\n${page([row(10), row(0)], '')}`)
    expect(report).toMatchObject({ rows: 6, damaged: null, order: 'mixed' })
    expect(sink.changes.get('m5.large@us-east-1f')?.size).toBe(4)
    expect(sink.coverage.get('m5.large@us-east-1f')).toEqual([{ from: at(0), to: at(40) }])
  })

  test('a page whose next one is not there, and one that breaks off, say so and keep what they have', async () => {
    expect((await load(page([row(40), row(20)], 'more'))).report).toMatchObject({
      rows: 2,
      damaged: expect.stringContaining('names a next one'),
    })
    const text = page([row(40), row(20), row(0)])
    const cut = await load(text.slice(0, text.lastIndexOf('SpotPrice') + 20))
    expect(cut.report).toMatchObject({ rows: 2, damaged: expect.stringContaining('JSON') })
    expect(cut.sink.coverage.get('m5.large@us-east-1f')).toEqual([{ from: at(20), to: at(40) }])
  })

  test('rows that are no rows are refused', async () => {
    const { report } = await load(page([row(40), { InstanceType: 7 }, row(20, { SpotPrice: null })]))
    expect(report).toMatchObject({
      rows: 1,
      refused: { byCode: { row_malformed: 1, price_not_a_number: 1 } },
    })
    await expect(load('{"Reservations": []}')).rejects.toMatchObject({ code: 'input_invalid' })
  })
})

describe('TSV with zone ids', () => {
  const tsv = (id: string, hour: number, product = 'Linux/UNIX') =>
    `${id}\tc5.large\t${product}\t0.04\t${iso(hour)}\n`

  test('ids become this account’s names; those that it does not know are refused', async () => {
    const { report, sink } = await load(
      tsv('aps1-az1', 0) +
        tsv('use1-az6', 1) +
        tsv('aps1-az1', 2, 'SUSE Linux') +
        tsv('usw2-az1', 3) +
        tsv('aps1-az1', 4),
    )
    expect(report).toMatchObject({ format: 'tsv', rows: 3, skipped: { otherProduct: 1 } })
    expect(report.refused.byCode).toEqual({ zone_unknown: 1 })
    expect([...sink.changes.keys()]).toEqual(['c5.large@ap-south-1a', 'c5.large@us-east-1b'])
  })

  test('only the region that is asked for', async () => {
    const { report, sink } = await load(tsv('aps1-az1', 0) + tsv('use1-az6', 1), { region: 'us-east-1' })
    expect(report).toMatchObject({ rows: 1, skipped: { otherRegion: 1 } })
    expect([...sink.changes.keys()]).toEqual(['c5.large@us-east-1b'])
  })
})

const real = testData('prices/sa-east-1_2019-12-31_2020-06-23_linux.csv.gz')

test('half a year of sa-east-1: the day that was not collected is not covered', async ({ skip }) => {
  skip(real.missing !== undefined, real.missing)
  const { report, sink } = await load('', { path: real.path })
  expect(report).toMatchObject({ rows: 103_340, pools: 419, refused: { total: 0 }, coveredPools: 419 })
  const seam = { from: Date.parse('2020-03-30T00:31:11Z'), to: Date.parse('2020-03-31T00:04:27Z') }
  expect(report.breaks).toEqual([{ region: 'sa-east-1', ...seam }])
  for (const intervals of sink.coverage.values())
    for (const { from, to } of intervals) expect(from < seam.to && to > seam.from).toBe(false)
  // The rest of the half year is.
  expect(report.covered / hours(1) / 419).toBeGreaterThan(4000)
})

const answer = testData('prices/DescribeSpotPriceHistory_m5_large_2021-01-08_2021-02-09.json.gz')
const archive = testData('prices/ericpauley_2022-05_sample.tsv.zst')

test('an answer of EC2, and a part of the archive of all regions with zone ids', async ({ skip }) => {
  for (const { missing } of [answer, archive]) skip(missing !== undefined, missing)
  const json = await load('', { path: answer.path })
  expect(json.report).toMatchObject({ format: 'json', refused: { total: 0 }, damaged: null })
  const { rows, skipped } = json.report
  expect(rows + skipped.otherProduct + skipped.otherRegion).toBe(250)
  expect([...json.sink.changes.keys()].every((pool) => /^m5\.large@us-east-1[a-f]$/.test(pool))).toBe(true)

  zones['euw3-az2'] = 'eu-west-3b'
  const { report, sink } = await load('', { path: archive.path })
  expect(report).toMatchObject({ format: 'tsv', damaged: null })
  expect(report.rows + report.skipped.otherProduct + report.refused.total).toBe(33_362)
  // Of the other zones' ids nobody has said which names they have here.
  expect(Object.keys(report.refused.byCode)).toEqual(['zone_unknown'])
  expect([...(sink.changes.get('g4dn.4xlarge@eu-west-3b')?.values() ?? [])]).toContain(466_400)
})
