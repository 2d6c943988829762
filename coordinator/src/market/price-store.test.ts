import { instant, millis } from '@understudy/shared/core/time'
import { BUCKET } from '@understudy/shared/market/bucket'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertRows } from '../storage/bulk.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { ensurePartitions } from '../storage/partitions.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createPriceStore, type PriceStore } from './price-store.ts'

const T0 = Date.UTC(2025, 10, 20)
const at = (bucket: number) => instant(T0 + bucket * BUCKET)
const YEAR = millis(365 * 86_400_000)

describe.each(dialects)('prices on %s', (dialect) => {
  let database: OpenDatabase
  let store: PriceStore
  const samples = [
    { pool: 1, at: at(-105_120), price: 1, confidence: 95 },
    { pool: 1, at: at(0), price: 16_384_000_001, confidence: 100 },
    { pool: 1, at: at(1), price: 41_600, confidence: 95 },
    { pool: 1, at: at(3), price: 41_700, confidence: 100 },
    { pool: 2, at: at(2), price: 52_000, confidence: 100 },
  ]
  beforeAll(async () => {
    database = await testDatabase(dialect)
    store = createPriceStore(database.bulk)
    const rows = samples.map((one) => ({ ...one, sampled_at: one.at, instance_id: 'i-0a', agent_id: 'a' }))
    await ensurePartitions(
      database.bulk,
      'pricing_snapshots_clean',
      samples.map((one) => one.at),
    )
    expect(await insertRows(database.bulk, { table: 'pricing_snapshots_clean', columns: CLEAN }, rows)).toBe(
      5,
    )
    const steps = [
      ...[-105_200, -20, 0, 3].map((bucket, i) => ({ pool: 1, at: at(bucket), price: i + 1 })),
      { pool: 2, at: at(2), price: 7 },
    ].map((change) => ({ ...change, source: 'history' }))
    await ensurePartitions(
      database.bulk,
      'price_changes',
      steps.map((one) => one.at),
    )
    await database.bulk.insertInto('price_changes').values(steps).execute()
    await database.bulk
      .insertInto('price_coverage')
      .values([
        { pool: 1, from_at: at(0), to_at: at(2), source: 'history', fetched_at: T0 },
        { pool: 1, from_at: at(4), to_at: at(9), source: 'history', fetched_at: T0 },
        { pool: 2, from_at: at(0), to_at: at(9), source: 'history', fetched_at: T0 },
      ])
      .execute()
  })
  afterAll(() => database.close())
  const CLEAN = {
    pool: 'bigint',
    at: 'bigint',
    price: 'bigint',
    confidence: 'bigint',
    sampled_at: 'bigint',
    instance_id: 'text',
    agent_id: 'text',
  } as const

  test('samples come as they were written, over any length of time', async () => {
    const range = { from: instant(T0 - 2 * YEAR), to: instant(T0 + 2 * YEAR) }
    const own = samples.filter(({ pool }) => pool === 1).map(({ pool: _, ...rest }) => rest)
    expect(await store.samples(1, range)).toEqual(own)
    expect(await store.samples(1, { from: at(1), to: at(3) })).toEqual([own[2]])
    expect(await store.samples(3, range)).toEqual([])
  })

  test('the last prices of more pools than a statement has parameters come in one call', async () => {
    const pools = Array.from({ length: 70_000 }, (_, i) => i + 1)
    expect([...(await store.latest(pools)).keys()].sort()).toEqual([1, 2])
    expect([...(await store.latest([2])).keys()]).toEqual([2])
    expect(await store.latest([])).toEqual(new Map())
  })

  test('many stretches at once are what each is alone, in the order that they were asked', async () => {
    const asked = [
      { pool: 2, from: at(0), to: at(9) },
      { pool: 1, from: at(1), to: at(5) },
      { pool: 3, from: at(0), to: at(9) },
      { pool: 1, from: at(0), to: at(1) },
      // In the middle of a bucket, and before every sample but one.
      { pool: 1, from: instant(at(-105_120) - 1000), to: at(0) },
    ]
    const alone = await Promise.all(asked.map((one) => store.samples(one.pool, one)))
    expect(alone.map(({ length }) => length)).toEqual([1, 2, 0, 1, 1])
    expect(await store.samplesOf(asked)).toEqual(alone)
    const coverage = await Promise.all(asked.map((one) => store.coverage(one.pool, one)))
    expect(coverage[1]).toEqual([
      { from: at(1), to: at(2) },
      { from: at(4), to: at(5) },
    ])
    expect(await store.coverageOf(asked)).toEqual(coverage)
    const changes = await Promise.all(asked.map((one) => store.changes(one.pool, one)))
    expect(changes.map((list) => list.map(({ price }) => price))).toEqual([[7], [3, 4], [], [3], [1, 2]])
    expect(await store.changesOf(asked)).toEqual(changes)
  })
})
