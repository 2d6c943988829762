import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseInvocation } from '../command-line.ts'
import { backtest } from './backtest.ts'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-backtest-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

async function run(...words: string[]): Promise<string> {
  const invocation = parseInvocation(['backtest', ...words])
  if (typeof invocation === 'string') throw new Error(invocation)
  let out = ''
  const exit = await backtest(invocation, (text) => {
    out += text
    return 0
  })
  expect(exit).toBe(0)
  return out
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}

/** Two zones, four days: `b` is half the price of `a`. */
const prices = () =>
  `timestamp,availability_zone,instance_type,spot_price_usd_per_hour\n${Array.from({ length: 96 }, (_, i) =>
    ['a', 'b']
      .map(
        (zone) =>
          `${new Date(Date.UTC(2020, 0, 1, i)).toISOString()},sa-east-1${zone},c5.large,${zone === 'a' ? '0.0400' : '0.0200'}\n`,
      )
      .join(''),
  ).join('')}`
const TYPES =
  'region,instance_type,vcpu,memory_gib,ondemand_usd_per_hour\nsa-east-1,c5.large,2,4,0.131\nsa-east-1,c5.xlarge,4,8,broken\n'
const trace = (data: number[]) => gzipSync(JSON.stringify({ metadata: { gap_seconds: 600 }, data }))

interface Policy {
  policy: string
  cost_usd: number
  cost_share_of_on_demand: number
  moves: number
  hours_without_capacity: number
}
const policiesOf = (out: string, at = 0): Record<string, Policy> => {
  const { backtests } = JSON.parse(out) as { backtests: { policies: Policy[] }[] }
  return Object.fromEntries((backtests[at]?.policies ?? []).map((row) => [row.policy, row]))
}

test('policies over prices: what each costs, and a page with charts that asks nobody for anything', async () => {
  const html = join(directory, 'report.html')
  const given = ['--prices', file('prices.csv.gz', gzipSync(prices())), '--types', file('types.csv', TYPES)]
  const rows = policiesOf(await run(...given, '--json', '--html', html))
  expect(rows.stay?.cost_usd).toBeCloseTo(95 * 0.04, 9)
  expect(rows['on-demand']?.cost_usd).toBeCloseTo(95 * 0.131, 9)
  // The first tick is at home; the move costs ten minutes of the new pool.
  expect(rows.cheapest?.cost_usd).toBeCloseTo(0.04 + 94 * 0.02 + 0.02 / 6, 9)
  expect(rows['effective-cost-v1']).toMatchObject({ moves: 1, cost_usd: rows.cheapest?.cost_usd })
  expect(rows.hindsight?.cost_usd).toBeLessThanOrEqual((rows.cheapest?.cost_usd ?? 0) + 1e-9)

  const page = readFileSync(html, 'utf8')
  expect(page).toContain('<svg')
  expect(page).toContain('effective-cost-v1')
  expect(page).not.toMatch(/https?:|src=|<script|<link|@import|url\(/)
  expect(page).not.toContain('NaN')

  const text = await run(...given, '--policy', 'stay,cheapest')
  expect(text).toContain('| stay | 3.80 |')
  expect(text).not.toContain('seed-v1')
})

test('policies over availability: what each is without', async () => {
  const folder = join(directory, 'traces')
  mkdirSync(folder)
  file('traces/us-east-1a_v100_1.json.gz', trace([1, 0, 0, 0, 1, 1]))
  file('traces/us-east-1b_v100_1.json.gz', trace([1, 1, 1, 1, 1, 1]))
  const rows = policiesOf(await run('--trace', folder, '--json'))
  expect(rows.stay?.hours_without_capacity).toBeCloseTo(0.5 + 0.05, 9)
  expect(rows['effective-cost-v1']?.hours_without_capacity).toBeCloseTo(0.05, 9)
  expect(rows['on-demand']?.hours_without_capacity).toBe(0)
  expect(rows.stay?.cost_usd).toBeNull()
  const page = join(directory, 'trace.html')
  await run('--trace', folder, '--html', page)
  expect(readFileSync(page, 'utf8')).toContain('Time without capacity')
})

test.each([
  [[], 'name what to replay'],
  [['--prices', 'x.csv'], 'it is not known what the instance types have and cost'],
  [['--trace', '/nowhere'], 'there is no file or folder /nowhere'],
  [['--trace', '/nowhere', '--policy', 'best'], '--policy has "best"'],
])('%j is refused with what is missing', async (words, message) => {
  await expect(run(...words)).rejects.toThrow(message)
})

test('files that are no traces, no types or no known pools are named', async () => {
  await expect(run('--trace', file('p3-trace.csv', '0,add,node1\n'))).rejects.toThrow('p3-trace.csv')
  await expect(run('--trace', file('us-east-1a_v100_1.json', '{"data":[1]}'))).rejects.toThrow(
    'us-east-1a_v100_1.json is no availability trace',
  )
  const path = file('prices.csv', prices())
  await expect(run('--prices', path, '--types', file('types.csv', 'a,b\n'))).rejects.toThrow('lacks columns')
  const other = TYPES.replaceAll('sa-east-1', 'us-east-1')
  await expect(run('--prices', path, '--types', file('types.csv', other))).rejects.toThrow(
    'no pool of the price file',
  )
})

const DATA = fileURLToPath(new URL('../../../../shared/data/', import.meta.url))
const why = existsSync(DATA) ? '' : ` (skipped: ${DATA} is not there)`

test.skipIf(why !== '')(
  `on half a year of real prices the default is cheaper than staying and than the cheapest${why}`,
  async () => {
    const out = await run(
      ...['--prices', `${DATA}prices/sa-east-1_2019-12-31_2020-06-23_linux.csv.gz`],
      ...['--types', `${DATA}catalog/ec2_linux_ondemand_by_region_2025-04-04.csv.gz`],
      ...['--policy', 'stay,cheapest,effective-cost-v1', '--workloads', '6', '--every', '2', '--json'],
    )
    const { stay, cheapest, 'effective-cost-v1': ours } = policiesOf(out)
    for (const other of [stay, cheapest]) {
      expect(ours?.cost_usd).toBeLessThanOrEqual(other?.cost_usd ?? 0)
      expect(ours?.hours_without_capacity).toBeLessThanOrEqual(other?.hours_without_capacity ?? 0)
    }
    expect(ours?.moves).toBeLessThan(cheapest?.moves ?? 0)
  },
  60_000,
)
