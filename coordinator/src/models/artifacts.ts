import { createHash, type Hash, randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, isAppError, systemCodeOf } from '@understudy/shared/core/app-error'
import { hours, type Instant } from '@understudy/shared/core/time'
import type { Bucket } from '../cloud/bucket.ts'
import { modelLimits } from './onnx/allowed.ts'
import { modelRefused } from './refusal.ts'

/** A file that is being received; it has no name before all of it is there. */
export interface Incoming {
  readonly bytes: number
  write(chunk: Uint8Array): Promise<void>
  /** Its SHA-256; nothing can be written any more. */
  finish(): Promise<string>
  /** Durable under its SHA-256 when it resolves. After `finish`. */
  keep(): Promise<void>
  /** Removes it, unless it was kept. */
  drop(): Promise<void>
}

/** Where the files of models are, by their SHA-256: a directory or a bucket. */
export interface ArtifactStore {
  /** @throws AppError `disk_full`, `config_invalid` when it cannot be written */
  receive(): Promise<Incoming>
  /** @throws AppError `model_refused` (ARTIFACT_DAMAGED) when it is not there or not what it was */
  read(sha256: string): Promise<Uint8Array>
  remove(sha256: string): Promise<void>
  /** Removes what an upload has left that was cut off with its coordinator. Returns how many files. */
  sweep(now: Instant): Promise<number>
}

/** An upload is written to, and tried, within less. */
const LEFT_OVER = hours(1)

/** Made when the first file comes. */
export function createArtifactDirectory(directory: string): ArtifactStore {
  const pathOf = (sha256: string): string => {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new AppError('internal', `${sha256} is no SHA-256`)
    return join(directory, sha256.slice(0, 2), sha256)
  }

  return {
    receive: () =>
      receiveIn(directory, async (path, sha256) => {
        const target = pathOf(sha256)
        await mkdir(join(target, '..'), { recursive: true, mode: 0o700 })
        await rename(path, target)
        const parent = await open(join(target, '..'), 'r')
        await parent.sync()
        await parent.close()
      }),
    async read(sha256) {
      const path = pathOf(sha256)
      try {
        const { size } = await stat(path)
        return await verified(
          size > modelLimits.fileBytes ? 'too long' : await readFile(path),
          sha256,
          directory,
        )
      } catch (error) {
        if (systemCodeOf(error) !== 'ENOENT') throw error
        return verified(undefined, sha256, directory)
      }
    },
    remove: (sha256) => rm(pathOf(sha256), { force: true }),
    sweep: (now) => sweepIncoming(directory, now),
  }
}

/**
 * Uploads come to the directory `incoming` of `directory`, and from there into the bucket when they are kept. A file that is
 * there already is only replaced when it is not what it should be.
 * @param signal ends what the bucket is asked
 */
export function createArtifactBucket(bucket: Bucket, directory: string, signal: AbortSignal): ArtifactStore {
  const keyOf = (sha256: string): string => {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new AppError('internal', `${sha256} is no SHA-256`)
    return `${sha256.slice(0, 2)}/${sha256}`
  }
  const get = (sha256: string): Promise<Found> =>
    bucket.get(keyOf(sha256), modelLimits.fileBytes, signal).catch((error: unknown) => {
      if (isAppError(error, 'payload_too_large')) return 'too long'
      throw error
    })

  return {
    receive: () =>
      receiveIn(directory, async (path, sha256) => {
        const content = await readFile(path)
        const key = keyOf(sha256)
        if (!(await bucket.put(key, content, { signal })) && !(await isWhole(await get(sha256), sha256)))
          await bucket.put(key, content, { replace: true, signal })
      }),
    read: async (sha256) => verified(await get(sha256), sha256, bucket.name),
    remove: (sha256) => bucket.remove(keyOf(sha256), signal),
    sweep: (now) => sweepIncoming(directory, now),
  }
}

/** No file of a model is longer than what is taken: such a one is not what was stored. */
type Found = Uint8Array | 'too long' | undefined

const isWhole = async (content: Found, sha256: string): Promise<boolean> =>
  typeof content === 'object' && (await digest(content)) === sha256

/** @throws AppError `model_refused` (ARTIFACT_DAMAGED) */
async function verified(content: Found, sha256: string, place: string): Promise<Uint8Array> {
  if (!content)
    throw modelRefused('ARTIFACT_DAMAGED', `the file ${sha256} is not in ${place}`, 'Upload the model again.')
  if (content === 'too long' || !(await isWhole(content, sha256)))
    throw modelRefused(
      'ARTIFACT_DAMAGED',
      `the file ${sha256} is not what it was when it was stored`,
      'Upload the model again.',
    )
  return new Uint8Array(content.buffer, content.byteOffset, content.byteLength)
}

type KeepAs = (path: string, sha256: string) => Promise<void>

/** @param keepAs makes it durable under its SHA-256 */
async function receiveIn(directory: string, keepAs: KeepAs): Promise<Incoming> {
  const incoming = join(directory, 'incoming')
  await makeDirectory(incoming, directory)
  const path = join(incoming, randomUUID())
  return receiveInto(await open(path, 'wx', 0o600), path, keepAs)
}

async function sweepIncoming(directory: string, now: Instant): Promise<number> {
  const incoming = join(directory, 'incoming')
  let swept = 0
  for (const name of (await readdir(incoming).catch(ignoreMissing)) ?? []) {
    const path = join(incoming, name)
    const file = await stat(path).catch(ignoreMissing)
    if (!file || now - file.mtimeMs <= LEFT_OVER) continue
    await rm(path, { force: true })
    swept += 1
  }
  return swept
}

/** A disk that is nearly full takes a part of what it is given. @throws what the disk says of the rest */
export async function writeWhole(file: Pick<FileHandle, 'write'>, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, at, chunk.length - at)
    if (bytesWritten === 0) throw new AppError('disk_full', NO_SPACE)
    at += bytesWritten
  }
}

const NO_SPACE = 'there is no space left for the model'
/** No space on the disk, for this user, or in a file. */
const FULL: readonly string[] = ['ENOSPC', 'EDQUOT', 'EFBIG']

function receiveInto(file: FileHandle, path: string, keepAs: KeepAs): Incoming {
  const hash: Hash = createHash('sha256')
  let bytes = 0
  let open_ = true
  let sha256 = ''
  const close = async () => {
    if (open_) await file.close()
    open_ = false
  }
  return {
    get bytes() {
      return bytes
    },
    async write(chunk) {
      bytes += chunk.length
      hash.update(chunk)
      await writeWhole(file, chunk).catch((error: unknown) => {
        if (!FULL.includes(systemCodeOf(error) ?? '')) throw error
        throw new AppError('disk_full', NO_SPACE, { cause: error })
      })
    },
    async finish() {
      await file.sync()
      await close()
      sha256 = hash.digest('hex')
      return sha256
    },
    keep: () => keepAs(path, sha256),
    async drop() {
      await close()
      await rm(path, { force: true })
    },
  }
}

/** Node's recursive mkdir never returns in places such as /proc, so that one is looked at first. */
async function makeDirectory(path: string, root: string): Promise<void> {
  try {
    const parent = await stat(join(root, '..'))
    if (!parent.isDirectory()) throw new Error(`${join(root, '..')} is no directory`)
    await mkdir(root, { mode: 0o700 }).catch(ignoreThere)
    await mkdir(path, { mode: 0o700 }).catch(ignoreThere)
  } catch (cause) {
    throw new AppError('config_invalid', `the directory of models ${root} cannot be used`, {
      hint: 'Name one that the coordinator may write, whose parent is there, with --model-upload-dir.',
      cause,
    })
  }
}

function ignoreMissing(error: unknown): undefined {
  if (systemCodeOf(error) !== 'ENOENT') throw error
}

function ignoreThere(error: unknown): void {
  if (systemCodeOf(error) !== 'EEXIST') throw error
}

/** In parts, so that nothing else waits for a large file. */
async function digest(content: Uint8Array): Promise<string> {
  const hash = createHash('sha256')
  for (let at = 0; at < content.length; at += 4 * 1024 * 1024) {
    hash.update(content.subarray(at, at + 4 * 1024 * 1024))
    await new Promise((resolve) => setImmediate(resolve))
  }
  return hash.digest('hex')
}
