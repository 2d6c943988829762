import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { instant, systemClock } from '@understudy/shared/core/time'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createDirectoryStore } from './directory-store.ts'
import type { ObjectStore } from './object-store.ts'
import * as sdk from './s3-sdk.ts'
import { createS3Store } from './s3-store.ts'
import { createSimulatedS3, refusal, S3_ENDPOINT, type SimulatedS3 } from './testing.ts'

/** What every store does, run on each of them; then what only one can get wrong. */

const server = setupServer()
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterAll(() => server.close())

let sim: SimulatedS3
let directory = ''
const signal = new AbortController().signal

beforeEach(() => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDEXAMPLE')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'not-a-real-secret')
  sim = createSimulatedS3()
  server.resetHandlers(sim.handler)
  directory = mkdtempSync(join(tmpdir(), 'understudy-store-'))
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(directory, { recursive: true, force: true })
})

const s3 = (bucket = 'snapshots', prefix = 'pre/fix'): ObjectStore =>
  createS3Store(sdk, { bucket, prefix, endpoint: S3_ENDPOINT, pathStyle: true }, systemClock)

interface Kind {
  readonly open: () => ObjectStore
  /** Whatever the store holds, with what is not whole. */
  readonly everything: () => string[]
  /** Ends `stop` in the middle of the next upload. */
  readonly interrupt: (stop: () => void) => void
}

const kinds: readonly [string, Kind][] = [
  [
    'directory',
    {
      open: () => createDirectoryStore(directory),
      everything: () => readdirSync(directory, { recursive: true }).map(String),
      interrupt: (stop) => setImmediate(stop),
    },
  ],
  [
    's3',
    {
      open: () => s3(),
      everything: () => [
        ...sim.objects.keys(),
        ...[...sim.uploads.values()].map(({ key }) => `upload ${key}`),
      ],
      interrupt: (stop) => {
        sim.fault = (_, called) => {
          if (called.includes('?partNumber')) stop()
          return undefined
        }
      },
    },
  ],
]

describe.each(kinds)('%s', (_, { open, everything, interrupt }) => {
  test('what was put is got, listed with its size and time, and gone once removed', async () => {
    const store = open()
    const before = Date.now() - 2000
    await store.put('a/packs/one', Buffer.from('first'), signal)
    await store.put('a/packs/two', Buffer.from(''), signal)
    await store.put('a/packs/three', Buffer.from('3'), signal)
    await store.put('ab/packs/other', Buffer.from('of somebody else'), signal)
    expect((await store.get('a/packs/one', 100, signal)).toString()).toBe('first')
    const listed = await store.list('a/packs/', signal)
    expect(listed.map(({ key, bytes }) => [key, bytes]).sort()).toEqual([
      ['a/packs/one', 5],
      ['a/packs/three', 1],
      ['a/packs/two', 0],
    ])
    for (const { modified } of listed) expect(modified).toBeGreaterThan(before)
    await store.remove(['a/packs/one', 'a/packs/never'], signal)
    expect((await store.list('a/', signal)).map(({ key }) => key).sort()).toEqual([
      'a/packs/three',
      'a/packs/two',
    ])
    await expect(store.get('a/packs/one', 100, signal)).rejects.toMatchObject({ code: 'not_found' })
  })

  test('a store without anything lists nothing', async () => {
    expect(await open().list('nobody/snapshots/', signal)).toEqual([])
  })

  test('an object is replaced as a whole', async () => {
    const store = open()
    await store.put('a/x', Buffer.from('a long first content'), signal)
    await store.put('a/x', Buffer.from('short'), signal)
    expect((await store.get('a/x', 100, signal)).toString()).toBe('short')
  })

  test('20 MiB go up and come back as they were', async () => {
    const store = open()
    const bytes = randomBytes(20 * 1024 * 1024 + 17)
    await store.put('a/large', bytes, signal)
    expect(bytes.equals(await store.get('a/large', 32 * 1024 * 1024, signal))).toBe(true)
    expect(everything().filter((name) => name.startsWith('upload') || name.includes('unfinished'))).toEqual(
      [],
    )
  })

  test('more than may be there is refused', async () => {
    const store = open()
    await store.put('a/x', Buffer.alloc(101), signal)
    await expect(store.get('a/x', 100, signal)).rejects.toMatchObject({ code: 'protocol' })
  })

  test.each(['../x', '/x', 'a//x', 'a/../x', 'a/.hidden', 'a b', ''])(
    'the key %j is refused',
    async (key) => {
      await expect(open().put(key, Buffer.from('x'), signal)).rejects.toMatchObject({ code: 'input_invalid' })
      await expect(open().get(key, 10, signal)).rejects.toMatchObject({ code: 'input_invalid' })
      await expect(open().remove([key], signal)).rejects.toMatchObject({ code: 'input_invalid' })
    },
  )

  test('an upload that is given up leaves nothing', async () => {
    const store = open()
    const stop = new AbortController()
    const bytes = randomBytes(20 * 1024 * 1024)
    interrupt(() => stop.abort(new Error('enough')))
    await expect(store.put('a/x', bytes, stop.signal)).rejects.toThrow('enough')
    expect((await store.list('a/', signal)).map(({ key }) => key)).toEqual([])
    expect(everything().filter((name) => name.startsWith('upload') || name.includes('unfinished'))).toEqual(
      [],
    )
  })
})

describe('directory', () => {
  test('is never made: what is not mounted must not fill the disk below', async () => {
    const store = createDirectoryStore(join(directory, 'mnt'))
    await expect(store.put('a/x', Buffer.from('x'), signal)).rejects.toMatchObject({
      code: 'not_found',
      hint: expect.stringContaining('mount'),
    })
    await expect(store.list('a/', signal)).rejects.toMatchObject({ code: 'not_found' })
  })

  test.skipIf(process.geteuid?.() === 0)('that cannot be written says so', async () => {
    chmodSync(directory, 0o500)
    await expect(createDirectoryStore(directory).put('a/x', Buffer.from('x'), signal)).rejects.toMatchObject({
      code: 'forbidden',
    })
  })

  test('what a crash has left behind is not listed, and swept once it is old', async () => {
    const store = createDirectoryStore(directory)
    await store.put('a/packs/x', Buffer.from('x'), signal)
    writeFileSync(join(directory, 'a/packs/y.1.~unfinished'), 'half')
    expect((await store.list('a/', signal)).map(({ key }) => key)).toEqual(['a/packs/x'])
    expect(await store.sweep('a/', instant(Date.now() - 60_000), signal)).toBe(0)
    expect(await store.sweep('a/', instant(Date.now() + 60_000), signal)).toBe(1)
    expect(readdirSync(join(directory, 'a/packs'))).toEqual(['x'])
  })
})

describe('s3', () => {
  const large = randomBytes(17 * 1024 * 1024)

  test('every upload carries its SHA-256, a large one in parts', async () => {
    await s3().put('a/large', large, signal)
    expect(sim.requests.filter((called) => called.includes('?partNumber'))).toHaveLength(3)
    await s3().put('a/small', Buffer.from('small'), signal)
    expect(sim.requests.at(-1)).toBe('PUT pre/fix/a/small')
    expect(sim.objects.get('pre/fix/a/large')?.bytes.equals(large)).toBe(true)
  })

  test('a part that fails is sent again', async () => {
    let failures = 2
    sim.fault = (_, called) =>
      called.includes('?partNumber') && failures-- > 0 ? refusal(503, 'SlowDown') : undefined
    await s3().put('a/large', large, signal)
    expect(sim.objects.get('pre/fix/a/large')?.bytes.equals(large)).toBe(true)
  })

  test('an upload whose part fails for good is taken back', async () => {
    sim.fault = (_, called) => (called.includes('?partNumber') ? refusal(403, 'AccessDenied') : undefined)
    await expect(s3().put('a/large', large, signal)).rejects.toMatchObject({ code: 'forbidden' })
    expect(sim.uploads.size).toBe(0)
    expect(sim.objects.size).toBe(0)
  })

  test('uploads that a crash has left behind are swept once they are old', async () => {
    sim.uploads.set('old', {
      key: 'pre/fix/a/packs/x',
      parts: new Map(),
      initiated: new Date(Date.now() - 7.2e6),
    })
    sim.uploads.set('new', { key: 'pre/fix/a/packs/y', parts: new Map(), initiated: new Date() })
    sim.uploads.set('other', { key: 'pre/fix/b/packs/y', parts: new Map(), initiated: new Date(0) })
    expect(await s3().sweep('a/', instant(Date.now() - 3.6e6), signal)).toBe(1)
    expect([...sim.uploads.keys()]).toEqual(['new', 'other'])
  })

  test.each([
    [403, 'AccessDenied', 'forbidden', false],
    [403, 'SignatureDoesNotMatch', 'forbidden', false],
    [404, 'NoSuchBucket', 'not_found', false],
    [301, 'PermanentRedirect', 'not_found', false],
    [400, 'InvalidRequest', 'unavailable', true],
  ])('%i %s is %s', async (status, code, expected, retryable) => {
    sim.fault = () => refusal(status, code)
    const error = await s3()
      .put('a/x', Buffer.from('x'), signal)
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: expected, retryable, hint: expect.any(String) })
    expect(JSON.stringify([String(error), (error as { hint: string }).hint])).not.toContain(
      'not-a-real-secret',
    )
  })

  test('a server error is tried again and said in the end', async () => {
    sim.fault = () => refusal(500, 'InternalError')
    await expect(s3().list('a/', signal)).rejects.toMatchObject({ code: 'unavailable', retryable: true })
    expect(sim.requests).toHaveLength(5)
  })

  test('a bucket that is not there is named', async () => {
    await expect(s3('elsewhere').list('a/', signal)).rejects.toMatchObject({
      code: 'not_found',
      message: 'there is no bucket s3://elsewhere/pre/fix',
    })
  })

  test('without credentials it says where to get some', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', '')
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
    vi.stubEnv('AWS_CONFIG_FILE', '/nonexistent')
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nonexistent')
    await expect(s3().list('a/', signal)).rejects.toMatchObject({
      code: 'forbidden',
      hint: expect.stringContaining('role'),
    })
  })
})
