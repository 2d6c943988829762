import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { type ByteRange, dataRanges } from './data-ranges.ts'
import { canSkipHoles, sameHoles } from './holes.ts'
import { fillZeroPages, hashPages, pageCount, withRoom, zeroPageTest } from './page-hash.ts'
import { READ_FLAGS, type Stat, toStat } from './state-files.ts'

/** Read by the event loop itself up to here; more goes through the thread pool in parts. */
const SMALL = 128 * 1024
const PART = 256 * 1024

export interface HashedFile {
  /** As it was before the first byte was read: a change during the reading shows at the next look. */
  readonly stat: Stat
  /** What could be read; less than `stat.size` when the file shrank meanwhile. */
  readonly size: number
  readonly pages: BigUint64Array
}

/** Buffers that nobody reads into at the moment. */
const parts: Buffer[] = []

/**
 * Hashes a file from page `from` on; earlier pages are taken from `pages`. Throws the system's error; ENOENT and
 * ELOOP mean that the name is something else by now.
 */
export async function hashFile(path: Buffer, from: number, pages: BigUint64Array): Promise<HashedFile> {
  const fd = openSync(path, READ_FLAGS)
  let stat: Stat
  try {
    stat = toStat(fstatSync(fd, { bigint: true }))
    // A pipe or a device has taken the name: the next look says so.
    if (stat.kind !== 'file') return { stat, size: 0, pages: new BigUint64Array(0) }
    if (stat.size - from * PAGE_BYTES <= SMALL) return hashSmall(fd, stat, from, pages)
  } finally {
    closeSync(fd)
  }
  const handle = await open(path, READ_FLAGS)
  const part = parts.pop() ?? Buffer.allocUnsafeSlow(PART)
  try {
    return await hashLarge(handle, part, from, pages)
  } finally {
    parts.push(part)
    await handle.close()
  }
}

/**
 * The same for a file whose pages of zeros were holes (holes.ts) when `known` was read: only the others are read again,
 * unless a hole may have been filled since.
 */
export async function hashAgain(
  path: Buffer,
  known: { readonly stat: Stat; readonly pages: BigUint64Array },
): Promise<HashedFile> {
  const handle = await open(path, READ_FLAGS)
  const part = parts.pop() ?? Buffer.allocUnsafeSlow(PART)
  try {
    const stat = toStat(await handle.stat({ bigint: true }))
    if (stat.kind === 'file' && sameHoles(known.stat, stat))
      return await hashAllocated(handle, part, stat, known.pages)
  } finally {
    parts.push(part)
    await handle.close()
  }
  return hashFile(path, 0, new BigUint64Array(0))
}

async function hashAllocated(
  handle: FileHandle,
  part: Buffer,
  stat: Stat,
  known: BigUint64Array,
): Promise<HashedFile> {
  const pages = known.slice()
  const count = pageCount(stat.size)
  const isZero = zeroPageTest(known, stat.size)
  const most = PART / PAGE_BYTES
  for (let first = 0; first < count; first += 1) {
    if (isZero(first)) continue
    let run = 1
    while (run < most && first + run < count && !isZero(first + run)) run += 1
    const at = first * PAGE_BYTES
    const length = Math.min(run * PAGE_BYTES, stat.size - at)
    const got = await readPart(handle, part, at, length)
    hashPages(part.subarray(0, got), pages, first)
    if (got < length) return { stat, size: at + got, pages }
    first += run - 1
  }
  return { stat, size: stat.size, pages }
}

const small = Buffer.allocUnsafe(SMALL)

function hashSmall(fd: number, stat: Stat, from: number, known: BigUint64Array): HashedFile {
  const pages = withRoom(known, pageCount(stat.size))
  let at = from * PAGE_BYTES
  const start = at
  while (at < stat.size) {
    const got = readSync(fd, small, at - start, Math.min(stat.size - at, SMALL - (at - start)), at)
    if (got === 0) break
    at += got
  }
  hashPages(small.subarray(0, Math.max(at - start, 0)), pages, from)
  return { stat, size: Math.min(at, stat.size), pages }
}

async function hashLarge(
  handle: FileHandle,
  part: Buffer,
  from: number,
  known: BigUint64Array,
): Promise<HashedFile> {
  const stat = toStat(await handle.stat({ bigint: true }))
  const pages = withRoom(known, pageCount(stat.size))
  let at = from * PAGE_BYTES
  for (const [begin, end] of await rangesToRead(handle, stat)) {
    const start = Math.max(at, begin - (begin % PAGE_BYTES))
    const until = Math.min(Math.ceil(end / PAGE_BYTES) * PAGE_BYTES, stat.size)
    if (until <= at) continue
    fillZeroPages(pages, at, start)
    at = start
    while (at < until) {
      const length = Math.min(PART, until - at)
      const got = await readPart(handle, part, at, length)
      hashPages(part.subarray(0, got), pages, at / PAGE_BYTES)
      at += got
      // It has become shorter meanwhile.
      if (got < length) return { stat, size: at, pages }
    }
  }
  fillZeroPages(pages, at, stat.size)
  return { stat, size: stat.size, pages }
}

/** Everything but holes, where there are so many that it is worth to find them. */
async function rangesToRead(handle: FileHandle, stat: Stat): Promise<readonly ByteRange[]> {
  const all: readonly ByteRange[] = [[0, stat.size]]
  // The file that is open, whatever its name leads to by now.
  if (!canSkipHoles(`/proc/self/fd/${handle.fd}`, stat)) return all
  return (await dataRanges(handle.fd, stat.size)) ?? all
}

/** Fills the buffer; short only at the end of the file. */
async function readPart(handle: FileHandle, part: Buffer, at: number, length: number): Promise<number> {
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await handle.read(part, filled, length - filled, at + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return filled
}
