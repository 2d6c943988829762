import { microUsd } from '@understudy/shared/core/money'
import { instant } from '@understudy/shared/core/time'
import { BUCKET } from '@understudy/shared/market/bucket'
import fc from 'fast-check'
import { sql } from 'kysely'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects } from '../storage/testing.ts'
import type { SubmittedRow } from './ingest.ts'
import { createMarket } from './market.ts'
import { at, day, POOL, row, T0, testMarket } from './testing.ts'

describe.each(dialects)('the market on %s', (dialect) => {
  const world = testMarket(dialect)
  const { send, clean, range, scan } = world

  test('a sample is kept in its bucket; the same again is a duplicate; a primary beats a later replica', async () => {
    expect(await send(row(0, 0.0416))).toEqual({ accepted: 1, duplicates: 0, refused: 0, errors: [] })
    expect(await send(row(0, 0.0416))).toMatchObject({ accepted: 0, duplicates: 1 })
    await send(row(0, 0.05, { role: 'replica', instanceId: 'i-0b', after: 60_000 }))
    expect(await clean()).toEqual([
      { pool_id: POOL, at: at(0), price: 41_600, source: 'primary', confidence: 100 },
    ])
    const audit = await world.database.db.selectFrom('pricing_submissions_raw').selectAll().execute()
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
      bad({ at: world.now + 600_000 }),
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
    const refused = await world.database.db
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
          world.database.db
            .selectFrom('pricing_snapshots_clean')
            .selectAll()
            .orderBy('pool')
            .orderBy('at')
            .execute()
        const clear = async () => {
          await world.database.db.deleteFrom('pricing_submissions_raw').execute()
          await world.database.db.deleteFrom('pricing_snapshots_clean').execute()
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
    expect(await world.market.ingest({ submissionId: 's', agentId: 'a', rows })).toMatchObject({
      accepted: 25_000,
      refused: 0,
    })
    const [counted] = await world.database.db
      .selectFrom('pricing_snapshots_clean')
      .select((e) => e.fn.countAll().as('n'))
      .execute()
    expect(counted?.n).toBe(12_500)
  })

  test('the last price of a pool is its newest sample or what history says later', async () => {
    const b = 'c5.large@ap-south-1b'
    await send(row(0, 0.04), row(1, 0.05), row(0, 0.06, { pool: b, role: 'replica' }))
    await world.market.recordHistory(
      POOL,
      [{ at: at(-5), price: microUsd(44_000) }],
      [range(-5, 10)],
      'history',
    )
    expect(await world.market.latest()).toEqual(
      new Map([
        [POOL, { at: instant(at(10) - 1), price: 44_000, source: 'history', confidence: 100 }],
        [b, { at: at(0), price: 60_000, source: 'replica', confidence: 95 }],
      ]),
    )
    expect([...(await world.market.latest([b])).keys()]).toEqual([b])
    expect(await world.market.latest([])).toEqual(new Map())
    expect((await world.market.pools()).map(({ poolId, region }) => [poolId, region])).toEqual([
      [POOL, 'ap-south-1'],
      [b, 'ap-south-1'],
    ])
  })

  test('what is too old goes; the price that held when the rest begins stays', async () => {
    world.now = instant(T0 + 500 * day)
    const old = -288 * 40
    await send(row(old, 0.04), row(0, 0.05))
    await world.market.recordHistory(
      POOL,
      [
        { at: at(old), price: microUsd(40_000) },
        { at: at(old + 1), price: microUsd(41_000) },
      ],
      [range(old, 288 * 600)],
      'history',
    )
    await world.market.purge()
    expect((await clean()).map((point) => point.at)).not.toContain(at(old))
    const changes = await world.database.db.selectFrom('price_changes').selectAll().execute()
    expect(changes).toMatchObject([{ price: 41_000 }])
    const cut = instant(world.now - 400 * day)
    expect(await world.market.coverage(POOL, range(old, 288 * 600))).toMatchObject([{ from: cut }])
    expect((await world.market.series(POOL, { from: cut, to: instant(cut + 2 * BUCKET) }))[1]).toMatchObject({
      price: 41_000,
      source: 'history',
    })
  })

  test('what was imported stays, whatever its age, also where a fetch has said the same', async () => {
    world.now = instant(T0 + 500 * day)
    const old = -288 * 40
    const changes = (prices: readonly number[]) =>
      prices.map((price, i) => ({ at: at(old + i), price: microUsd(price) }))
    const { recordHistory, coverage, series, purge } = world.market
    await recordHistory(POOL, changes([50, 60, 70, 80]), [range(old, old + 4)], 'history')
    // The second half of it is imported, and one price of it is lower.
    expect(
      await recordHistory(POOL, changes([50, 60, 70, 75]).slice(2), [range(old + 2, old + 8)], 'import'),
    ).toBe(2)
    await recordHistory(
      POOL,
      [{ at: at(old + 3), price: microUsd(74) }],
      [range(old + 6, old + 9)],
      'history',
    )
    expect(
      await world.database.db.selectFrom('price_coverage').selectAll().orderBy('from_at').execute(),
    ).toMatchObject([
      { from_at: at(old), to_at: at(old + 2), source: 'history' },
      { from_at: at(old + 2), to_at: at(old + 8), source: 'import' },
      { from_at: at(old + 8), to_at: at(old + 9), source: 'history' },
    ])
    expect(await coverage(POOL, range(old, 0))).toEqual([range(old, old + 9)])
    await purge()
    expect(await coverage(POOL, range(old, 0))).toEqual([range(old + 2, old + 8)])
    expect((await series(POOL, range(old, old + 9))).map(({ price }) => price)).toEqual([
      null,
      null,
      70,
      74,
      74,
      74,
      74,
      74,
      null,
    ])
    expect(
      await recordHistory(POOL, changes([50, 60, 70, 75]).slice(2), [range(old + 2, old + 8)], 'import'),
    ).toBe(0)
  })

  test('no query of the hot paths reads a whole table of prices', async () => {
    await send(
      ...Array.from({ length: 400 }, (_, i) => row(i, 0.04, { pool: `c5.large@ap-south-1${'abcd'[i % 4]}` })),
    )
    await scan(0, 400)
    await world.market.recordHistory(POOL, [{ at: at(0), price: microUsd(1) }], [range(0, 2)], 'history')
    await sql`analyze`.execute(world.database.db)
    const plans: string[] = []
    for (const statement of await statementsOf(world.database, async (db) => {
      const watched = createMarket({
        db,
        clock: { now: () => world.now, mono: () => 0 as never, timer: () => () => undefined },
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
      plans.push(...(await explain(world.database, statement)))
    // What may be read whole: the rows that were given, pools, and what a subquery has found.
    const small =
      /^SCAN (json_each|given|CONSTANT ROW|pools|p|found|newest|\(subquery)|Seq Scan on (pools|p)\b/
    const whole = dialect === 'sqlite' ? /^SCAN / : /Seq Scan on/
    const searched = dialect === 'sqlite' ? /^SEARCH (old|i|c|pricing_\w+) / : /Index .*Scan.* on pricing_/
    expect(plans.filter((line) => searched.test(line)).length).toBeGreaterThan(5)
    expect(plans.filter((line) => whole.test(line) && !small.test(line))).toEqual([])
    if (dialect === 'postgres')
      expect(plans.join('\n')).toMatch(/Index Only Scan using pricing_snapshots_clean_\d+_pkey/)
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
