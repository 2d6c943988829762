import { appendFileSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { millis } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { canMount, enlargeDisk, mountSmallDisk, unmountDisk } from './small-disk.ts'
import { pair, picture, REPLICA, scratch, until } from './testing.ts'

/** More than the 64 MiB that are held back as one group. */
const LARGE = 65 * 1024 * 1024 + 100

/** Not zeros: those are not sent at all. */
const large = (path: string, bytes = LARGE): void => writeFileSync(path, Buffer.alloc(bytes, 'content '))

/** So that a change of this size is seen while it is under way. */
const SLOW = { limits: { bytesPerSecond: 100e6 } }

test('a replica is not ready while a large change comes in, and ready again once it has all of it', async () => {
  const { from, to, primary, replica, follow, copies } = await pair()
  writeFileSync(join(from, 'a'), 'x')
  follow()
  await until(() => replica.whole)
  large(join(from, 'big'))
  await until(() => copies.includes(false))
  await until(() => replica.whole && (primary.lags()[0]?.lag.attached ?? false))
  expect(copies).toEqual([true, false, true])
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test('several large changes one after the other leave a whole copy', async () => {
  const { from, to, primary, replica, follow, copies } = await pair()
  follow()
  await until(() => replica.whole)
  large(join(from, 'one'))
  await until(() => copies.includes(false))
  large(join(from, 'two'))
  rmSync(join(from, 'one'))
  large(join(from, 'three'), LARGE + 4096)
  await primary.seal(REPLICA, millis(20_000), false)
  await until(() => replica.whole)
  expect(picture(to)).toEqual(picture(from))
})

test('a large change that is cut off in the middle leaves a whole copy once the replica is back', async () => {
  const { from, to, primary, replica, follow } = await pair(undefined, undefined, SLOW)
  writeFileSync(join(from, 'a'), 'x')
  follow()
  await until(() => replica.whole)
  large(join(from, 'big'))
  await until(() => !replica.whole)
  await replica.stopFollowing()
  expect(replica.whole).toBe(false)
  follow()
  await until(() => replica.whole)
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test('a part of a copy is never taken for the state, not even when it is asked for twice', async () => {
  const { from, to, replica, follow } = await pair(undefined, undefined, SLOW)
  writeFileSync(join(from, 'a'), 'x')
  follow()
  await until(() => replica.whole)
  large(join(from, 'big'))
  await until(() => !replica.whole)
  await expect(replica.finish(false)).rejects.toThrow('is not complete')
  await expect(replica.finish(false)).rejects.toThrow('is not complete')
  expect(replica.whole).toBe(false)
  follow()
  await until(() => replica.whole)
  await replica.finish(false)
  expect(picture(to)).toEqual(picture(from))
})

test('a file that takes several batches has its own time at the end, not that of the last write', async () => {
  const { from, to, primary, replica, follow } = await pair()
  large(join(from, 'middling'), 5_000_000)
  follow()
  await until(() => replica.whole)
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test('what goes away while a large change is under way is gone at the end too', async () => {
  const { from, to, primary, replica, follow, copies } = await pair()
  mkdirSync(join(from, 'd/e'), { recursive: true })
  large(join(from, 'd/e/old'), 20 * 1024 * 1024)
  follow()
  await until(() => replica.whole)
  large(join(from, 'd/e/big'))
  large(join(from, 'f'))
  await until(() => copies.includes(false))
  rmSync(join(from, 'd'), { recursive: true })
  writeFileSync(join(from, 'd'), 'a file by now')
  rmSync(join(from, 'f'))
  await primary.seal(REPLICA, millis(20_000), false)
  await until(() => replica.whole)
  expect(picture(to)).toEqual(picture(from))
})

test('a file that grows and shrinks while it is sent in bulk is right at the end', async () => {
  const { from, to, primary, replica, follow } = await pair()
  follow()
  await until(() => primary.lags()[0]?.lag.attached ?? false)
  const big = join(from, 'big')
  large(big)
  await until(() => !replica.whole)
  appendFileSync(big, Buffer.alloc(9_000_000, 1))
  await until(() => (replica.progress?.seq ?? 0) > 5)
  truncateSync(big, 30_000_001)
  await until(() => (replica.progress?.seq ?? 0) > 10)
  appendFileSync(big, Buffer.alloc(9_000_000, 2))
  await until(() => replica.whole)
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test.skipIf(!canMount)(
  'a disk that fills up in the middle of a large change is said, and with room again it goes on (skipped where nothing may be mounted)',
  async () => {
    const mounted = scratch()
    mountSmallDisk(mounted, 50)
    try {
      const { from, to, primary, replica, follow } = await pair(mounted, undefined, SLOW)
      writeFileSync(join(from, 'a'), 'x')
      follow()
      await until(() => replica.whole)
      large(join(from, 'big'))
      await until(() => replica.trouble?.code === 'disk_full')
      expect(replica.whole).toBe(false)
      enlargeDisk(mounted, 300)
      await until(() => replica.whole && (primary.lags()[0]?.lag.attached ?? false))
      await primary.seal(REPLICA, millis(20_000), false)
      expect(replica.trouble).toBeUndefined()
      expect(picture(to)).toEqual(picture(from))
    } finally {
      unmountDisk(mounted)
    }
  },
)
