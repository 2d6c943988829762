import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { millis } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { oneToMany, PRIMARY, pair, picture, REPLICA, TOKEN, until } from './testing.ts'

test('a replica gets the whole tree and then what changes', async () => {
  const { from, to, primary, replica, follow } = await pair()
  mkdirSync(join(from, 'a/b'), { recursive: true })
  writeFileSync(join(from, 'a/b/one'), 'first')
  writeFileSync(join(from, 'big'), Buffer.alloc(300_000, 7))
  symlinkSync('a/b/one', join(from, 'link'))
  follow()
  await until(() => replica.whole)
  await primary.seal(REPLICA, millis(4999.5), false)
  expect(picture(to)).toEqual(picture(from))

  appendFileSync(join(from, 'a/b/one'), ' and more')
  rmSync(join(from, 'link'))
  await until(() => readFileSync(join(to, 'a/b/one'), 'utf8') === 'first and more')
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test('a replica with the wrong token, of another epoch, or unknown gets nothing', async () => {
  const { from, to, primary, replica } = await pair()
  writeFileSync(join(from, 'secret'), 'x')
  const upstream = { instanceId: PRIMARY, host: '127.0.0.1', port: primary.port }
  replica.follow(1, { ...upstream, token: 'b'.repeat(40) })
  await new Promise((resolve) => setTimeout(resolve, 150))
  expect(picture(to)).toEqual({})
  replica.follow(2, { ...upstream, token: TOKEN })
  await until(() => replica.trouble?.message.includes('serves epoch 1, not 2') ?? false)
  expect(picture(to)).toEqual({})
})

test('a replica that was cut off goes on where it stopped', async () => {
  const { from, to, primary, replica, follow } = await pair()
  writeFileSync(join(from, 'big'), Buffer.alloc(5_000_000, 3))
  follow()
  await until(() => replica.whole)
  await replica.stopFollowing()
  appendFileSync(join(from, 'big'), 'tail')
  follow()
  await until(() => readFileSync(join(to, 'big')).length === 5_000_004)
  // Only the last page was different.
  expect(replica.progress?.bytesTotal).toBeLessThan(10_000)
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test('told again to follow the same primary, a replica keeps its stream, whatever the new token is', async () => {
  const { from, to, primary, replica, follow } = await pair()
  writeFileSync(join(from, 'a'), 'before')
  follow()
  await until(() => replica.whole)
  primary.allow(1, [{ instanceId: REPLICA, token: 'b'.repeat(40) }])
  replica.follow(1, {
    instanceId: PRIMARY,
    host: '127.0.0.1',
    port: primary.port,
    token: 'not the right one',
  })
  writeFileSync(join(from, 'b'), 'after')
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test('what was changed on the replica while it followed nobody is put right', async () => {
  const { from, to, primary, replica, follow } = await pair()
  writeFileSync(join(from, 'a'), 'right')
  follow()
  await until(() => replica.whole)
  await replica.stopFollowing()
  writeFileSync(join(to, 'a'), 'wrong')
  writeFileSync(join(to, 'stray'), 'from somewhere')
  follow()
  // The primary may not have noticed yet that the former connection has ended.
  await until(() => !existsSync(join(to, 'stray')))
  await primary.seal(REPLICA, millis(20_000), false)
  expect(picture(to)).toEqual(picture(from))
})

test('a new epoch on the same pair sends only what differs, in the other direction too', async () => {
  const { from, to, primary, replica, follow } = await pair()
  writeFileSync(join(from, 'big'), Buffer.alloc(3_000_000, 3))
  follow()
  await until(() => replica.whole)
  await primary.seal(REPLICA, millis(20_000), false)
  primary.stopServing()
  await replica.finish(false)
  await replica.serve(2)
  replica.allow(2, [{ instanceId: PRIMARY, token: TOKEN }])
  writeFileSync(join(to, 'new'), 'from the new primary')
  primary.follow(2, { instanceId: REPLICA, host: '127.0.0.1', port: replica.port, token: TOKEN })
  await until(() => replica.lags()[0]?.lag.attached ?? false)
  expect(primary.progress?.bytesTotal).toBeLessThan(10_000)
  await replica.seal(PRIMARY, millis(20_000), false)
  expect(picture(from)).toEqual(picture(to))
})

test('a seal that cannot be had in time says so and leaves everything as it was', async () => {
  const { from, primary, follow, replica } = await pair()
  writeFileSync(join(from, 'a'), 'x')
  await expect(primary.seal(REPLICA, millis(100), false)).rejects.toMatchObject({ code: 'unavailable' })
  follow()
  await until(() => replica.whole)
  await expect(primary.seal(REPLICA, millis(20_000), false)).resolves.toMatchObject({ unreadable: 0 })
})

test('the moment up to which everything is safe moves on by itself', async () => {
  const { from, primary, replica, follow } = await pair()
  writeFileSync(join(from, 'a'), 'x')
  follow()
  await until(() => replica.whole)
  await until(() => (primary.lags()[0]?.lag.safeMillis ?? Infinity) < 200)
})

test('a hand-over to another replica does not wait for one before it that came to nothing', async () => {
  const { from, primary, replicas } = await oneToMany(2)
  for (const { follow } of replicas) follow()
  await until(() => replicas.every(({ replica }) => replica.whole))
  for (const [round, { name, to }] of replicas.entries()) {
    // What has changed is held back from all others, and they wait with it.
    writeFileSync(join(from, 'a'), `round ${round}`)
    await primary.seal(name, millis(20_000), false)
    expect(readFileSync(join(to, 'a'), 'utf8')).toBe(`round ${round}`)
  }
})
