import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { fromUsd } from '../../shared/src/core/money.ts'
import { instant } from '../../shared/src/core/time.ts'
import { createFeatureTable } from '../../shared/src/market/features.ts'
import { parsePool } from '../../shared/src/market/pool.ts'
import { HOUR_MS, toPricePath } from '../../shared/src/market/price-path.ts'
import { PRICE_INSTABILITY_12H } from '../../shared/src/market/price-rise.ts'
import { type MatrixSpec, matrixRows, segmentsOf } from './matrix.ts'
import { readOnDemandFile, readPriceFile } from './price-file.ts'
import { scaleMarket } from './scaled-market.ts'

const folder = mkdtempSync(join(tmpdir(), 'understudy-matrix-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const START = Date.UTC(2026, 0, 1)
const hour = (h: number) => instant(START + h * HOUR_MS)
const pool = parsePool('c5.large@sa-east-1a')
const steady = parsePool('m5.large@sa-east-1a')

/** Prices in USD by hour; the steady pool says its price again every 24 h for 20 days. */
const histories = (steps: readonly (readonly [number, number])[], repeatsUntil = 480) => [
  { pool, events: steps.map(([h, usd]) => ({ at: hour(h), price: fromUsd(usd) })) },
  {
    pool: steady,
    events: Array.from({ length: repeatsUntil / 24 + 1 }, (_, d) => ({
      at: hour(d * 24),
      price: fromUsd(1),
    })),
  },
]

const spec = (given: Partial<MatrixSpec> & Pick<MatrixSpec, 'histories'>): MatrixSpec => ({
  onDemand: new Map(),
  names: ['ret_12h', 'changes_168h'],
  target: PRICE_INSTABILITY_12H,
  grid: HOUR_MS,
  warmUp: 168 * HOUR_MS,
  segments: segmentsOf(given.histories, []),
  ...given,
})
const numberOf = new Map([
  ['c5.large@sa-east-1a', 0],
  ['m5.large@sa-east-1a', 1],
])

/** Hours of the rows of `which`, with the hours until the rise. */
const rowsOf = (s: MatrixSpec, which: number) =>
  [...matrixRows(s, numberOf)].flatMap(({ at, pools, rise }) =>
    [...pools].flatMap((n, i) => (n === which ? [[(at - START) / HOUR_MS, rise[i]] as const] : [])),
  )

test('rows begin after 7 days and end 12 h before the prices do; the label looks 12 h ahead', () => {
  const rows = rowsOf(
    spec({
      histories: histories([
        [0, 1],
        [300, 1.05],
        [480, 1.05],
      ]),
    }),
    0,
  )
  expect(rows[0]?.[0]).toBe(168)
  expect(rows.at(-1)?.[0]).toBe(468)
  const before = rows.filter(([, rise]) => !Number.isNaN(rise))
  expect(before.map(([h]) => h)).toEqual(Array.from({ length: 12 }, (_, i) => 288 + i))
  expect(before[0]?.[1]).toBe(12)
})

test('a pool that fell silent has no rows whose label nobody can know', () => {
  const s = spec({
    histories: histories([
      [0, 1],
      [240, 1.01],
    ]),
  })
  expect(rowsOf(s, 0).at(-1)?.[0]).toBe(228)
  expect(rowsOf(s, 1).at(-1)?.[0]).toBe(468)
})

test('nothing crosses a seam: neither label nor feature', () => {
  const all = histories([
    [0, 1],
    [239, 1.5],
    [262, 2],
    [480, 2],
  ])
  const seam = { from: hour(240), to: hour(260) }
  const s = spec({ histories: all, segments: segmentsOf(all, [seam]) })
  const hours = rowsOf(s, 1).map(([h]) => h)
  expect(hours.filter((h) => h > 228 && h < 260 + 168)).toEqual([])
  expect(hours).toContain(228)
  expect(hours).toContain(260 + 168)
  const later = [...matrixRows(s, numberOf)].find(({ segment }) => segment === 1)
  expect(later?.features[1], 'the rise of 0.5 at hour 239 is not a change of the second stretch').toBe(0)
})

test('a row is what the coordinator would compute at that moment', () => {
  const all = histories([
    [0, 1],
    [170, 1.2],
    [180, 1.1],
    [480, 1.1],
  ])
  const rows = [...matrixRows(spec({ histories: all }), numberOf)].find(({ at }) => at === hour(182))
  const live = createFeatureTable(
    all.map(({ pool: p, events }) => ({
      pool: p,
      path: toPricePath(events.filter(({ at }) => at <= hour(182))),
    })),
    ['ret_12h', 'changes_168h'],
  ).rowsAt(hour(182))
  expect([...(rows?.features ?? [])]).toEqual([...live])
})

test('a scaled copy moves in time and size, below the same ceiling', () => {
  const [first] = scaleMarket(
    histories([
      [0, 0.25],
      [10, 0.5],
      [20, 1],
    ]),
    new Map([['c5.large', fromUsd(1)]]),
    { time: 2, moves: 0.5 },
    hour(0),
  )
  expect(first?.events).toEqual([
    { at: hour(0), price: fromUsd(0.5) },
    { at: hour(20), price: fromUsd(Math.SQRT1_2) },
    { at: hour(40), price: fromUsd(1) },
  ])
})

test('a price file is read with or without gzip, and what is no Linux price is left out', async () => {
  const text = [
    'Timestamp,availability_zone,instance_type,product_description,spot_price',
    '2026-01-01T00:00:00Z,sa-east-1a,c5.large,Linux/UNIX,0.0408',
    '2026-01-01 05:00:00,sa-east-1a,c5.large,Linux/UNIX,0.041',
    '2026-01-01T00:00:00Z,sa-east-1a,c5.large,Windows,0.09',
    '2026-01-01T06:00:00Z,aps1-az1,c5.large,Linux/UNIX,0',
    '',
  ].join('\n')
  writeFileSync(join(folder, 'a.csv'), text)
  writeFileSync(join(folder, 'a.csv.gz'), gzipSync(text))
  const plain = await readPriceFile(join(folder, 'a.csv'))
  expect(plain).toEqual(await readPriceFile(join(folder, 'a.csv.gz')))
  expect(plain.dropped).toBe(1)
  expect(plain.histories).toEqual([
    {
      pool,
      events: [
        { at: hour(0), price: 40_800 },
        { at: hour(5), price: 41_000 },
      ],
    },
  ])
})

test.each([
  ['a,b\n1,2\n', 'has no column timestamp'],
  ['timestamp,az,instance_type,price\n2026-01-01T00:00:00Z,sa-east-1a,c5.large,NaN\n', 'line 2'],
  ['timestamp,az,instance_type,price\nyesterday,sa-east-1a,c5.large,1\n', 'line 2'],
  ['timestamp,az,instance_type,price\n2026-01-01T00:00:00Z,../etc,c5.large,1\n', 'line 2'],
  ['timestamp,az,instance_type,price\n', 'has no prices'],
])('the price file %j is refused: %s', async (text, message) => {
  writeFileSync(join(folder, 'bad.csv'), text)
  await expect(readPriceFile(join(folder, 'bad.csv'))).rejects.toThrow(message)
})

test('on-demand prices are those of one region', async () => {
  const file = join(folder, 'od.csv')
  writeFileSync(
    file,
    'region,instance_type,ondemand_usd_per_hour\nsa-east-1,c5.large,0.131\nus-east-1,c5.large,0.085\n',
  )
  expect([...(await readOnDemandFile(file, 'sa-east-1'))]).toEqual([['c5.large', 131_000]])
  await expect(readOnDemandFile(join(folder, 'a.csv'), 'sa-east-1')).rejects.toThrow(
    'not a list of on-demand prices',
  )
})
