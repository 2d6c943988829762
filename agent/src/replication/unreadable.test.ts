import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Mono, millis, mono, systemClock } from '@understudy/shared/core/time'
import { afterEach, expect, test, vi } from 'vitest'
import { isReadyToSucceed } from '../commit/commit.ts'
import { createSafeMoments } from './safe-moments.ts'
import { createScanner } from './scanner.ts'
import { createStateRoots } from './state-files.ts'
import { noXattrs, pair, REPLICA, scratch, until } from './testing.ts'

/** What cannot be read is never said to be somewhere else. */

/** Opens of this file, reads while it is sent, and listings of this directory fail; root may read everything. */
const bad = vi.hoisted(() => ({
  open: undefined as string | undefined,
  send: undefined as string | undefined,
  list: undefined as string | undefined,
}))
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  const failWhere = (path: unknown, name: string | undefined, call: string) => {
    if (name !== undefined && String(path).endsWith(name))
      throw Object.assign(new Error(`EIO: i/o error, ${call}`), { code: 'EIO' })
  }
  const sending = new Set<number>()
  return {
    ...real,
    openSync(...parts: Parameters<typeof real.openSync>) {
      failWhere(parts[0], bad.open, 'open')
      const fd = real.openSync(...parts)
      const isSent = bad.send !== undefined && String(parts[0]).endsWith(bad.send)
      if (isSent) sending.add(fd)
      else sending.delete(fd)
      return fd
    },
    readSync(...parts: Parameters<typeof real.readSync>) {
      if (sending.has(parts[0])) {
        // And stays bad.
        bad.open = bad.send
        throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
      }
      return real.readSync(...parts)
    },
    readdirSync(...parts: Parameters<typeof real.readdirSync>) {
      failWhere(parts[0], bad.list, 'scandir')
      return real.readdirSync(...parts)
    },
  }
})
const good = { open: undefined, send: undefined, list: undefined }
afterEach(() => Object.assign(bad, good))

async function attachedPair() {
  const parts = await pair()
  mkdirSync(join(parts.from, 'd'))
  writeFileSync(join(parts.from, 'd/a'), 'first')
  parts.follow()
  const safe = () => parts.primary.lags()[0]?.lag.safeMillis ?? Number.POSITIVE_INFINITY
  await until(() => parts.replica.whole && (parts.primary.lags()[0]?.lag.attached ?? false))
  await until(() => safe() < 20_000)
  return { ...parts, safe }
}

test.each([
  ['open', 'd/a', '0/d/a'],
  ['list', 'd', '0/d'],
] as const)(
  'commit does not acknowledge what it could not look at (%s), and the loss is not said to be less',
  async (call, name, key) => {
    const { from, to, primary, safe } = await attachedPair()
    appendFileSync(join(from, 'd/a'), ' and second')
    bad[call] = join(from, name)
    const before = systemClock.mono()
    await expect(primary.commit(millis(20_000))).rejects.toMatchObject({
      code: 'state_unreadable',
      message: expect.stringContaining(`${key} (EIO`),
      hint: expect.stringContaining('workload.exclude'),
    })
    await expect(primary.commit(millis(20_000))).rejects.toMatchObject({ code: 'state_unreadable' })
    expect(systemClock.mono() - safe()).toBeLessThan(before)
    bad[call] = undefined
    expect(await primary.commit(millis(20_000))).toEqual([REPLICA])
    await until(() => readFileSync(join(to, 'd/a'), 'utf8') === 'first and second')
  },
)

test('commit does not acknowledge what could not be read when its turn came to be sent', async () => {
  const { from, to, primary } = await attachedPair()
  const text = 'too large to be read at once '.repeat(10_000)
  bad.send = join(from, 'd/large')
  writeFileSync(bad.send, text)
  await expect(primary.commit(millis(900))).rejects.toMatchObject({
    code: 'state_unreadable',
    message: expect.stringContaining('0/d/large (EIO'),
  })
  Object.assign(bad, good)
  expect(await primary.commit(millis(20_000))).toEqual([REPLICA])
  await until(() => readFileSync(join(to, 'd/large'), 'utf8') === text)
})

test('a planned move is called off when something cannot be read while the last of the state is sent', async () => {
  const { from, to, primary, replica, follow } = await pair(scratch(), undefined, {
    limits: { cutsOnly: true },
  })
  follow()
  // Between cuts nothing is sent: what comes after the last one goes over with the seal.
  while (!replica.whole) {
    await primary.cut(async (capture) => capture()).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const text = 'too large to be read at once '.repeat(10_000)
  bad.send = join(from, 'large')
  writeFileSync(bad.send, text)
  await expect(primary.seal(REPLICA, millis(20_000), false)).rejects.toMatchObject({
    code: 'state_unreadable',
    message: expect.stringContaining('0/large (EIO'),
  })
  Object.assign(bad, good)
  await expect(primary.seal(REPLICA, millis(20_000), false)).resolves.toMatchObject({ unreadable: 0 })
  expect(readFileSync(join(to, 'large'), 'utf8') === text).toBe(true)
})

test('a look whose changes were not all sent makes nothing safe', () => {
  const safe = createSafeMoments()
  const moment = systemClock.mono()
  safe.looked(moment)
  safe.missed()
  safe.sent({ seq: 1, durable: 1 })
  expect(safe.since).toBeUndefined()
  safe.looked(moment)
  safe.sent({ seq: 1, durable: 1 })
  expect(safe.since).toBe(moment)
})

test('a replica that has all but what cannot be read may become the successor', async () => {
  const { from, to, primary } = await attachedPair()
  writeFileSync(join(from, 'other'), 'readable')
  bad.open = join(from, 'd/a')
  appendFileSync(join(from, 'd/a'), ' and second')
  expect(await isReadyToSucceed(primary, REPLICA)).toBe(true)
  expect(readFileSync(join(to, 'other'), 'utf8')).toBe('readable')
  await expect(primary.commit(millis(20_000))).rejects.toMatchObject({ code: 'state_unreadable' })
})

test('what looks have seen while a name could not be read is bounded by the look before, until one can read it again', async () => {
  const state = scratch()
  writeFileSync(join(state, 'a'), 'first')
  const seen: Mono[] = []
  const scanner = createScanner({
    ...{ roots: createStateRoots([state]), clock: systemClock, xattrs: noXattrs },
    onLook: (_, since) => void (since !== undefined && seen.push(since)),
  })
  const look = async () => {
    await scanner.exact()
    return seen.at(-1) ?? mono(0)
  }
  const before = await look()
  expect(scanner.knownUntil(before)).toBe(before)
  bad.open = join(state, 'a')
  appendFileSync(join(state, 'a'), ' and second')
  const meanwhile = await look()
  expect(meanwhile).toBeGreaterThan(before)
  expect(scanner.knownUntil(meanwhile)).toBe(before)
  bad.open = undefined
  const after = await look()
  // What it has read now is not sent yet.
  expect(scanner.knownUntil(meanwhile)).toBe(before)
  expect(scanner.knownUntil(after)).toBe(after)
})
