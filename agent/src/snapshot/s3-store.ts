import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { CompletedPart, MultipartUpload } from '@aws-sdk/client-s3'
import { type Clock, instant, type Millis, millis, seconds, sleep } from '@understudy/shared/core/time'
import { assertKey, noSuchObject, type ObjectStore, tooLarge } from './object-store.ts'
import { isCutOff, toStoreError } from './s3-errors.ts'

/** Objects above this are sent in parts of this size; S3 takes none below 5 MiB. */
const PART_BYTES = 8 * 1024 * 1024
const CONNECT_MS = 5000
/** No byte for so long: the connection is dead. */
const SILENCE = seconds(20)
/** One request from beginning to end; a part takes 60 s at 140 kB/s. */
const REQUEST_MS = 60_000
/** An upload that has failed is taken back within this, whatever else is over. */
const TAKE_BACK_MS = 5000
/** Tries of one request; and of one download, which the SDK itself does not begin again. */
const ATTEMPTS = 5
const PAUSE_MS = 200
const DELETE_AT_ONCE = 1000

export interface S3Settings {
  readonly bucket: string
  /** Without a slash at either end; may be empty. */
  readonly prefix: string
  /** Any S3-compatible endpoint; AWS by default. */
  readonly endpoint?: string | undefined
  readonly region?: string | undefined
  /** `https://host/bucket/key` instead of `https://bucket.host/key`. */
  readonly pathStyle: boolean
  readonly silence?: Millis
}

export type S3Sdk = typeof import('./s3-sdk.ts')

/** Snapshots in S3, or anything that speaks it. Credentials come from the SDK's default chain. */
export function createS3Store(sdk: S3Sdk, settings: S3Settings, clock: Clock): ObjectStore {
  const { bucket: Bucket, prefix, endpoint, pathStyle, silence = SILENCE } = settings
  // An endpoint of one's own has no regions that anybody could look up.
  const region = settings.region ?? (endpoint === undefined ? undefined : 'us-east-1')
  const client = new sdk.S3Client({
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    forcePathStyle: pathStyle,
    maxAttempts: ATTEMPTS,
    retryMode: 'standard',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Not every S3-compatible service answers it, and a refused part is not large.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      socketTimeout: silence,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
    },
  })
  const name = `s3://${Bucket}${prefix && `/${prefix}`}`
  const below = (key: string): string => (prefix === '' ? key : `${prefix}/${key}`)
  const keyOf = (key: string): string => {
    assertKey(key)
    return below(key)
  }
  const own = (key: string): string => (prefix === '' ? key : key.slice(prefix.length + 1))

  async function translated<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    try {
      return await run()
    } catch (error) {
      signal.throwIfAborted()
      throw toStoreError(error, name)
    }
  }

  async function putAtOnce(Key: string, Body: Uint8Array, abortSignal: AbortSignal): Promise<void> {
    await client.send(new sdk.PutObjectCommand({ Bucket, Key, Body, ChecksumSHA256: sha256(Body) }), {
      abortSignal,
    })
  }

  /** Parts that S3 has and that belong to nothing cost money until somebody removes them. */
  async function putInParts(Key: string, bytes: Uint8Array, abortSignal: AbortSignal): Promise<void> {
    const created = await client.send(
      new sdk.CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: 'SHA256' }),
      { abortSignal },
    )
    const upload = { Bucket, Key, UploadId: created.UploadId }
    try {
      const Parts: CompletedPart[] = []
      for (let at = 0; at < bytes.length; at += PART_BYTES) {
        const Body = bytes.subarray(at, at + PART_BYTES)
        const part = { PartNumber: Parts.length + 1, ChecksumSHA256: sha256(Body) }
        const { ETag } = await client.send(new sdk.UploadPartCommand({ ...upload, ...part, Body }), {
          abortSignal,
        })
        Parts.push({ ...part, ETag })
      }
      await client.send(new sdk.CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }), {
        abortSignal,
      })
    } catch (error) {
      const soon = AbortSignal.timeout(TAKE_BACK_MS)
      // What cannot be taken back now is swept later.
      await client
        .send(new sdk.AbortMultipartUploadCommand(upload), { abortSignal: soon })
        .catch(() => undefined)
      throw error
    }
  }

  async function download(key: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    const { Body, ContentLength } = await client.send(new sdk.GetObjectCommand({ Bucket, Key: keyOf(key) }), {
      abortSignal: signal,
    })
    if (ContentLength !== undefined && ContentLength > maxBytes) throw tooLarge(key, maxBytes)
    const body = await gather(Body as Readable, maxBytes, signal)
    if (!body) throw tooLarge(key, maxBytes)
    if (ContentLength !== undefined && body.length !== ContentLength)
      throw cutOff(`${body.length} of ${ContentLength} bytes came`)
    return body
  }

  /** undefined when there is more than `maxBytes`. */
  async function gather(body: Readable, maxBytes: number, signal: AbortSignal): Promise<Buffer | undefined> {
    const dead = () => body.destroy(cutOff('no byte came any more'))
    let cancel = clock.timer(silence, dead)
    const abort = () => body.destroy(new Error('aborted'))
    signal.addEventListener('abort', abort, { once: true })
    try {
      const parts: Uint8Array[] = []
      let bytes = 0
      for await (const part of body as AsyncIterable<Uint8Array>) {
        cancel()
        cancel = clock.timer(silence, dead)
        bytes += part.length
        if (bytes > maxBytes) return undefined
        parts.push(part)
      }
      return Buffer.concat(parts)
    } finally {
      cancel()
      signal.removeEventListener('abort', abort)
    }
  }

  async function unfinished(signal: AbortSignal, Prefix: string): Promise<MultipartUpload[]> {
    const found: MultipartUpload[] = []
    for (let KeyMarker: string | undefined, UploadIdMarker: string | undefined; ; ) {
      const page = await client.send(
        new sdk.ListMultipartUploadsCommand({ Bucket, Prefix, KeyMarker, UploadIdMarker }),
        { abortSignal: signal },
      )
      found.push(...(page.Uploads ?? []))
      if (!page.IsTruncated || page.NextKeyMarker === undefined) return found
      KeyMarker = page.NextKeyMarker
      UploadIdMarker = page.NextUploadIdMarker
    }
  }

  return {
    name,
    put: (key, bytes, signal) =>
      translated(signal, () => {
        const Key = keyOf(key)
        return bytes.length > PART_BYTES ? putInParts(Key, bytes, signal) : putAtOnce(Key, bytes, signal)
      }),
    get: (key, maxBytes, signal) =>
      translated(signal, async () => {
        for (let attempt = 1; ; attempt += 1) {
          try {
            return await download(key, maxBytes, signal)
          } catch (error) {
            if (isMissing(error)) throw noSuchObject(key, name, error)
            if (attempt >= ATTEMPTS || !isCutOff(error)) throw error
            await sleep(clock, millis(PAUSE_MS * attempt), signal)
          }
        }
      }),
    list: (start, signal) =>
      translated(signal, async () => {
        const pages = sdk.paginateListObjectsV2(
          { client },
          { Bucket, Prefix: below(start) },
          { abortSignal: signal },
        )
        const found = []
        for await (const { Contents } of pages)
          for (const { Key = '', Size = 0, LastModified } of Contents ?? [])
            found.push({ key: own(Key), bytes: Size, modified: instant(LastModified?.getTime() ?? 0) })
        return found
      }),
    remove: (keys, signal) =>
      translated(signal, async () => {
        for (let at = 0; at < keys.length; at += DELETE_AT_ONCE) {
          const Objects = keys.slice(at, at + DELETE_AT_ONCE).map((key) => ({ Key: keyOf(key) }))
          const { Errors } = await client.send(
            new sdk.DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }),
            { abortSignal: signal },
          )
          const [first] = Errors ?? []
          if (first) throw Object.assign(new Error(first.Message ?? ''), { name: first.Code ?? 'Unknown' })
        }
      }),
    sweep: (start, before, signal) =>
      translated(signal, async () => {
        const old = (await unfinished(signal, below(start))).filter(
          ({ Initiated }) => Initiated !== undefined && Initiated.getTime() < before,
        )
        for (const { Key, UploadId } of old)
          await client.send(new sdk.AbortMultipartUploadCommand({ Bucket, Key, UploadId }), {
            abortSignal: signal,
          })
        return old.length
      }),
    close: () => client.destroy(),
  }
}

const isMissing = (error: unknown): boolean => error instanceof Error && error.name === 'NoSuchKey'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64')

const cutOff = (what: string): Error => Object.assign(new Error(what), { code: 'ECONNRESET' })
