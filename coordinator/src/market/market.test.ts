import { microUsd } from '@understudy/shared/core/money'
import { type Instant, instant, millis } from '@understudy/shared/core/time'
import { BUCKET } from '@understudy/shared/market/bucket'
import fc from 'fast-check'
import { sql } from 'kysely'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { OpenDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import type { HistoryFetcher } from './gap-filler.ts'
import type { SubmittedRow } from './ingest.ts'
import { createMarket, type Market } from './market.ts'

const T0 = Date.UTC(2025, 10, 20, 0)
const at = (bucket: number) => instant(T0 + bucket * BUCKET)
const POOL = 'c5.large@ap-south-1a'
const day = millis(86_400_000)

/** A sample some seconds into a bucket. */
function row(
  bucket: number,
  price: number,
  more: Partial<SubmittedRow> & { after?: number; pool?: string } = {},
) {
  const { after = 7_000, pool = POOL, ...rest } = more
  const given = { pool, at: at(bucket) + after, price }
  return { given, instanceId: 'i-0a', role: 'primary' as const, ...rest }
}

describe.each(dialects)('the market on %s', (dialect) => {
  let database: OpenDatabase
  let market: Market
  let now: Instant
  let history: HistoryFetcher | undefined
  beforeAll(async () => {
    database = await testDatabase(dialect)
    await migrate(database.db)
  })
  afterAll(() => database.close())

  const tables = [
    'pricing_submissions_raw',
    'pricing_snapshots_clean',
    'price_changes',
    'price_coverage',
    'pricing_snapshots_interpolated',
    'data_gaps',
    'pools',
  ] as const
  beforeEach(async () => {
    for (const table of tables) await database.db.deleteFrom(table).execute()
    now = at(500)
    history = undefined
    market = open()
  })
  const open = () =>
    createMarket({
      db: database.bulk,
      clock: { now: () => now, mono: () => performance.now() as never, timer: () => () => undefined },
      log: pino({ level: 'silent' }),
      known: { isKnownZone: (zone) => zone !== 'us-east-1z', onDemand: () => microUsd(85_000) },
      retention: { submissions: millis(day * 30), prices: millis(day * 400) },
      gapFiller: true,
      history: { fetchHistory: async (...asked) => history?.fetchHistory(...asked) },
    })
  const send = (...rows: SubmittedRow[]) => market.ingest({ submissionId: 's', agentId: 'a', rows })
  const clean = async () =>
    (await database.db.selectFrom('spot_prices').selectAll().orderBy('pool_id').orderBy('at').execute()).map(
      ({ pool_id, at: bucket, price, source, confidence }) => ({
        pool_id,
        at: bucket,
        price,
        source,
        confidence,
      }),
    )
  const range = (from: number, to: number) => ({ from: at(from), to: at(to) })
  const pricesOf = async (from: number, to: number) =>
    (await market.series(POOL, range(from, to))).map(({ price, source }) =>
      price === null ? null : `${price} ${source}`,
    )
  const scan = (from: number, to: number) => market.scan({ range: range(from, to) })

  test('a sample is kept in its bucket; the same again is a duplicate; a primary beats a later replica', async () => {
    expect(await send(row(0, 0.0416))).toEqual({ accepted: 1, duplicates: 0, refused: 0, errors: [] })
    expect(await send(row(0, 0.0416))).toMatchObject({ accepted: 0, duplicates: 1 })
    await send(row(0, 0.05, { role: 'replica', instanceId: 'i-0b', after: 60_000 }))
    expect(await clean()).toEqual([
      { pool_id: POOL, at: at(0), price: 41_600, source: 'primary', confidence: 100 },
    ])
    const audit = await database.db.selectFrom('pricing_submissions_raw').selectAll().execute()
    expect(audit.map(({ verdict, role, price }) => [verdict, role, price])).toEqual([
      ['accepted', 'primary', 41_600],
      ['accepted', 'replica', 50_000],
    ])
  })

  test('what is wrong is refused row by row with its code, stays in the audit, and the rest is taken', async () => {
    const bad = (given: Partial<SubmittedRow['given']>) => ({
      ...row(1, 0.04),
      given: { ...row(1, 0.04).given, ...given },
    })
    const result = await send(
      row(0, 0.04),
      bad({ price: 0 }),
      bad({ price: -1 }),
      bad({ price: Number.NaN }),
      bad({ price: '1\u00002' }),
      bad({ price: 41_600 }),
      bad({ pool: 'c5.large' }),
      bad({ pool: 'c5.large@us-east-1z' }),
      bad({ at: now + 600_000 }),
      bad({ at: 1_700_000_000 }),
      bad({ at: '2025-11-20T10:00:00' }),
      { ...row(1, 0.04), refused: { code: 'instance_foreign', reason: 'of another agent' } },
    )
    expect(result).toMatchObject({ accepted: 1, refused: 11 })
    expect(result.errors.map(({ index, code }) => [index, code])).toEqual([
      [1, 'price_zero'],
      [2, 'price_negative'],
      [3, 'price_not_a_number'],
      [4, 'price_not_a_number'],
      [5, 'price_implausible'],
      [6, 'pool_malformed'],
      [7, 'zone_unknown'],
      [8, 'time_in_future'],
      [9, 'time_too_old'],
      [10, 'time_without_zone'],
      [11, 'instance_foreign'],
    ])
    const refused = await database.db
      .selectFrom('pricing_submissions_raw')
      .select('reason')
      .where('verdict', '=', 'refused')
      .execute()
    expect(refused).toHaveLength(11)
    expect(await clean()).toHaveLength(1)
  })

  test('any permutation and repetition of the same samples leaves the same clean table', async () => {
    const sample = fc.record({
      bucket: fc.integer({ min: 0, max: 3 }),
      after: fc.constantFrom(0, 1000, 299_999),
      price: fc.constantFrom(0.04, 0.05),
      role: fc.constantFrom('primary' as const, 'replica' as const),
      instanceId: fc.constantFrom('i-0a', 'i-0B', 'i-0_'),
      pool: fc.constantFrom(POOL, 'c5.large@ap-south-1b'),
    })
    const orders = fc
      .array(sample, { minLength: 1, maxLength: 12 })
      .chain((all) =>
        fc.tuple(
          fc.constant(all),
          fc.array(fc.shuffledSubarray(all, { minLength: 1 }), { minLength: 1, maxLength: 4 }),
        ),
      )
    await fc.assert(
      fc.asyncProperty(orders, async ([all, parts]) => {
        const rows = (list: typeof all) => list.map(({ bucket, price, ...more }) => row(bucket, price, more))
        const dump = async () =>
          database.db
            .selectFrom('pricing_snapshots_clean')
            .selectAll()
            .orderBy('pool')
            .orderBy('at')
            .execute()
        const clear = async () => {
          await database.db.deleteFrom('pricing_submissions_raw').execute()
          await database.db.deleteFrom('pricing_snapshots_clean').execute()
        }
        await clear()
        await send(...rows(all))
        const once = await dump()
        await clear()
        for (const part of [...parts, all.toReversed()]) await send(...rows(part))
        expect(await dump()).toEqual(once)
      }),
      { numRuns: dialect === 'sqlite' ? 60 : 25 },
    )
  })

  test('more rows than one transaction takes are all taken, and counted once', async () => {
    const rows = Array.from({ length: 25_000 }, (_, i) =>
      row(-(i % 12_500), 0.04, { instanceId: `i-${i < 12_500 ? 'a' : 'b'}`, after: i % 1000 }),
    )
    expect(await market.ingest({ submissionId: 's', agentId: 'a', rows })).toMatchObject({
      accepted: 25_000,
      refused: 0,
    })
    const [counted] = await database.db
      .selectFrom('pricing_snapshots_clean')
      .select((e) => e.fn.countAll().as('n'))
      .execute()
    expect(counted?.n).toBe(12_500)
  })

  test("the seed's example: four buckets between 0.0416 at 09:55 and 0.0420 at 10:20 are interpolated", async () => {
    // The gap is 10:00 to 10:15; buckets 119 and 124 of the day.
    await send(row(119, 0.0416), row(124, 0.042))
    const result = await scan(100, 125)
    expect(result).toMatchObject({ gaps: 1, filled: 1, rows: 4, empty: 0, open: 0 })
    const points = (await market.series(POOL, range(119, 125))).map(({ price }) => price)
    expect(points[0]).toBe(41_600)
    expect(points[5]).toBe(42_000)
    for (const price of points.slice(1, 5)) {
      expect(price).toBeGreaterThan(41_600)
      expect(price).toBeLessThan(42_000)
    }
    const [stored] = await database.db.selectFrom('pricing_snapshots_interpolated').selectAll().execute()
    expect(stored).toMatchObject({
      confidence: 75,
      method: 'weighted-average',
      before_price: 41_600,
      after_price: 42_000,
      batch_id: result.batchId,
    })
    expect(JSON.parse(stored?.inputs ?? '')).toMatchObject({ points: 2 })
    expect((await clean()).map((point) => point.at)).toEqual([at(119), at(124)])
  })

  test('filling again changes nothing, from whatever range; undoing takes it back and it stays empty', async () => {
    await send(row(0, 0.04), row(2, 0.06), row(5, 0.06))
    const first = await scan(0, 6)
    expect(first).toMatchObject({ gaps: 2, filled: 2, rows: 3 })
    const dump = () =>
      database.db.selectFrom('pricing_snapshots_interpolated').selectAll().orderBy('at').execute()
    const before = await dump()
    expect(await scan(0, 6)).toMatchObject({ gaps: 2, filled: 0, rows: 0 })
    expect(await scan(3, 4)).toMatchObject({ gaps: 1, filled: 0, rows: 0 })
    expect(await dump()).toEqual(before)
    expect(await market.undo(first.batchId)).toEqual({ rows: 3, gaps: 2 })
    expect(await pricesOf(0, 3)).toEqual(['40000 primary', null, '60000 primary'])
    expect(await scan(0, 6)).toMatchObject({ gaps: 2, filled: 0, rows: 0, empty: 2 })
    expect(await market.undo(first.batchId)).toEqual({ rows: 0, gaps: 0 })
  })

  test('a real price takes the place of an interpolated one, and what is left of the gap is computed anew', async () => {
    await send(row(0, 0.04), row(4, 0.08))
    await scan(0, 5)
    expect(await pricesOf(1, 2)).toEqual([expect.stringContaining('interpolated')])
    await send(row(1, 0.07))
    expect(await pricesOf(1, 2)).toEqual(['70000 primary'])
    const { items } = await market.gaps({ limit: 10 })
    expect(items).toMatchObject([{ status: 'stale' }])
    await scan(3, 4)
    expect(await pricesOf(0, 5)).toEqual([
      '40000 primary',
      '70000 primary',
      '73333 interpolated',
      '76667 interpolated',
      '80000 primary',
    ])
    expect((await market.gaps({ limit: 10 })).items).toMatchObject([
      { from: at(2), to: at(4), buckets: 2, class: 'short', status: 'filled' },
    ])
  })

  test('history comes before interpolation, holds its value between changes, and yields to samples', async () => {
    await send(row(0, 0.04), row(4, 0.08))
    history = {
      async fetchHistory({ pools, range: asked }) {
        expect([pools, asked]).toEqual([[POOL], range(1, 4)])
        await market.recordHistory(
          POOL,
          [
            { at: instant(at(0) - 1000), price: microUsd(41_000) },
            { at: instant(at(2) + 1), price: microUsd(42_000) },
          ],
          [range(0, 3)],
          'history',
        )
      },
    }
    expect(await scan(0, 5)).toMatchObject({ gaps: 1, filled: 1, rows: 1 })
    expect(await pricesOf(0, 5)).toEqual([
      '40000 primary',
      '41000 history',
      '41000 history',
      '60500 interpolated',
      '80000 primary',
    ])
    expect(await market.coverage(POOL, range(0, 5))).toEqual([range(0, 3)])
  })

  test('history that comes late removes what was interpolated; adjacent coverage becomes one', async () => {
    await send(row(0, 0.04), row(3, 0.08))
    await scan(0, 4)
    const change = { at: at(0), price: microUsd(50_000) }
    expect(await market.recordHistory(POOL, [change, change], [range(0, 2)], 'history')).toBe(1)
    expect(await market.recordHistory(POOL, [change], [range(2, 3)], 'import')).toBe(0)
    expect(await market.coverage(POOL, range(-5, 50))).toEqual([range(0, 3)])
    expect(await pricesOf(0, 4)).toEqual(['40000 primary', '50000 history', '50000 history', '80000 primary'])
    expect(await scan(0, 4)).toMatchObject({ gaps: 0 })
    expect((await market.gaps({ limit: 10 })).items).toEqual([])
  })

  test('a long gap is filled by the moves of the same type in other zones; a blackout stays empty', async () => {
    const b = 'c5.large@ap-south-1b'
    const peer = Array.from({ length: 80 }, (_, i) => row(i, i < 10 ? 0.05 : 0.06, { pool: b }))
    await send(...peer, row(5, 0.04), row(20, 0.05), row(79, 0.05))
    const result = await scan(0, 80)
    expect(result).toMatchObject({ gaps: 2, filled: 1, empty: 1, open: 0 })
    expect(await pricesOf(5, 12)).toEqual([
      '40000 primary',
      ...Array(4).fill('40000 interpolated'),
      '48000 interpolated',
      '48000 interpolated',
    ])
    expect(await pricesOf(21, 79)).toEqual(Array(58).fill(null))
    expect((await market.gaps({ limit: 1 })).items).toMatchObject([
      { class: 'blackout', status: 'empty', reason: expect.stringContaining('4 hours') },
    ])
  })

  test('a gap that has not ended is open, is not filled, and grows', async () => {
    await send(row(0, 0.04))
    now = at(3)
    expect(await scan(-10, 100)).toMatchObject({ gaps: 1, open: 1, rows: 0 })
    now = at(5)
    await scan(-10, 100)
    expect((await market.gaps({ limit: 10 })).items).toMatchObject([
      { from: at(1), to: at(5), buckets: 4, status: 'open' },
    ])
    await send(row(5, 0.04))
    now = at(6)
    expect(await scan(-10, 100)).toMatchObject({ gaps: 1, filled: 1, rows: 4 })
  })

  test('gaps are listed page by page, the latest first', async () => {
    await send(row(0, 0.04), row(2, 0.04), row(4, 0.04), row(6, 0.04))
    await scan(0, 7)
    const first = await market.gaps({ limit: 2, poolId: POOL })
    expect(first.items.map(({ from }) => from)).toEqual([at(5), at(3)])
    const second = await market.gaps({ limit: 2, poolId: POOL, cursor: first.next ?? '' })
    expect([second.items.map(({ from }) => from), second.next]).toEqual([[at(1)], null])
    expect((await market.gaps({ limit: 9, range: range(3, 4) })).items).toHaveLength(1)
    expect((await market.gaps({ limit: 9, poolId: 'c5.large@ap-south-1c' })).items).toEqual([])
  })

  test('the last price of a pool is its newest sample or what history says later', async () => {
    const b = 'c5.large@ap-south-1b'
    await send(row(0, 0.04), row(1, 0.05), row(0, 0.06, { pool: b, role: 'replica' }))
    await market.recordHistory(POOL, [{ at: at(-5), price: microUsd(44_000) }], [range(-5, 10)], 'history')
    expect(await market.latest()).toEqual(
      new Map([
        [POOL, { at: instant(at(10) - 1), price: 44_000, source: 'history', confidence: 100 }],
        [b, { at: at(0), price: 60_000, source: 'replica', confidence: 95 }],
      ]),
    )
    expect([...(await market.latest([b])).keys()]).toEqual([b])
    expect(await market.latest([])).toEqual(new Map())
    expect((await market.pools()).map(({ poolId, region }) => [poolId, region])).toEqual([
      [POOL, 'ap-south-1'],
      [b, 'ap-south-1'],
    ])
  })

  test('what is too old goes; the price that held when the rest begins stays', async () => {
    now = instant(T0 + 500 * day)
    const old = -288 * 40
    await send(row(old, 0.04), row(0, 0.05))
    await market.recordHistory(
      POOL,
      [
        { at: at(old), price: microUsd(40_000) },
        { at: at(old + 1), price: microUsd(41_000) },
      ],
      [range(old, 288 * 600)],
      'history',
    )
    await market.purge()
    expect((await clean()).map((point) => point.at)).not.toContain(at(old))
    const changes = await database.db.selectFrom('price_changes').selectAll().execute()
    expect(changes).toMatchObject([{ price: 41_000 }])
    const cut = instant(now - 400 * day)
    expect(await market.coverage(POOL, range(old, 288 * 600))).toMatchObject([{ from: cut }])
    expect((await market.series(POOL, { from: cut, to: instant(cut + 2 * BUCKET) }))[1]).toMatchObject({
      price: 41_000,
      source: 'history',
    })
  })

  test('no query of the hot paths reads a whole table of prices', async () => {
    await send(
      ...Array.from({ length: 400 }, (_, i) => row(i, 0.04, { pool: `c5.large@ap-south-1${'abcd'[i % 4]}` })),
    )
    await scan(0, 400)
    await market.recordHistory(POOL, [{ at: at(0), price: microUsd(1) }], [range(0, 2)], 'history')
    await sql`analyze`.execute(database.db)
    const plans: string[] = []
    for (const statement of await statementsOf(database, async (db) => {
      const watched = createMarket({
        db,
        clock: { now: () => now, mono: () => 0 as never, timer: () => () => undefined },
        log: pino({ level: 'silent' }),
        known: { isKnownZone: () => true, onDemand: () => undefined },
        retention: { submissions: day, prices: day },
        gapFiller: false,
      })
      await watched.ingest({
        submissionId: 's',
        agentId: 'a',
        rows: [row(1, 0.05, { instanceId: 'i-9' }), row(401, 0.1)],
      })
      await watched.series(POOL, range(0, 400))
      await watched.latest([POOL])
      const { batchId } = await watched.scan({ range: range(0, 450) })
      await watched.undo(batchId)
      await watched.gaps({ limit: 10, range: range(0, 10) })
    }))
      plans.push(...(await explain(database, statement)))
    // What may be read whole: the rows that were given, pools, and what a subquery has found.
    const small =
      /^SCAN (json_each|given|CONSTANT ROW|pools|p|found|newest|\(subquery)|Seq Scan on (pools|p)\b/
    const whole = dialect === 'sqlite' ? /^SCAN / : /Seq Scan on/
    const searched = dialect === 'sqlite' ? /^SEARCH (old|i|c|pricing_\w+) / : /Index .*Scan.* on pricing_/
    expect(plans.filter((line) => searched.test(line)).length).toBeGreaterThan(5)
    expect(plans.filter((line) => whole.test(line) && !small.test(line))).toEqual([])
  })
})

interface Statement {
  readonly sql: string
  readonly parameters: readonly unknown[]
}

/** What is asked of the database while `work` runs. */
async function statementsOf(
  database: OpenDatabase,
  work: (db: OpenDatabase['bulk']) => Promise<void>,
): Promise<Statement[]> {
  const seen: Statement[] = []
  // Plugins go with every transaction, so nothing is missed.
  const watched = database.bulk.withPlugin({
    transformQuery({ node, queryId }) {
      seen.push(database.bulk.getExecutor().compileQuery(node, queryId))
      return node
    },
    transformResult: ({ result }) => Promise.resolve(result),
  })
  await work(watched)
  return seen.filter((statement) => /^\s*(select|insert|update|delete)/i.test(statement.sql))
}

/** How the database would go about it, given that reading all of a small table is not what it would do with a big one. */
async function explain(database: OpenDatabase, statement: Statement): Promise<string[]> {
  return database.bulk.transaction().execute(async (trx) => {
    if (database.dialect === 'postgres') await sql`set local enable_seqscan = off`.execute(trx)
    const prefix = database.dialect === 'postgres' ? 'explain' : 'explain query plan'
    const { rows } = await trx.executeQuery<Record<string, string>>({
      sql: `${prefix} ${statement.sql}`,
      parameters: [...statement.parameters],
      query: { kind: 'RawNode' } as never,
      queryId: { queryId: 'explain' } as never,
    })
    return rows.map((line) => String(line.detail ?? line['QUERY PLAN']))
  })
}
