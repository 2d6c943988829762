import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { systemCodeOf } from '@understudy/shared/core/app-error'

/** A record with some ten certificates has half of it. */
const RESERVED = 32 * 1024
const SPACE = 0x20

/**
 * A small text file that can be replaced although its disk is full: the bytes of the next version are on the disk before
 * they are needed. What it holds is followed by spaces. File systems that copy on write (btrfs, ZFS) may need room all
 * the same.
 */
export interface ReservedFile {
  /**
   * On disk when it returns; a crash leaves the old text or the new one.
   * @throws Error from the system
   */
  replace(text: string): void
}

/** `next`: where the reserved bytes are; `reserved`: how many, as many as a version has or more. */
export function createReservedFile(path: string, next = `${path}.next`, reserved = RESERVED): ReservedFile {
  const old = `${next}.old`

  /** Takes what it can get: a disk that is full by now has room again later, or it has not. */
  function reserve(): void {
    try {
      withFile(openOrMake(next), (file) => {
        const { size } = fstatSync(file)
        if (size < reserved) writeAll(file, Buffer.alloc(reserved - size, SPACE), size)
      })
    } catch {
      // The next text says so if it does not fit into what there is.
    }
  }

  /** What the text lay on is the next reserve: once it were free, a workload that fills the disk would have it first. */
  function keepBytes(): boolean {
    try {
      rmSync(old, { force: true })
      linkSync(path, old)
      return true
    } catch {
      // There is no text yet, or the file system knows no links.
      return false
    }
  }

  reserve()
  return {
    replace(text) {
      withFile(openOrMake(next), (file) => {
        const bytes = Buffer.from(text)
        const padding = Math.max(0, fstatSync(file).size - bytes.length)
        writeAll(file, Buffer.concat([bytes, Buffer.alloc(padding, SPACE)]), 0)
        if (bytes.length + padding > 2 * reserved) ftruncateSync(file, Math.max(bytes.length, reserved))
        fsyncSync(file)
      })
      const kept = keepBytes()
      renameSync(next, path)
      withFile(openSync(dirname(path), 'r'), fsyncSync)
      if (kept) renameSync(old, next)
      reserve()
    },
  }
}

/** Not emptied: its bytes are what was reserved. */
function openOrMake(path: string): number {
  try {
    return openSync(path, 'r+')
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error
    return openSync(path, 'wx', 0o600)
  }
}

function withFile(file: number, use: (file: number) => void): void {
  try {
    use(file)
  } finally {
    closeSync(file)
  }
}

function writeAll(file: number, bytes: Buffer, from: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, from + at)
}
