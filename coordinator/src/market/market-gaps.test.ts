import { microUsd } from '@understudy/shared/core/money'
import { instant } from '@understudy/shared/core/time'
import { describe, expect, test } from 'vitest'
import { dialects } from '../storage/testing.ts'
import { at, POOL, row, testMarket } from './testing.ts'

describe.each(dialects)('gaps on %s', (dialect) => {
  const world = testMarket(dialect)
  const { send, clean, range, pricesOf, scan } = world

  test("the seed's example: four buckets between 0.0416 at 09:55 and 0.0420 at 10:20 are interpolated", async () => {
    // The gap is 10:00 to 10:15; buckets 119 and 124 of the day.
    await send(row(119, 0.0416), row(124, 0.042))
    const result = await scan(100, 125)
    expect(result).toMatchObject({ gaps: 1, filled: 1, rows: 4, empty: 0, open: 0 })
    const points = (await world.market.series(POOL, range(119, 125))).map(({ price }) => price)
    expect(points[0]).toBe(41_600)
    expect(points[5]).toBe(42_000)
    for (const price of points.slice(1, 5)) {
      expect(price).toBeGreaterThan(41_600)
      expect(price).toBeLessThan(42_000)
    }
    const [stored] = await world.database.db
      .selectFrom('pricing_snapshots_interpolated')
      .selectAll()
      .execute()
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
      world.database.db.selectFrom('pricing_snapshots_interpolated').selectAll().orderBy('at').execute()
    const before = await dump()
    expect(await scan(0, 6)).toMatchObject({ gaps: 2, filled: 0, rows: 0 })
    expect(await scan(3, 4)).toMatchObject({ gaps: 1, filled: 0, rows: 0 })
    expect(await dump()).toEqual(before)
    expect(await world.market.undo(first.batchId)).toEqual({ rows: 3, gaps: 2 })
    expect(await pricesOf(0, 3)).toEqual(['40000 primary', null, '60000 primary'])
    expect(await scan(0, 6)).toMatchObject({ gaps: 2, filled: 0, rows: 0, empty: 2 })
    expect(await world.market.undo(first.batchId)).toEqual({ rows: 0, gaps: 0 })
  })

  test('a real price takes the place of an interpolated one, and what is left of the gap is computed anew', async () => {
    await send(row(0, 0.04), row(4, 0.08))
    await scan(0, 5)
    expect(await pricesOf(1, 2)).toEqual([expect.stringContaining('interpolated')])
    await send(row(1, 0.07))
    expect(await pricesOf(1, 2)).toEqual(['70000 primary'])
    const { items } = await world.market.gaps({ limit: 10 })
    expect(items).toMatchObject([{ status: 'stale' }])
    await scan(3, 4)
    expect(await pricesOf(0, 5)).toEqual([
      '40000 primary',
      '70000 primary',
      '73333 interpolated',
      '76667 interpolated',
      '80000 primary',
    ])
    expect((await world.market.gaps({ limit: 10 })).items).toMatchObject([
      { from: at(2), to: at(4), buckets: 2, class: 'short', status: 'filled' },
    ])
  })

  test('history comes before interpolation, holds its value between changes, and yields to samples', async () => {
    await send(row(0, 0.04), row(4, 0.08))
    world.history = {
      async fetchHistory({ pools, range: asked }) {
        expect([pools, asked]).toEqual([[POOL], range(1, 4)])
        await world.market.recordHistory(
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
    expect(await world.market.coverage(POOL, range(0, 5))).toEqual([range(0, 3)])
  })

  test('history that comes late removes what was interpolated; adjacent coverage becomes one', async () => {
    await send(row(0, 0.04), row(3, 0.08))
    await scan(0, 4)
    const change = { at: at(0), price: microUsd(50_000) }
    expect(await world.market.recordHistory(POOL, [change, change], [range(0, 2)], 'history')).toBe(1)
    expect(await world.market.recordHistory(POOL, [change], [range(2, 3)], 'import')).toBe(1)
    expect(await world.market.coverage(POOL, range(-5, 50))).toEqual([range(0, 3)])
    expect(await pricesOf(0, 4)).toEqual(['40000 primary', '50000 history', '50000 history', '80000 primary'])
    expect(await scan(0, 4)).toMatchObject({ gaps: 0 })
    expect((await world.market.gaps({ limit: 10 })).items).toEqual([])
  })

  test('a scan that only looks writes nothing, also where real prices have come into a gap', async () => {
    await send(row(0, 0.04), row(5, 0.08))
    await scan(0, 6)
    await send(row(2, 0.05))
    const dump = async () => [
      await world.database.db
        .selectFrom('pricing_snapshots_interpolated')
        .selectAll()
        .orderBy('at')
        .execute(),
      (await world.market.gaps({ limit: 10 })).items,
    ]
    const before = await dump()
    expect(before).toMatchObject([{ length: 3 }, [{ status: 'stale' }]])
    const look = () => world.market.scan({ range: range(0, 6), fill: false })
    expect(await look()).toMatchObject({ gaps: 2, filled: 0, rows: 0, empty: 2 })
    expect(await dump()).toEqual(before)
    expect(await scan(0, 6)).toMatchObject({ gaps: 2, filled: 2, rows: 3 })
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
    expect((await world.market.gaps({ limit: 1 })).items).toMatchObject([
      { class: 'blackout', status: 'empty', reason: expect.stringContaining('4 hours') },
    ])
  })

  test('a gap that has not ended is open, is not filled, and grows', async () => {
    await send(row(0, 0.04))
    world.now = at(3)
    expect(await scan(-10, 100)).toMatchObject({ gaps: 1, open: 1, rows: 0 })
    world.now = at(5)
    await scan(-10, 100)
    expect((await world.market.gaps({ limit: 10 })).items).toMatchObject([
      { from: at(1), to: at(5), buckets: 4, status: 'open' },
    ])
    await send(row(5, 0.04))
    world.now = at(6)
    expect(await scan(-10, 100)).toMatchObject({ gaps: 1, filled: 1, rows: 4 })
  })

  test('an open gap is written when its class changes and now and then, not at every look', async () => {
    await send(row(0, 0.04))
    const looked = async (now: number, from = -10) => {
      world.now = at(now)
      expect(await scan(from, 1000)).toMatchObject({ gaps: 1, open: 1 })
      const [gap, ...more] = (await world.market.gaps({ limit: 10, range: range(now - 1, now) })).items
      expect(more).toEqual([])
      return gap
    }
    const first = await looked(60)
    expect(first).toMatchObject({ from: at(1), to: at(60), class: 'blackout', status: 'open' })
    for (const now of [63, 66, 69, 131]) expect(await looked(now)).toEqual(first)
    // Where its end was written down is not in what is looked at.
    expect(await looked(131, 120)).toEqual(first)
    expect(await looked(132, 120)).toMatchObject({ from: at(1), to: at(132), foundAt: at(132) })
    world.now = at(141)
    await send(row(140, 0.04))
    expect(await scan(139, 141)).toMatchObject({ gaps: 1, empty: 1 })
    expect((await world.market.gaps({ limit: 10 })).items).toMatchObject([
      { from: at(1), to: at(140), status: 'empty' },
    ])
  })

  test('gaps are listed page by page, the latest first', async () => {
    await send(row(0, 0.04), row(2, 0.04), row(4, 0.04), row(6, 0.04))
    await scan(0, 7)
    const first = await world.market.gaps({ limit: 2, poolId: POOL })
    expect(first.items.map(({ from }) => from)).toEqual([at(5), at(3)])
    const second = await world.market.gaps({ limit: 2, poolId: POOL, cursor: first.next ?? '' })
    expect([second.items.map(({ from }) => from), second.next]).toEqual([[at(1)], null])
    expect((await world.market.gaps({ limit: 9, range: range(3, 4) })).items).toHaveLength(1)
    expect((await world.market.gaps({ limit: 9, poolId: 'c5.large@ap-south-1c' })).items).toEqual([])
  })
})
