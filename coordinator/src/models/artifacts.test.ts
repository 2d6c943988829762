import { createHash, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { instant, seconds, systemClock } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Bucket } from '../cloud/bucket.ts'
import { openS3Bucket } from '../cloud/s3/s3-bucket.ts'
import { startTestS3, type TestS3 } from '../cloud/s3/testing.ts'
import { type ArtifactStore, createArtifactBucket, createArtifactDirectory, writeWhole } from './artifacts.ts'
import { until } from './bench-testing.ts'
import { refusalOf } from './refusal.ts'

const content = randomBytes(300_000)
const sha256 = createHash('sha256').update(content).digest('hex')
const place = `${sha256.slice(0, 2)}/${sha256}`

let directory = ''
let s3: TestS3 | undefined
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-artifacts-'))
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDEXAMPLE')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'not-a-real-secret')
})
afterEach(async () => {
  rmSync(directory, { recursive: true })
  await s3?.close()
  s3 = undefined
  vi.unstubAllEnvs()
})

async function openBucket(location = 's3://models/team/a'): Promise<{ store: ArtifactStore; s3: TestS3 }> {
  s3 = await startTestS3('models')
  const bucket = await openS3Bucket({ location, endpoint: s3.endpoint, clock: systemClock })
  return { store: createArtifactBucket(bucket, directory, never), s3 }
}

async function keep(store: ArtifactStore, given: Uint8Array = content): Promise<string> {
  const file = await store.receive()
  for (let at = 0; at < given.length; at += 100_000) await file.write(given.subarray(at, at + 100_000))
  const name = await file.finish()
  await file.keep()
  await file.drop()
  return name
}

const never = new AbortController().signal
const left = () => readdirSync(join(directory, 'incoming'))
const caught = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

const stores = {
  directory: () => {
    const path = join(directory, place)
    return Promise.resolve({
      store: createArtifactDirectory(directory),
      raw: () => (existsSync(path) ? readFileSync(path) : undefined),
      damage: () => writeFileSync(path, 'something else'),
    })
  },
  's3 bucket': async () => {
    const { store, s3: bucket } = await openBucket()
    const path = `/models/team/a/${place}`
    return {
      store,
      raw: () => bucket.objects.get(path),
      damage: () => bucket.objects.set(path, Buffer.from('something else')),
    }
  },
}

describe.each(Object.entries(stores))('files of models in a %s', (_, open) => {
  test('a file is kept under its SHA-256, comes back whole, and goes', async () => {
    const { store, raw } = await open()
    expect(await keep(store)).toBe(sha256)
    expect(raw()?.equals(content)).toBe(true)
    expect(Buffer.from(await store.read(sha256)).equals(content)).toBe(true)
    expect(left()).toEqual([])
    await store.remove(sha256)
    await store.remove(sha256)
    expect(raw()).toBeUndefined()
    expect(refusalOf(await caught(store.read(sha256)))).toBe('ARTIFACT_DAMAGED')
  })

  test('what is not kept leaves nothing', async () => {
    const { store, raw } = await open()
    const file = await store.receive()
    await file.write(content)
    expect(file.bytes).toBe(content.length)
    expect(await file.finish()).toBe(sha256)
    await file.drop()
    expect([raw(), left()]).toEqual([undefined, []])
  })

  test('what was cut off with a coordinator is swept after an hour, and what is being received is not', async () => {
    const { store } = await open()
    const now = instant(Date.now())
    expect(await store.sweep(now), 'nothing was ever received').toBe(0)
    mkdirSync(join(directory, 'incoming'))
    const old = join(directory, 'incoming', 'old')
    writeFileSync(old, 'the beginning of a model')
    utimesSync(old, now / 1000 - 3700, now / 1000 - 3700)
    const file = await store.receive()
    await file.write(content)
    expect(await store.sweep(now)).toBe(1)
    expect(left()).toHaveLength(1)
    await file.finish()
    await file.keep()
    await file.drop()
    expect((await store.read(sha256)).length).toBe(content.length)
  })

  test('a damaged file is noticed when it is read, and made whole by the same upload', async () => {
    const { store, raw, damage } = await open()
    await keep(store)
    damage()
    expect(refusalOf(await caught(store.read(sha256)))).toBe('ARTIFACT_DAMAGED')
    await keep(store)
    expect(raw()?.equals(content)).toBe(true)
    expect((await store.read(sha256)).length).toBe(content.length)
  })
})

test('a disk that takes a part of a chunk is given the rest; one that takes nothing is full', async () => {
  const taken: number[] = []
  const file = (most: number) => ({
    write(chunk: Uint8Array, offset: number, length: number) {
      const some = chunk.subarray(offset, offset + Math.min(length, most))
      taken.push(...some)
      return Promise.resolve({ bytesWritten: some.length, buffer: chunk })
    },
  })
  const chunk = content.subarray(0, 1000)
  await writeWhole(file(7) as unknown as FileHandle, chunk)
  expect(Buffer.from(taken).equals(chunk)).toBe(true)
  const full = writeWhole(file(0) as unknown as FileHandle, chunk)
  expect(await caught(full)).toMatchObject({ code: 'disk_full' })
})

test('a file that is longer than any model is damaged, and never read into memory', async () => {
  const store = createArtifactDirectory(directory)
  await keep(store)
  truncateSync(join(directory, place), 3 * 1024 ** 3)
  expect(refusalOf(await caught(store.read(sha256)))).toBe('ARTIFACT_DAMAGED')
})

describe('the bucket', () => {
  test('an object that is longer than any model is damaged, and made whole by the same upload', async () => {
    const put: boolean[] = []
    const bucket: Bucket = {
      name: 's3://models',
      get: () => Promise.reject(new AppError('payload_too_large', 'it has more than 64 MiB')),
      put: (_, __, { replace = false } = {}) => Promise.resolve(put.push(replace) > 1),
      remove: () => Promise.resolve(),
    }
    const store = createArtifactBucket(bucket, directory, never)
    expect(refusalOf(await caught(store.read(sha256)))).toBe('ARTIFACT_DAMAGED')
    await keep(store)
    expect(put).toEqual([false, true])
  })

  test('no more is read of an object than is asked for', async () => {
    const { s3: served } = await openBucket('s3://models')
    served.objects.set('/models/k', Buffer.from(content))
    const bucket = await openS3Bucket({
      ...{ location: 's3://models', endpoint: served.endpoint, clock: systemClock },
    })
    expect(await caught(bucket.get('k', 1000))).toMatchObject({ code: 'payload_too_large' })
    expect(await bucket.get('k', content.length)).toHaveLength(content.length)
  })

  test.each(['all', 'body'] as const)(
    'one that stalls (%s) is ended by its limit, and by the signal at once',
    async (stall) => {
      const time = createVirtualTime()
      s3 = await startTestS3('models')
      s3.objects.set('/models/k', Buffer.from(content))
      s3.stall = stall
      const bucket = await openS3Bucket({ location: 's3://models', endpoint: s3.endpoint, clock: time.clock })
      const asked = caught(bucket.get('k', 1e6))
      await until(() => s3?.requests.length === 1)
      await time.advance(seconds(180))
      expect(await asked).toMatchObject({
        ...{ code: 'unavailable', retryable: true },
        message: expect.stringContaining('180 s'),
      })
      const stop = new AbortController()
      const calls = [
        caught(bucket.get('k', 1e6, stop.signal)),
        ...(stall === 'all'
          ? [
              caught(bucket.put('k', content, { signal: stop.signal })),
              caught(bucket.remove('k', stop.signal)),
            ]
          : []),
      ]
      await until(() => s3?.requests.length === 1 + calls.length)
      stop.abort()
      for (const error of await Promise.all(calls))
        expect(error).toMatchObject({ code: 'unavailable', message: expect.stringContaining('is ending') })
      expect(time.pending()).toBe(0)
    },
  )

  test('a file that is there and whole is not written again', async () => {
    const { store, s3: bucket } = await openBucket()
    await keep(store)
    bucket.requests.length = 0
    await keep(store)
    expect(bucket.requests.map((line) => line.split(' ')[0])).toEqual(['PUT', 'GET'])
  })

  test('a service without conditional writes is written to all the same', async () => {
    const { store, s3: bucket } = await openBucket('s3://models')
    bucket.faults.push({ status: 501, code: 'NotImplemented' })
    await keep(store)
    expect([...bucket.objects.keys()]).toEqual([`/models/${place}`])
  })

  test('a refusal and a missing bucket say what to do; a service that fails is no damaged model', async () => {
    const { store, s3: bucket } = await openBucket()
    await keep(store)
    bucket.faults.push({ status: 403, code: 'AccessDenied' })
    expect(await caught(store.read(sha256))).toMatchObject({
      code: 'forbidden',
      hint: expect.stringContaining('IAM policy'),
    })
    bucket.faults.push(...new Array(4).fill({ status: 500, code: 'InternalError' }))
    expect(await caught(store.read(sha256))).toMatchObject({ code: 'unavailable', retryable: true })
    const other = createArtifactBucket(
      await openS3Bucket({ location: 's3://other', endpoint: bucket.endpoint, clock: systemClock }),
      directory,
      never,
    )
    expect(await caught(keep(other))).toMatchObject({ code: 'not_found' })
  })
})
