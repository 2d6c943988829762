import { AppError } from '@understudy/shared/core/app-error'
import { hours, instant } from '@understudy/shared/core/time'
import type { PriceChange } from '@understudy/shared/market/history'
import type { Interval } from '@understudy/shared/market/interval'
import type { GivenSample } from '@understudy/shared/market/sample'
import { expect, test } from 'vitest'
import type { HistorySource } from '../cloud/history-source.ts'
import { coveredByAnswer, fetchPart } from './history-part.ts'
import { createRefusals } from './refusals.ts'

const START = Date.UTC(2025, 10, 1)
const at = (hour: number) => instant(START + hours(hour))
const range = { from: at(0), to: at(100) }
const POOL = 'c5.large@ap-south-1a'
const row = (hour: number, price: unknown = '0.04', pool = POOL): GivenSample => ({
  pool,
  at: at(hour),
  price,
})

async function fetch(
  pages: readonly (readonly GivenSample[] | Error)[],
  silence: HistorySource['silence'] = null,
) {
  const source: HistorySource = {
    reach: hours(2160),
    silence,
    async *fetch() {
      for (const page of pages) {
        if (page instanceof Error) throw page
        yield await Promise.resolve(page)
      }
    },
  }
  const changes: (PriceChange & { pool: string })[] = []
  const coverage: (Interval & { pool: string })[] = []
  const sink = {
    recordHistory(pool: string, rows: readonly PriceChange[], covered: readonly Interval[]) {
      changes.push(...rows.map((change) => ({ pool, ...change })))
      coverage.push(...covered.map((interval) => ({ pool, ...interval })))
      return Promise.resolve()
    },
  }
  const refusals = createRefusals()
  const known = {
    now: at(200),
    isKnownZone: (zone: string) => (zone === 'ap-south-1z' ? false : undefined),
    onDemand: () => undefined,
  }
  const query = { region: 'ap-south-1', instanceTypes: ['c5.large'], range }
  const outcome = await fetchPart(
    { source, sink, known },
    query,
    refusals,
    new AbortController().signal,
  ).catch((error: unknown) => error)
  return { outcome, changes, coverage, refused: refusals.summary() }
}

test('the row before the start is kept, and the whole range is covered', async () => {
  const { changes, coverage } = await fetch([[row(30, '0.05')], [row(-10, '0.04')]])
  expect(changes.map(({ at, price }) => [at, price])).toEqual([
    [at(30), 50_000],
    [at(-10), 40_000],
  ])
  expect(coverage).toEqual([{ pool: POOL, from: at(0), to: at(100) }])
})

test('a pool that has no row before the range is covered from its first row', async () => {
  const { coverage } = await fetch([[row(30), row(50)]])
  expect(coverage).toEqual([{ pool: POOL, from: at(30), to: at(100) }])
})

test('a page that fails leaves its rows and no coverage', async () => {
  const { outcome, changes, coverage } = await fetch([
    [row(50), row(-1)],
    new AppError('unavailable', 'cut off'),
  ])
  expect(outcome).toMatchObject({ code: 'unavailable' })
  expect(changes).toHaveLength(2)
  expect(coverage).toEqual([])
})

test('a page that comes twice changes nothing', async () => {
  const once = await fetch([[row(50), row(-1)]])
  const twice = await fetch([
    [row(50), row(-1)],
    [row(50), row(-1)],
  ])
  expect(twice.coverage).toEqual(once.coverage)
  expect(new Set(twice.changes.map(({ at }) => at))).toEqual(new Set(once.changes.map(({ at }) => at)))
})

test('no row: not offered, and nothing is covered', async () => {
  expect(await fetch([[]])).toMatchObject({ outcome: { rows: 0, covered: new Map() }, coverage: [] })
})

test('after a row that is refused nothing is known until the next one; the rest is kept', async () => {
  const { changes, coverage, refused } = await fetch([
    [row(60), row(40, 'N/A'), row(40, '0.04', 'c5.large@ap-south-1b'), row(-1)],
  ])
  expect(refused.byCode).toEqual({ price_not_a_number: 1 })
  expect(changes).toHaveLength(3)
  expect(coverage).toEqual([
    { pool: POOL, from: at(0), to: at(40) },
    { pool: POOL, from: at(60), to: at(100) },
    { pool: 'c5.large@ap-south-1b', from: at(40), to: at(100) },
  ])
})

test('rows of a zone that is not in this account, and rows that name no pool, are counted', async () => {
  const { changes, refused } = await fetch([[row(1, '0.04', 'c5.large@ap-south-1z'), row(1, '0.04', '@')]])
  expect(changes).toEqual([])
  expect(refused.byCode).toEqual({ zone_unknown: 1, pool_malformed: 1 })
})

test('a refused row without a time that can be read leaves its pool uncovered', () => {
  expect(coveredByAnswer([at(-1), at(5)], [undefined], range, null)).toEqual([])
  expect(coveredByAnswer([at(-1), at(5)], [at(7)], range, null)).toEqual([{ from: at(0), to: at(7) }])
  expect(coveredByAnswer([at(5)], [at(-2)], range, null)).toEqual([{ from: at(5), to: at(100) }])
  expect(coveredByAnswer([], [], range, null)).toEqual([])
})

test('where the source repeats prices, a row holds no longer than it is silent at most', async () => {
  const daily = hours(26)
  expect((await fetch([[row(60), row(0), row(24), row(-960)]], daily)).coverage).toEqual([
    { pool: POOL, from: at(0), to: at(50) },
    { pool: POOL, from: at(60), to: at(86) },
  ])
  // Forty days ago it was on offer; nothing says so since.
  const old = await fetch([[row(-960)]], daily)
  expect(old.coverage).toEqual([])
  expect(old.outcome).toMatchObject({ rows: 1, covered: new Map([[POOL, []]]) })
  expect((await fetch([[row(75)]], daily)).coverage).toEqual([{ pool: POOL, from: at(75), to: at(100) }])
  expect((await fetch([[row(-960)]])).coverage).toEqual([{ pool: POOL, from: at(0), to: at(100) }])
})
