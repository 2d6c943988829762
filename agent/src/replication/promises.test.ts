import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { millis, systemClock } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { createMappings } from './mappings.ts'
import { createStateRoots, type Stat, statOf } from './state-files.ts'
import { pair, picture, REPLICA, scratch, until } from './testing.ts'
import { createTreeReader, type Pass } from './tree-reader.ts'

/** What the state stream promises, where a shortcut would break it. */

test('what was written in place into a large file is on the replica when commit answers', async () => {
  const { from, to, primary, replica, follow } = await pair()
  const path = join(from, 'db')
  writeFileSync(path, Buffer.alloc(40 * 1024 * 1024, 'page'))
  follow()
  await until(() => replica.whole && (primary.lags()[0]?.lag.attached ?? false))
  const fd = openSync(path, 'r+')
  for (let round = 0; round < 5; round += 1) {
    // The one look after the other: reading all of it again each time would cost more than its share.
    writeSync(fd, `round ${round}`, 20 * 1024 * 1024)
    expect(await primary.commit(millis(30_000))).toEqual([REPLICA])
    await until(() => replica.progress !== null)
    const copy = readFileSync(join(to, 'db')).subarray(20 * 1024 * 1024, 20 * 1024 * 1024 + 7)
    expect(copy.toString()).toBe(`round ${round}`)
  }
  closeSync(fd)
})

test('many names that hardly differ leave a whole copy whole', async () => {
  const { from, to, primary, replica, follow, copies } = await pair()
  mkdirSync(join(from, 'd'))
  const names = Array.from({ length: 1200 }, (_, index) => join(from, 'd', `f${index}`))
  for (const name of names) writeFileSync(name, Buffer.alloc(60_000, name))
  follow()
  await until(() => replica.whole)
  for (const name of names) chmodSync(name, 0o600)
  await primary.seal(REPLICA, millis(20_000), false)
  expect(copies).toEqual([true])
  expect(picture(to)).toEqual(picture(from))
})

test('a replica that takes over without the rest keeps the whole copy that it has', async () => {
  const { from, to, primary, replica, follow, copies } = await pair()
  writeFileSync(join(from, 'a'), 'the last whole state')
  follow()
  await until(() => replica.whole && (primary.lags()[0]?.lag.attached ?? false))
  writeFileSync(join(from, 'big'), Buffer.alloc(90 * 1024 * 1024, 'too much for the time '))
  const { leftBytes } = await primary.seal(REPLICA, millis(3000), true)
  expect(leftBytes).toBeGreaterThan(80 * 1024 * 1024)
  // Nobody has said yet that this one serves no more.
  await new Promise((resolve) => setTimeout(resolve, 300))
  primary.stopServing()
  await replica.finish(false)
  expect(copies.every((whole) => whole)).toBe(true)
  expect(readFileSync(join(to, 'a'), 'utf8')).toBe('the last whole state')
})

test('a cut whose workload could not be let go is sent all the same, and the next one too', async () => {
  const { from, to, primary, replica, follow } = await pair(scratch(), undefined, {
    limits: { cutsOnly: true },
  })
  writeFileSync(join(from, 'a'), 'one')
  follow()
  await until(() => primary.lags().length > 0)
  const cut = async (text: string, thaw: () => void) => {
    writeFileSync(join(from, 'a'), text)
    for (let failure: unknown = 'not yet'; failure !== undefined; ) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      failure = await primary
        .cut(async (capture) => {
          await capture()
          thaw()
        })
        .then(
          () => undefined,
          (error: unknown) => (String(error).includes('thaw') ? undefined : error),
        )
    }
    await until(() => replica.whole && readFileSync(join(to, 'a'), 'utf8') === text)
  }
  await cut('two', () => undefined)
  await cut('three', () => {
    throw new Error('thaw has failed')
  })
  await cut('four', () => undefined)
})

test('what has changed between being seen and being read is looked at again', async () => {
  const state = scratch()
  const path = join(state, 'a')
  writeFileSync(path, 'same size', { mode: 0o644 })
  const reader = createTreeReader(createStateRoots([state]), systemClock, createMappings(systemClock), true)
  const pass = (): Pass => ({
    exact: false,
    patient: false,
    complete: true,
    changed: new Set(),
    also: new Set(),
    directories: false,
    sliceFrom: 0,
    againTook: 0,
    knownSince: Number.POSITIVE_INFINITY,
  })
  await reader.everything(pass())
  chmodSync(path, 0o600)
  const stat = statOf(Buffer.from(path)) as Stat
  const now = { startedWall: systemClock.now(), started: systemClock.mono() }
  reader.learn('0/a', { ...now, stat, pages: new BigUint64Array(1) })
  await reader.everything(pass())
  expect(reader.tree.file('0/a')?.meta.mode).toBe(0o600)
})
