import { type FileHandle, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { AppError, isAppError, systemCodeOf } from '@understudy/shared/core/app-error'
import { FrameFlag, type FrameHeader, HEADER_BYTES } from '@understudy/shared/protocol/replication'
import { checkFrame } from './frames.ts'

/** A frame and its checked header. */
export interface JournaledFrame {
  readonly header: FrameHeader
  readonly frame: Uint8Array
}

/**
 * Batches on disk before they are put in place: what makes a group of them happen as a whole or not at all. A batch
 * is acknowledged once it is here and synced. Whatever follows the last whole group after a crash is cut off.
 */
export interface Journal {
  readonly bytes: number
  /**
   * Appends without syncing. Nothing is left behind when it fails.
   * @throws AppError `disk_full`
   */
  append(frame: Uint8Array): Promise<void>
  sync(): Promise<void>
  /** Forgets everything: all of it is in place and synced. */
  clear(): Promise<void>
  /** Keeps everything under another name, and begins anew. Returns that name. */
  setAside(): Promise<string>
  close(): Promise<void>
}

/**
 * Opens the journal at `path`, with the whole groups that are in it; a bulk batch is one by itself.
 * @throws the system's error where the file cannot be opened
 */
export async function openJournal(path: string): Promise<{ journal: Journal; groups: JournaledFrame[][] }> {
  let handle = await open(path, 'a+', 0o600)
  const { groups, end } = await readGroups(handle)
  await handle.truncate(end)
  await syncDirectory(dirname(path))
  let bytes = end

  const journal: Journal = {
    get bytes() {
      return bytes
    },
    async append(frame) {
      try {
        await handle.appendFile(frame)
        bytes += frame.length
      } catch (error) {
        // Part of it may be there.
        await handle.truncate(bytes)
        if (systemCodeOf(error) === 'ENOSPC' || systemCodeOf(error) === 'EDQUOT') throw diskFull(path, error)
        throw error
      }
    },
    sync: () => handle.datasync(),
    async clear() {
      await handle.truncate(0)
      await handle.datasync()
      bytes = 0
    },
    async setAside() {
      const aside = `${path}.refused`
      await rename(path, aside)
      await handle.close()
      handle = await open(path, 'a+', 0o600)
      await syncDirectory(dirname(path))
      bytes = 0
      return aside
    },
    close: () => handle.close(),
  }
  return { journal, groups }
}

export const diskFull = (path: string, cause?: unknown): AppError =>
  new AppError('disk_full', `no space left on the disk of ${path}`, {
    hint: 'Free space or enlarge the volume; the replica keeps its last whole state and goes on by itself.',
    retryable: true,
    cause,
  })

/** Whole groups from the beginning of the file, and where the last of them ends. */
async function readGroups(handle: FileHandle): Promise<{ groups: JournaledFrame[][]; end: number }> {
  const { size } = await handle.stat()
  const groups: JournaledFrame[][] = []
  let group: JournaledFrame[] = []
  let at = 0
  let end = 0
  while (at + HEADER_BYTES <= size) {
    const read = await readFrame(handle, at, size)
    if (!read) break
    at += read.frame.length
    group.push(read)
    if ((read.header.flags & (FrameFlag.last | FrameFlag.bulk)) === 0) continue
    groups.push(group)
    group = []
    end = at
  }
  return { groups, end }
}

async function readFrame(handle: FileHandle, at: number, size: number): Promise<JournaledFrame | undefined> {
  const head = Buffer.alloc(HEADER_BYTES)
  await handle.read(head, 0, HEADER_BYTES, at)
  const bodyBytes = head.readUInt32BE(24)
  if (at + HEADER_BYTES + bodyBytes > size) return undefined
  const frame = Buffer.alloc(HEADER_BYTES + bodyBytes)
  await handle.read(frame, 0, frame.length, at)
  try {
    return { header: checkFrame(frame), frame }
  } catch (error) {
    // A torn or damaged end: it was never acknowledged as part of a whole group.
    if (isAppError(error, 'protocol')) return undefined
    throw error
  }
}

/** Makes names created or removed in a directory durable. */
export async function syncDirectory(path: string | Buffer): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
