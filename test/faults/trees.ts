import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'

/** How two directories differ, byte by byte; written without anything of the product. */
export interface TreeComparison {
  readonly entries: number
  readonly bytes: number
  /** The first few differences, each as one sentence. */
  readonly differences: readonly string[]
}

const MAX_DIFFERENCES = 10
const BLOCK = 256 * 1024

/** Names, types, modes, owners, sizes, link targets and contents below both. Times and inode numbers may differ. */
export function compareTrees(first: string, second: string): TreeComparison {
  const differences: string[] = []
  let entries = 0
  let bytes = 0
  const differs = (name: Buffer, what: string) => {
    if (differences.length < MAX_DIFFERENCES) differences.push(`${printable(name)}: ${what}`)
  }

  function compareEntry(a: Buffer, b: Buffer, name: Buffer): void {
    entries += 1
    const [left, right] = [lstatSync(a), lstatSync(b)]
    if ((left.mode & 0o170000) !== (right.mode & 0o170000)) return differs(name, 'of another type')
    if (left.mode !== right.mode)
      differs(name, `mode ${(left.mode & 0o7777).toString(8)} and ${(right.mode & 0o7777).toString(8)}`)
    if (left.uid !== right.uid || left.gid !== right.gid) differs(name, 'of another owner')
    if (left.isDirectory()) return compareDirectory(a, b, name)
    if (left.isSymbolicLink()) {
      if (!readlinkSync(a, 'buffer').equals(readlinkSync(b, 'buffer'))) differs(name, 'leads elsewhere')
      return
    }
    if (left.size !== right.size) return differs(name, `${left.size} and ${right.size} bytes`)
    bytes += left.size
    const at = left.isFile() ? firstDifference(a, b, left.size) : undefined
    if (at !== undefined) differs(name, `another byte at ${at}`)
  }

  function compareDirectory(a: Buffer, b: Buffer, name: Buffer): void {
    const there = namesIn(b)
    for (const [key, entry] of namesIn(a)) {
      const path = below(name, entry)
      if (there.delete(key)) compareEntry(below(a, entry), below(b, entry), path)
      else differs(path, 'missing in the second')
    }
    for (const entry of there.values()) differs(below(name, entry), 'missing in the first')
  }

  compareDirectory(Buffer.from(first), Buffer.from(second), Buffer.alloc(0))
  return { entries, bytes, differences }
}

const SLASH = Buffer.from('/')
const below = (directory: Buffer, name: Buffer): Buffer =>
  directory.length === 0 ? name : Buffer.concat([directory, SLASH, name])
const namesIn = (directory: Buffer): Map<string, Buffer> =>
  new Map(readdirSync(directory, 'buffer').map((name) => [name.toString('latin1'), name]))
const printable = (name: Buffer): string => JSON.stringify(name.toString('utf8'))

/** Holes are read as zeros, which is what they are; long ones at the cost of reading them once. */
function firstDifference(a: Buffer, b: Buffer, size: number): number | undefined {
  const [left, right] = [openSync(a, 'r'), openSync(b, 'r')]
  const [one, other] = [Buffer.alloc(BLOCK), Buffer.alloc(BLOCK)]
  try {
    for (let at = 0; at < size; at += BLOCK) {
      const length = Math.min(BLOCK, size - at)
      const got = [readSync(left, one, 0, length, at), readSync(right, other, 0, length, at)] as const
      if (got[0] !== got[1]) return at + Math.min(...got)
      if (one.compare(other, 0, got[1], 0, got[0]) === 0) continue
      for (let index = 0; index < length; index += 1) if (one[index] !== other[index]) return at + index
    }
    return undefined
  } finally {
    closeSync(left)
    closeSync(right)
  }
}
