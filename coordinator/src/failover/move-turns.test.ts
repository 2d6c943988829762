import { agentId } from '@understudy/shared/core/ids'
import { mono } from '@understudy/shared/core/time'
import { waitsForOrder, waitsForTurn } from '@understudy/shared/failover/notice-waits'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMoveTurns } from './move-turns.ts'

function start(atOnce: number) {
  const time = createVirtualTime()
  const { clock } = time
  const turns = createMoveTurns({ atOnce, clock })
  const begun: string[] = []
  const take = (name: string, byMillis: number, waits = 20_000) => {
    const now = clock.mono()
    turns.take({
      agent: agentId(name),
      by: mono(now + byMillis),
      latest: mono(now + waits),
      go: (waited) => void begun.push(`${name} after ${waited}`),
    })
  }
  return { time, turns, begun, take, leave: (name: string) => turns.leave(agentId(name)) }
}

test('a few begin at once, the others as those end, and whose instance ends first goes first', async () => {
  const { time, turns, begun, take, leave } = start(2)
  take('a', 120_000)
  take('b', 120_000)
  take('late', 110_000)
  take('soon', 60_000)
  expect([begun, turns.waiting]).toEqual([['a after 0', 'b after 0'], 2])
  await time.advance(700)
  leave('a')
  leave('b')
  expect(begun.slice(2)).toEqual(['soon after 700', 'late after 700'])
  expect(turns.waiting).toBe(0)
})

test('one that begins at once has not waited, however fine the clock', () => {
  const clock = createVirtualTime().clock
  let now = 0
  const fine = () => {
    now += 0.001
    return mono(now)
  }
  const turns = createMoveTurns({ atOnce: 1, clock: { ...clock, mono: fine } })
  const waits: number[] = []
  const turn = { agent: agentId('a'), by: mono(120_000), latest: mono(20_000) }
  turns.take({ ...turn, go: (waited) => void waits.push(waited) })
  expect(waits).toEqual([0])
})

test('nobody waits longer than it may, nor for one that hangs', async () => {
  const { time, begun, take } = start(1)
  take('hangs', 120_000)
  take('short', 9000, 1500)
  take('long', 120_000)
  take('none', 3000, 0)
  expect(begun).toEqual(['hangs after 0', 'none after 0'])
  await time.advance(1500)
  expect(begun.slice(2)).toEqual(['short after 1500'])
  await time.advance(5000)
  expect(begun.slice(3)).toEqual(['long after 6500'])
})

test('what is ordered again keeps its place, and what has become needless is not begun', async () => {
  const { time, begun, take, leave } = start(1)
  take('a', 120_000)
  take('b', 120_000)
  take('c', 120_000)
  await time.advance(300)
  take('b', 120_000)
  take('a', 120_000)
  expect(begun).toEqual(['a after 0', 'a after 0'])
  leave('c')
  leave('a')
  expect(begun.slice(2)).toEqual(['b after 300'])
  leave('b')
  await time.advance(60_000)
  expect([begun.length, time.pending()]).toEqual([3, 0])
})

test('everyone begins once, and never later than it may, whatever ends when', async () => {
  const moves = fc.array(
    fc.record({ at: fc.nat(3000), lasts: fc.integer({ min: 1, max: 9000 }), waits: fc.nat(8000) }),
    { minLength: 1, maxLength: 20 },
  )
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), moves, async (atOnce, all) => {
      const time = createVirtualTime()
      const { clock } = time
      const turns = createMoveTurns({ atOnce, clock })
      const waited = new Map<number, number>()
      for (const [index, { at, lasts, waits }] of all.entries()) {
        const agent = agentId(`agent-${index}`)
        clock.timer(at as never, () => {
          const now = clock.mono()
          turns.take({
            ...{ agent, by: mono(now + 120_000), latest: mono(now + waits) },
            go(millis) {
              expect(waited.has(index)).toBe(false)
              waited.set(index, millis)
              clock.timer(lasts as never, () => turns.leave(agent))
            },
          })
        })
      }
      await time.advance(60_000)
      expect(waited.size).toBe(all.length)
      for (const [index, millis] of waited) expect(millis).toBeLessThanOrEqual(all[index]?.waits ?? 0)
      expect([turns.waiting, time.pending()]).toEqual([0, 0])
    }),
  )
})

test('a primary waits for its order longer than a coordinator may let it wait', () => {
  for (const left of [-1, 0, 2000, 20_000, 120_000])
    expect(waitsForOrder(left as never)).toBeGreaterThan(waitsForTurn(left as never))
})
