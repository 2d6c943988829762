import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openS3Bucket } from '../cloud/s3/s3-bucket.ts'
import { startTestS3, type TestS3 } from '../cloud/s3/testing.ts'
import { type ArtifactStore, createArtifactBucket, createArtifactDirectory } from './artifacts.ts'
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
  const bucket = await openS3Bucket({ location, endpoint: s3.endpoint })
  return { store: createArtifactBucket(bucket, directory), s3 }
}

async function keep(store: ArtifactStore, given: Uint8Array = content): Promise<string> {
  const file = await store.receive()
  for (let at = 0; at < given.length; at += 100_000) await file.write(given.subarray(at, at + 100_000))
  const name = await file.finish()
  await file.keep()
  await file.drop()
  return name
}

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

describe('the bucket', () => {
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
      await openS3Bucket({ location: 's3://other', endpoint: bucket.endpoint }),
      directory,
    )
    expect(await caught(keep(other))).toMatchObject({ code: 'not_found' })
  })
})
