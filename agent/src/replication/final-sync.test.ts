import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { millis } from '@understudy/shared/core/time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { planFinalSync } from './final-sync.ts'
import { pair, REPLICA, until } from './testing.ts'
import { fullPicture } from './testing-edits.ts'
import { createNetwork } from './testing-network.ts'

/** What is sent when there is not time for everything. */

const MIB = 1024 * 1024

test.each<[string, Parameters<typeof planFinalSync>[0], string]>([
  [
    'nothing is left',
    { left: millis(0), bytesPerSecond: 1e6, dirtyBytes: 0, priorityBytes: 0 },
    'everything',
  ],
  [
    'it just fits',
    { left: millis(1000), bytesPerSecond: 1e6, dirtyBytes: 8e5, priorityBytes: 0 },
    'everything',
  ],
  [
    'it does not',
    { left: millis(1000), bytesPerSecond: 1e6, dirtyBytes: 8e5 + 1, priorityBytes: 0 },
    'barrier',
  ],
  [
    'a part does',
    { left: millis(1000), bytesPerSecond: 1e6, dirtyBytes: 9e6, priorityBytes: 8e5 },
    'priority',
  ],
  [
    'not even that',
    { left: millis(1000), bytesPerSecond: 1e6, dirtyBytes: 9e6, priorityBytes: 9e5 },
    'barrier',
  ],
  [
    'nobody has measured',
    { left: millis(1000), bytesPerSecond: undefined, dirtyBytes: 1e7, priorityBytes: 0 },
    'everything',
  ],
  ['the time is up', { left: millis(-5), bytesPerSecond: 1e9, dirtyBytes: 1, priorityBytes: 1 }, 'barrier'],
])('the plan where %s', (_, facts, plan) => {
  expect(planFinalSync(facts).plan).toBe(plan)
})

test('more time, or more speed, never sends less; and what is planned fits', () => {
  const rank = { barrier: 0, priority: 1, everything: 2 }
  const size = fc.integer({ min: 0, max: 1e9 })
  fc.assert(
    fc.property(
      size,
      fc.nat({ max: 60_000 }),
      fc.integer({ min: 1, max: 1e9 }),
      size,
      fc.nat(60_000),
      (all, left, speed, part, more) => {
        const bytes = { dirtyBytes: Math.max(all, part), priorityBytes: Math.min(all, part) }
        const facts = { ...bytes, left: millis(left), bytesPerSecond: speed }
        const { plan, why } = planFinalSync(facts)
        expect(rank[planFinalSync({ ...facts, left: millis(left + more) }).plan]).toBeGreaterThanOrEqual(
          rank[plan],
        )
        expect(rank[planFinalSync({ ...facts, bytesPerSecond: speed + more }).plan]).toBeGreaterThanOrEqual(
          rank[plan],
        )
        const planned = { everything: bytes.dirtyBytes, priority: bytes.priorityBytes, barrier: 0 }[plan]
        expect((planned / speed) * 1000).toBeLessThanOrEqual(left)
        expect(why).toContain(`${left} ms left`)
      },
    ),
  )
})

/** A pair whose network is slow from now on, with the speed measured. */
async function slowPair(priority: string[], bytesPerSecond = MIB) {
  const both = await pair(undefined, undefined, { selection: { include: [], exclude: [], priority } })
  const { from, primary, replica, follow } = both
  writeFileSync(join(from, 'journal'), 'first')
  writeFileSync(join(from, 'data'), 'first')
  const network = await createNetwork(primary.port)
  follow(network.port)
  const settled = () => {
    const lag = primary.lags()[0]?.lag
    return replica.whole && lag?.attached === true && lag.bytes === 0
  }
  await until(settled)
  network.slow(bytesPerSecond)
  for (let i = 0; i < 3; i += 1) {
    writeFileSync(join(from, 'warm up'), randomBytes(MIB / 2))
    await primary.flush(millis(5000))
    await until(settled)
  }
  return { ...both, network }
}

test('where there is time only for the priority paths, they arrive as a group of their own', async () => {
  const { from, to, primary, replica } = await slowPair(['journal'])
  const before = await fullPicture(to)
  writeFileSync(join(from, 'data'), randomBytes(12 * MIB))
  writeFileSync(join(from, 'journal'), randomBytes(200_000))
  writeFileSync(join(from, 'later'), randomBytes(5 * MIB))
  const started = performance.now()
  const { leftBytes, why } = await primary.seal(REPLICA, millis(5000), true)
  // Everything would take at least 17 s.
  expect(performance.now() - started).toBeLessThan(15_000)
  expect(why).toContain('only the priority paths')
  expect(leftBytes).toBeGreaterThanOrEqual(17 * MIB)
  primary.stopServing()
  await replica.finish(false)
  expect(readFileSync(join(to, 'journal'))).toEqual(readFileSync(join(from, 'journal')))
  expect(existsSync(join(to, 'later'))).toBe(false)
  const { journal: _, '': root, ...others } = await fullPicture(to)
  expect(before).toMatchObject(others)
})

test('where there is time for nothing, the replica takes over from the last whole state that it has', async () => {
  const { from, to, primary, replica } = await slowPair([])
  const before = await fullPicture(to)
  writeFileSync(join(from, 'data'), randomBytes(20 * MIB))
  writeFileSync(join(from, 'journal'), 'second')
  const { leftBytes, why } = await primary.seal(REPLICA, millis(800), true)
  expect(why).toContain('not even the most important part fits')
  expect(leftBytes).toBeGreaterThanOrEqual(20 * MIB)
  primary.stopServing()
  await replica.finish(false)
  expect(await fullPicture(to)).toEqual(before)
})

test('a group that is under way when the notice comes, and does not arrive in time, is left out as a whole', async () => {
  const { from, to, primary, replica, network } = await slowPair([])
  const before = await fullPicture(to)
  const { down } = network
  writeFileSync(join(from, 'data'), randomBytes(12 * MIB))
  writeFileSync(join(from, 'journal'), 'second')
  await until(() => network.down > down + MIB)
  const { leftBytes } = await primary.seal(REPLICA, millis(1000), true)
  expect(leftBytes).toBeGreaterThan(4 * MIB)
  primary.stopServing()
  await replica.finish(false)
  expect(await fullPicture(to)).toEqual(before)
})

test('a seal that is not tolerant is not had in part: it fails, and what follows is sent as ever', async () => {
  const { from, to, primary, network } = await slowPair(['journal'])
  writeFileSync(join(from, 'data'), randomBytes(6 * MIB))
  await expect(primary.seal(REPLICA, millis(500), false)).rejects.toMatchObject({ code: 'not_ready' })
  network.slow(0)
  writeFileSync(join(from, 'more'), 'x')
  await until(() => existsSync(join(to, 'more')))
  const { leftBytes } = await primary.seal(REPLICA, millis(20_000), true)
  expect(leftBytes).toBe(0)
  expect(await fullPicture(to)).toEqual(await fullPicture(from))
})

test('a replica with a part of a copy is not sealed to, however little time there is', async () => {
  const { from, primary, replica, network } = await slowPair([])
  network.slow(4 * MIB)
  writeFileSync(join(from, 'large'), randomBytes(70 * MIB))
  await until(() => !replica.whole)
  await expect(primary.seal(REPLICA, millis(1000), true)).rejects.toMatchObject({ code: 'not_ready' })
  network.slow(0)
  await until(() => replica.whole)
  const { leftBytes } = await primary.seal(REPLICA, millis(20_000), true)
  expect(leftBytes).toBe(0)
})
