import { createCipheriv, hash } from 'node:crypto'
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** The state that the replication benchmark copies: the same bytes for the same seed. */

export const MIB = 1024 * 1024
export const PAGE = 4096

/** An endless row of bytes that looks random and is the same for each seed: AES-128 in counter mode. */
export function byteSource(seed: number | string) {
  const key = hash('sha256', String(seed), 'buffer')
  const cipher = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16, 32))
  const bytes = (length: number): Buffer => cipher.update(Buffer.alloc(length))
  return {
    bytes,
    /** A whole number from 0 to `below` - 1. */
    below: (below: number): number => Math.floor((bytes(4).readUInt32LE() / 2 ** 32) * below),
  }
}
export type ByteSource = ReturnType<typeof byteSource>

/** Fills like a page of a database: a header and cells of text, about half of it random. */
export function databasePages(source: ByteSource, pages: number): Buffer {
  const random = source.bytes((pages * PAGE) / 2)
  const content = Buffer.alloc(pages * PAGE, 'understudy cell: balance 000000 owner none; ')
  for (let at = 0; at < pages; at += 1)
    random.copy(content, at * PAGE + PAGE / 4, (at * PAGE) / 2, ((at + 1) * PAGE) / 2)
  return content
}

export interface TreeSize {
  readonly mib: number
  readonly files: number
}

/**
 * Half of the size in one file, whose first half is like a database and whose second half is random; the other half in
 * `files` small ones, log-normal in size, four of five of them text, in directories of 64.
 * @returns bytes
 */
export function makeTree(directory: string, { mib, files }: TreeSize, seed: number): number {
  const source = byteSource(`tree ${seed}`)
  mkdirSync(directory, { recursive: true })
  const large = Math.floor((mib * MIB) / 2 / (2 * PAGE)) * PAGE
  writePieces(join(directory, 'large.db'), large, (length) => databasePages(source, length / PAGE), 'w')
  writePieces(join(directory, 'large.db'), large, source.bytes, 'a')
  let total = 2 * large
  for (const [index, size] of smallSizes(source, files, (mib * MIB) / 2).entries()) {
    const folder = join(directory, `d${Math.floor(index / 64)}`)
    if (index % 64 === 0) mkdirSync(folder, { recursive: true })
    const content = index % 5 === 0 ? source.bytes(size) : textLines(source, size)
    writePieces(join(folder, `f${index}`), size, () => content, 'w')
    total += size
  }
  return total
}

/** Sizes whose logarithm is normal (σ = 1), scaled so that together they are about `total` bytes. */
export function smallSizes(source: ByteSource, files: number, total: number): readonly number[] {
  const raw = Array.from({ length: files }, () => {
    const radius = Math.sqrt(-2 * Math.log((source.below(1e6) + 1) / 1e6))
    return Math.exp(radius * Math.cos(2 * Math.PI * (source.below(1e6) / 1e6)))
  })
  const sum = raw.reduce((all, value) => all + value, 0)
  return raw.map((value) => Math.max(1, Math.round((value / sum) * total)))
}

/** Records as a log or a document store would hold them. */
function textLines(source: ByteSource, size: number): Buffer {
  const lines: string[] = []
  for (let length = 0; length < size; length += lines.at(-1)?.length ?? 0) {
    const id = source.bytes(8).toString('hex')
    lines.push(
      `{"id":"${id}","at":${source.below(1e9)},"kind":"order","state":"paid","amount":${source.below(1e5)}}\n`,
    )
  }
  return Buffer.from(lines.join('')).subarray(0, size)
}

function writePieces(path: string, size: number, piece: (length: number) => Buffer, flags: 'w' | 'a'): void {
  const file = openSync(path, flags)
  try {
    for (let done = 0; done < size; ) done += writeSync(file, piece(Math.min(4 * MIB, size - done)))
  } finally {
    closeSync(file)
  }
}

/** One file of whole pages, like a database. */
export const makePageFile = (path: string, mib: number, seed: number): void => {
  const source = byteSource(`pages ${seed}`)
  writePieces(path, mib * MIB, (length) => databasePages(source, length / PAGE), 'w')
}

/** Writes one page of a hundred anew, at random places, and 1 MiB more at the end. @returns bytes written */
export function rewrite(path: string, seed: number): number {
  const source = byteSource(`rewrite ${seed}`)
  const { size } = lstatSync(path)
  const pages = Math.max(1, Math.floor(size / PAGE / 100))
  const file = openSync(path, 'r+')
  try {
    for (let count = 0; count < pages; count += 1)
      writeSync(file, databasePages(source, 1), 0, PAGE, source.below(Math.floor(size / PAGE)) * PAGE)
    writeSync(file, databasePages(source, MIB / PAGE), 0, MIB, size)
  } finally {
    closeSync(file)
  }
  return pages * PAGE + MIB
}

/** The first thing in which two trees differ, in words; undefined when they are equal. */
export function firstDifference(left: string, right: string, below = ''): string | undefined {
  const names = readdirSync(join(left, below)).sort()
  const others = readdirSync(join(right, below)).sort()
  if (names.join('\0') !== others.join('\0'))
    return `${below || '.'}: ${names.length} names here, ${others.length} there`
  for (const name of names) {
    const path = join(below, name)
    const stat = lstatSync(join(left, path), { bigint: true })
    const other = lstatSync(join(right, path), { bigint: true })
    if (stat.mode !== other.mode)
      return `${path}: mode ${stat.mode.toString(8)} and ${other.mode.toString(8)}`
    const inside = stat.isDirectory()
      ? firstDifference(left, right, path)
      : fileDifference(join(left, path), join(right, path))
    if (inside !== undefined) return stat.isDirectory() ? inside : `${path}: ${inside}`
  }
  return undefined
}

/** Content, size, and the time of the last change to the microsecond. */
function fileDifference(left: string, right: string): string | undefined {
  const [a, b] = [lstatSync(left, { bigint: true }), lstatSync(right, { bigint: true })]
  if (a.size !== b.size) return `${a.size} and ${b.size} bytes`
  if (a.mtimeNs / 1000n !== b.mtimeNs / 1000n) return `changed at ${a.mtimeNs} and at ${b.mtimeNs} ns`
  const files = [openSync(left, 'r'), openSync(right, 'r')] as const
  const buffers = [Buffer.allocUnsafe(MIB), Buffer.allocUnsafe(MIB)] as const
  try {
    for (let at = 0; at < Number(a.size); at += MIB) {
      const [one, two] = [
        readSync(files[0], buffers[0], 0, MIB, at),
        readSync(files[1], buffers[1], 0, MIB, at),
      ]
      if (buffers[0].compare(buffers[1], 0, two, 0, one) !== 0) return `other bytes from ${at} on`
    }
    return undefined
  } finally {
    for (const file of files) closeSync(file)
  }
}
