import { createHash } from 'node:crypto'
import { addAbortSignal, type Readable } from 'node:stream'
import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, type Millis, seconds } from '@understudy/shared/core/time'
import type { Bucket } from '../bucket.ts'
import { givenUp, isMissingKey, statusOf, toBucketError, tooSlow } from './s3-errors.ts'

const CONNECT_MS = 5000
/** No byte for so long: the connection is dead. */
const SILENCE_MS = 20_000
/** One request until its answer begins: 64 MiB at 0.6 MB/s. */
const REQUEST_MS = 120_000
const ATTEMPTS = 4
/** A call from beginning to end, with all its attempts and the last byte of what is read. */
const CALL: Millis = seconds(180)

export interface S3BucketSettings {
  /** As `s3://bucket/prefix`. */
  readonly location: string
  /** Any S3-compatible service; AWS by default. */
  readonly endpoint?: string | undefined
  readonly region?: string | undefined
  readonly clock: Clock
}

/** Credentials come from the SDK's default chain; nothing is asked of S3 before the first object. */
export async function openS3Bucket(settings: S3BucketSettings): Promise<Bucket> {
  const sdk = await import('./s3-sdk.ts')
  const { bucket: Bucket, prefix } = parseLocation(settings.location)
  const { endpoint } = settings
  // An endpoint of one's own has no regions that anybody could look up.
  const region = settings.region ?? (endpoint === undefined ? undefined : 'us-east-1')
  const client = new sdk.S3Client({
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    ...(region === undefined ? {} : { region }),
    maxAttempts: ATTEMPTS,
    retryMode: 'standard',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Not every S3-compatible service answers it.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      socketTimeout: SILENCE_MS,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
    },
  })
  const name = `s3://${Bucket}${prefix && `/${prefix}`}`
  const keyOf = (key: string): string => (prefix === '' ? key : `${prefix}/${key}`)

  const call = <T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> =>
    withinCall({ name, clock: settings.clock, signal }, work)

  async function send(
    key: string,
    Body: Uint8Array,
    onlyNew: boolean,
    abortSignal: AbortSignal,
  ): Promise<boolean> {
    const ChecksumSHA256 = createHash('sha256').update(Body).digest('base64')
    try {
      await client.send(
        new sdk.PutObjectCommand({
          Bucket,
          Key: keyOf(key),
          Body,
          ChecksumSHA256,
          ...(onlyNew ? { IfNoneMatch: '*' } : {}),
        }),
        { abortSignal },
      )
      return true
    } catch (error) {
      // It is there, or somebody else is writing it now.
      if (onlyNew && [409, 412].includes(statusOf(error) ?? 0)) return false
      // A service that knows no conditions: the same key always has the same content.
      if (onlyNew && statusOf(error) === 501) return send(key, Body, false, abortSignal)
      throw error
    }
  }

  return {
    name,
    put: (key, content, { replace = false, signal } = {}) =>
      call(signal, (abortSignal) => send(key, content, !replace, abortSignal)),
    get: (key, most, signal) =>
      call(signal, async (abortSignal) => {
        try {
          const { Body, ContentLength } = await client.send(
            new sdk.GetObjectCommand({ Bucket, Key: keyOf(key) }),
            { abortSignal },
          )
          const content = await gather(addAbortSignal(abortSignal, Body as Readable), most, key)
          if (ContentLength !== undefined && content.length !== ContentLength)
            throw new AppError(
              'unavailable',
              `${name} was cut off: ${content.length} of ${ContentLength} bytes`,
              { retryable: true },
            )
          return content
        } catch (error) {
          if (isMissingKey(error)) return undefined
          throw error
        }
      }),
    remove: (key, signal) =>
      call(signal, async (abortSignal) => {
        try {
          await client.send(new sdk.DeleteObjectCommand({ Bucket, Key: keyOf(key) }), { abortSignal })
        } catch (error) {
          if (!isMissingKey(error)) throw error
        }
      }),
  }
}

/**
 * Ends with the signal or after `CALL`, whatever the SDK waits for meanwhile (it waits between two attempts, too).
 * @throws AppError as the port says
 */
async function withinCall<T>(
  { name, clock, signal }: { name: string; clock: Clock; signal: AbortSignal | undefined },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const either = signal ? AbortSignal.any([signal, late.signal]) : late.signal
  const cancel = clock.timer(CALL, () => late.abort())
  let onAbort = () => {}
  const ended = new Promise<never>((_, reject) => (onAbort = () => reject(either.reason)))
  either.addEventListener('abort', onAbort)
  try {
    if (either.aborted) throw either.reason
    return await Promise.race([work(either), ended])
  } catch (error) {
    if (!either.aborted) throw toBucketError(error, name)
    throw late.signal.aborted ? tooSlow(name, CALL) : givenUp(name)
  } finally {
    cancel()
    either.removeEventListener('abort', onAbort)
  }
}

async function gather(body: Readable, most: number, key: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body as AsyncIterable<Uint8Array>) {
    bytes += part.length
    if (bytes > most) throw new AppError('payload_too_large', `${key} has more than ${most} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

function parseLocation(location: string): { bucket: string; prefix: string } {
  const [, bucket = '', rest = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(location) ?? []
  if (bucket === '') throw new AppError('config_invalid', `${location} is not like s3://bucket/prefix`)
  return { bucket, prefix: rest.replace(/\/+$/, '') }
}
