import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { access, type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { instant } from '@understudy/shared/core/time'
import { assertKey, noSuchObject, type ObjectStore, type StoredObject, tooLarge } from './object-store.ts'

/** Ends the names of files that are not whole yet. No key ends so. */
const UNFINISHED = '.~unfinished'

/** Snapshots in a directory: another disk, or a network file system. */
export function createDirectoryStore(root: string): ObjectStore {
  const name = `file://${root}`
  const fileOf = (key: string): string => {
    assertKey(key)
    return join(root, key)
  }

  async function translated<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    try {
      return await run()
    } catch (error) {
      signal.throwIfAborted()
      throw toStoreError(error, name)
    }
  }

  /** The directory itself is never made: a file system that is not mounted must not fill the disk below it. */
  const assertThere = () => access(root, constants.R_OK | constants.X_OK)

  async function filesBelow(prefix: string, unfinished: boolean): Promise<StoredObject[]> {
    const top = join(root, prefix.slice(0, prefix.lastIndexOf('/') + 1))
    const entries = await readdir(top, { recursive: true, withFileTypes: true }).catch(ifGone([]))
    const found: StoredObject[] = []
    for (const entry of entries) {
      const path = join(entry.parentPath, entry.name)
      const key = relative(root, path)
      if (!entry.isFile() || !key.startsWith(prefix) || key.endsWith(UNFINISHED) !== unfinished) continue
      const stats = await stat(path).catch(ifGone(undefined))
      if (stats) found.push({ key, bytes: stats.size, modified: instant(Math.floor(stats.mtimeMs)) })
    }
    return found
  }

  return {
    name,
    put: (key, bytes, signal) =>
      translated(signal, async () => {
        const path = fileOf(key)
        await assertThere()
        await makeDirectories(root, dirname(path))
        const next = `${path}.${randomUUID()}${UNFINISHED}`
        try {
          await using file = await open(next, 'wx', 0o600)
          await writeAll(file, bytes, signal)
          await file.sync()
        } catch (error) {
          await rm(next, { force: true })
          throw error
        }
        await rename(next, path)
        await syncDirectory(dirname(path))
      }),
    get: (key, maxBytes, signal) =>
      translated(signal, async () => {
        const path = fileOf(key)
        await assertThere()
        await using file = await open(path, 'r').catch(ifGone(undefined))
        if (!file) throw noSuchObject(key, name)
        const { size } = await file.stat()
        if (size > maxBytes) throw tooLarge(key, maxBytes)
        return await file.readFile({ signal })
      }),
    list: (prefix, signal) =>
      translated(signal, async () => {
        await assertThere()
        return filesBelow(prefix, false)
      }),
    remove: (keys, signal) =>
      translated(signal, async () => {
        for (const key of keys) await rm(fileOf(key), { force: true })
      }),
    sweep: (prefix, before, signal) =>
      translated(signal, async () => {
        const left = (await filesBelow(prefix, true)).filter(({ modified }) => modified < before)
        for (const { key } of left) await rm(join(root, key), { force: true })
        return left.length
      }),
    close() {},
  }
}

const ifGone =
  <T>(instead: T) =>
  (error: unknown): T => {
    if (systemCodeOf(error) === 'ENOENT') return instead
    throw error
  }

const WRITE_BYTES = 1024 * 1024

async function writeAll(file: FileHandle, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    signal.throwIfAborted()
    const { bytesWritten } = await file.write(bytes, at, Math.min(WRITE_BYTES, bytes.length - at))
    at += bytesWritten
  }
}

/** Directories below `root`, each durable in the one above it. */
async function makeDirectories(root: string, path: string): Promise<void> {
  if (path === root || path.length <= root.length) return
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return
    if (systemCodeOf(error) !== 'ENOENT') throw error
    await makeDirectories(root, dirname(path))
    await mkdir(path, { mode: 0o700 }).catch((again: unknown) => {
      if (systemCodeOf(again) !== 'EEXIST') throw again
    })
  }
  await syncDirectory(dirname(path))
}

async function syncDirectory(path: string): Promise<void> {
  await using handle = await open(path, 'r')
  await handle.sync()
}

function toStoreError(error: unknown, store: string): unknown {
  if (error instanceof AppError) return error
  const cause = error
  switch (systemCodeOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new AppError('not_found', `the snapshot store ${store} does not exist`, {
        hint: 'Make the directory, mount its file system, or correct snapshot_store.',
        cause,
      })
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new AppError('forbidden', `the snapshot store ${store} cannot be used (${messageOf(error)})`, {
        hint: 'The user of the agent needs to read and write there.',
        cause,
      })
    case 'ENOSPC':
    case 'EDQUOT':
      return new AppError('disk_full', `no space left in the snapshot store ${store}`, {
        hint: 'Free space there, or keep fewer snapshots (snapshot_keep).',
        retryable: true,
        cause,
      })
    default:
      return new AppError('unavailable', `the snapshot store ${store} failed (${messageOf(error)})`, {
        retryable: true,
        cause,
      })
  }
}
