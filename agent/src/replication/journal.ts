import { type FileHandle, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { AppError, isAppError, systemCodeOf } from '@understudy/shared/core/app-error'
import { FrameFlag, type FrameHeader, HEADER_BYTES } from '@understudy/shared/protocol/replication'
import { diskFull, syncDirectory } from './durable-files.ts'
import { checkFrame } from './frames.ts'

/** A frame in the journal. The bytes themselves may be in memory, and are read from disk where they are not. */
export interface JournaledFrame {
  readonly header: FrameHeader
  readonly at: number
  readonly bytes: number
  readonly frame: Uint8Array | undefined
}

/** So much of what waits to be put in place is kept in memory. */
const KEPT_BYTES = 4 * 1024 * 1024

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
  append(frame: Uint8Array, header: FrameHeader): Promise<JournaledFrame>
  /** @throws AppError `protocol` when the disk gives back something else */
  read(entry: JournaledFrame): Promise<Uint8Array>
  /** The frame is in place: it need not be kept in memory any longer. */
  placed(entry: JournaledFrame): void
  sync(): Promise<void>
  /** Forgets everything before this entry: all of it is in place and synced. */
  dropBefore(entry: JournaledFrame): Promise<void>
  /** Forgets everything: all of it is in place and synced. */
  clear(): Promise<void>
  /** Keeps everything under another name, and begins anew. Returns that name. */
  setAside(): Promise<string>
  close(): Promise<void>
}

/**
 * Opens the journal at `path`, with the whole groups that are in it.
 * @throws the system's error where the file cannot be opened
 */
export async function openJournal(path: string): Promise<{ journal: Journal; groups: JournaledFrame[][] }> {
  let handle = await open(path, 'a+', 0o600)
  const { groups, end } = await readGroups(handle)
  await handle.truncate(end)
  await syncDirectory(dirname(path))
  let bytes = end
  let kept = 0
  let synced = true
  /** Where the file begins, counted in bytes that were ever appended since it was last cleared. */
  let base = 0

  const forget = () => {
    base = 0
    bytes = 0
    kept = 0
    synced = true
  }
  const journal: Journal = {
    get bytes() {
      return bytes
    },
    async append(frame, header) {
      try {
        synced = false
        await handle.appendFile(frame)
        const keep = kept + frame.length <= KEPT_BYTES
        if (keep) kept += frame.length
        bytes += frame.length
        return {
          header,
          at: base + bytes - frame.length,
          bytes: frame.length,
          frame: keep ? frame : undefined,
        }
      } catch (error) {
        // Part of it may be there.
        await handle.truncate(bytes)
        if (systemCodeOf(error) === 'ENOSPC' || systemCodeOf(error) === 'EDQUOT') throw diskFull(path, error)
        throw error
      }
    },
    async read(entry) {
      if (entry.frame) return entry.frame
      const read = await readFrame(handle, entry.at - base, entry.at - base + entry.bytes)
      if (read) return read.frame
      throw new AppError('protocol', `batch ${entry.header.seq} cannot be read back from ${path}`)
    },
    placed(entry) {
      if (entry.frame) kept -= entry.bytes
    },
    async sync() {
      if (synced) return
      await handle.datasync()
      synced = true
    },
    async dropBefore({ at }) {
      if (at === base) return
      const rest = Buffer.alloc(base + bytes - at)
      await handle.read(rest, 0, rest.length, at - base)
      const next = await open(`${path}.next`, 'w', 0o600)
      await next.writeFile(rest)
      await next.sync()
      await next.close()
      await rename(`${path}.next`, path)
      await syncDirectory(dirname(path))
      await handle.close()
      handle = await open(path, 'a+', 0o600)
      base = at
      bytes = rest.length
    },
    async clear() {
      await handle.truncate(0)
      await handle.datasync()
      forget()
    },
    async setAside() {
      const aside = `${path}.refused`
      await rename(path, aside)
      await handle.close()
      handle = await open(path, 'a+', 0o600)
      await syncDirectory(dirname(path))
      forget()
      return aside
    },
    close: () => handle.close(),
  }
  return { journal, groups }
}

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
    group.push({ header: read.header, at, bytes: read.frame.length, frame: undefined })
    at += read.frame.length
    if ((read.header.flags & FrameFlag.last) === 0) continue
    groups.push(group)
    group = []
    end = at
  }
  return { groups, end }
}

async function readFrame(
  handle: FileHandle,
  at: number,
  size: number,
): Promise<{ header: FrameHeader; frame: Uint8Array } | undefined> {
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
