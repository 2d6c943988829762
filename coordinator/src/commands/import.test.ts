import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { parseInvocation } from '../command-line.ts'
import { openDatabase } from '../storage/database.ts'
import { catalog } from './catalog.ts'
import { importData } from './import.ts'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-commands-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

/** Runs a command on the test's own database. */
async function run(...words: string[]): Promise<{ exit: number; out: string }> {
  const invocation = parseInvocation([...words, '--database', join(directory, 'test.db')])
  if (typeof invocation === 'string') throw new Error(invocation)
  let out = ''
  const command = invocation.command === 'import' ? importData : catalog
  const exit = await command(invocation, (text) => {
    out += text
    return 0
  })
  return { exit, out }
}
function file(content: string | Uint8Array): string {
  const path = join(directory, 'file')
  writeFileSync(path, content)
  return path
}

const csv = (rows: number) =>
  `timestamp,availability_zone,instance_type,spot_price_usd_per_hour\n${Array.from(
    { length: rows },
    (_, i) => `${new Date(Date.UTC(2020, 0, 1, i)).toISOString()},sa-east-1a,c5.large,0.0${300 + (i % 99)}\n`,
  ).join('')}`
const ZONES = {
  AvailabilityZones: [{ ZoneName: 'ap-south-1b', ZoneId: 'aps1-az1', RegionName: 'ap-south-1' }],
}
const TSV = 'aps1-az1\tc5.large\tLinux/UNIX\t0.0416\t2022-05-31T18:20:41+00:00\n'

test('imported prices are in the market, with what is covered, and the import is on record', async () => {
  const { exit, out } = await run('import', 'prices', file(csv(50)), '--json')
  expect(exit).toBe(0)
  expect(JSON.parse(out)).toMatchObject({
    schema: 'understudy.import-prices/v1',
    rows: 50,
    pools: 1,
    covered_hours: 49,
    damaged: null,
  })
  const database = await openDatabase({ store: 'sqlite', path: join(directory, 'test.db') })
  const { db } = database
  expect(await db.selectFrom('price_changes').select(['at', 'price']).orderBy('at').execute()).toHaveLength(
    50,
  )
  expect(await db.selectFrom('price_coverage').select(['from_at', 'to_at']).execute()).toEqual([
    { from_at: Date.UTC(2020, 0, 1), to_at: Date.UTC(2020, 0, 3, 1) },
  ])
  expect(await db.selectFrom('price_fetches').select(['kind', 'status', 'rows_written']).execute()).toEqual([
    { kind: 'import', status: 'done', rows_written: 50 },
  ])
  expect(await db.selectFrom('audit_log').select(['actor', 'action']).execute()).toEqual([
    { actor: 'command line', action: 'prices.import' },
  ])
  await database.close()
})

test('between its transactions a coordinator that runs beside it has the database', async () => {
  const lines = Array.from({ length: 30 }, (_, i) => `2020-01-01T00:00:00Z,sa-east-1a,c${i}.large,0.03\n`)
  const heading = 'timestamp,availability_zone,instance_type,spot_price_usd_per_hour\n'
  using timers = vi.spyOn(globalThis, 'setTimeout')
  const { exit } = await run('import', 'prices', file(heading + lines.join('')))
  expect(exit).toBe(0)
  // One transaction for the rows of each pool, and a wait after each.
  const waits = timers.mock.calls.filter(([, delay]) => delay !== undefined && delay >= 10 && delay <= 20)
  expect(waits).toHaveLength(30)
})

test('a file that breaks off keeps its rows and ends with exit code 1', async () => {
  const packed = gzipSync(csv(20_000))
  await expect(run('import', 'prices', file(packed.subarray(0, packed.length - 50)))).rejects.toMatchObject({
    code: 'state_unreadable',
    message: expect.stringMatching(/[1-9]\d* rows before that were kept/),
  })
})

test('zone ids are understood with the catalog or with a file', async () => {
  const prices = join(directory, 'prices.tsv')
  writeFileSync(prices, TSV)
  expect(await run('import', 'prices', prices)).toMatchObject({
    exit: 1,
    out: expect.stringContaining('--zones'),
  })
  const zones = file(JSON.stringify(ZONES))
  expect((await run('import', 'prices', prices, '--zones', zones)).exit).toBe(0)
  expect(await run('catalog', 'import', zones)).toEqual({ exit: 0, out: 'zones: 1 rows\n' })
  expect(await run('import', 'prices', prices)).toMatchObject({
    exit: 0,
    out: expect.stringContaining('1 rows of 1 pools'),
  })
})

test('the catalog is filled, shown and exported', async () => {
  expect((await run('catalog', 'show')).out).toMatch(/nothing yet/)
  await expect(run('catalog', 'export', '--region', 'ap-south-1')).rejects.toMatchObject({
    code: 'not_found',
  })
  const advisor = {
    ranges: ['<5%', '5-10%', '10-15%', '15-20%', '>20%'].map((label, index) => ({ index, label, max: 0 })),
    spot_advisor: {
      'ap-south-1': {
        Linux: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`c${i}.large`, { r: 2, s: 50 }])),
      },
    },
  }
  await run('catalog', 'import', file(JSON.stringify(advisor)), '--as-of', '2025-06-28')
  await run('catalog', 'import', file(JSON.stringify(ZONES)))
  const shown = JSON.parse((await run('catalog', 'show', '--json')).out)
  expect(shown.sources).toMatchObject([
    { name: 'spot-advisor', as_of: '2025-06-28T00:00:00.000Z', error: null },
    { name: 'zones/ap-south-1' },
  ])
  const target = join(directory, 'static_intelligence.json')
  expect((await run('catalog', 'export', target, '--region', 'ap-south-1')).exit).toBe(0)
  const written = JSON.parse(readFileSync(target, 'utf8'))
  expect(written.spot_advisor['c7.large@ap-south-1b']).toEqual({
    interrupt_rate: 0.125,
    interrupt_rate_code: 2,
    last_updated: '2025-06-28T00:00:00',
  })
})

test.each([
  [['import'], /is not prices/],
  [['import', 'prices'], /name one file/],
  [['import', 'prices', 'a', 'b'], /name one file/],
  [['import', 'prices', 'a', '--as-of', '2025-01-01'], /no option --as-of/],
  [['catalog', 'forget'], /is not show, refresh, import, export/],
  [['catalog', 'import'], /which file/],
])('%j is refused with what is wrong', async (words, message) => {
  await expect(run(...words)).rejects.toThrow(message)
})

test('a format that there is not', async () => {
  await expect(run('import', 'prices', file(csv(1)), '--format', 'xls')).rejects.toThrow(
    'it must be csv, json, tsv',
  )
})
