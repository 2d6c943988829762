import { createHash, type Hash, randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'
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

/** Where the files of models are, by their SHA-256: a directory, or later a bucket. */
export interface ArtifactStore {
  /** @throws AppError `disk_full`, `config_invalid` when it cannot be written */
  receive(): Promise<Incoming>
  /** @throws AppError `model_refused` (ARTIFACT_DAMAGED) when it is not there or not what it was */
  read(sha256: string): Promise<Uint8Array>
  remove(sha256: string): Promise<void>
}

/** Made when the first file comes. */
export function createArtifactDirectory(directory: string): ArtifactStore {
  const pathOf = (sha256: string): string => {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new AppError('internal', `${sha256} is no SHA-256`)
    return join(directory, sha256.slice(0, 2), sha256)
  }

  return {
    async receive() {
      const path = join(directory, 'incoming', randomUUID())
      await makeDirectory(join(directory, 'incoming'), directory)
      return receiveInto(await open(path, 'wx', 0o600), path, pathOf)
    },
    async read(sha256) {
      const found = await readFile(pathOf(sha256)).catch((error: unknown) => {
        if (systemCodeOf(error) === 'ENOENT') return undefined
        throw error
      })
      if (!found)
        throw modelRefused(
          'ARTIFACT_DAMAGED',
          `the file ${sha256} is not in ${directory}`,
          'Upload the model again.',
        )
      if ((await digest(found)) !== sha256)
        throw modelRefused(
          'ARTIFACT_DAMAGED',
          `the file ${sha256} is not what it was when it was stored`,
          'Upload the model again.',
        )
      return new Uint8Array(found.buffer, found.byteOffset, found.byteLength)
    },
    remove: (sha256) => rm(pathOf(sha256), { force: true }),
  }
}

function receiveInto(file: FileHandle, path: string, pathOf: (sha256: string) => string): Incoming {
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
      await file.write(chunk).catch((error: unknown) => {
        if (systemCodeOf(error) !== 'ENOSPC') throw error
        throw new AppError('disk_full', 'there is no space left for the model', { cause: error })
      })
    },
    async finish() {
      await file.sync()
      await close()
      sha256 = hash.digest('hex')
      return sha256
    },
    async keep() {
      const target = pathOf(sha256)
      await mkdir(join(target, '..'), { recursive: true, mode: 0o700 })
      await rename(path, target)
      const parent = await open(join(target, '..'), 'r')
      await parent.sync()
      await parent.close()
    },
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
