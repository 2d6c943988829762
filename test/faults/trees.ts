import { once } from 'node:events'
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs'
import { Worker } from 'node:worker_threads'

/** How two directories differ, byte by byte; written without anything of the product. */
export interface TreeComparison {
  readonly entries: number
  readonly bytes: number
  /** The first few differences, each as one sentence. */
  readonly differences: readonly string[]
}

const MAX_DIFFERENCES = 10
/** Of WebAssembly, whose memory begins at a page of the machine: what is read directly has to. TypeScript knows it in browsers only. */
const WASM_PAGE = 64 * 1024
const { WebAssembly } = globalThis as unknown as {
  readonly WebAssembly: {
    readonly Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer }
  }
}
const BLOCK = 16 * WASM_PAGE

/**
 * Names, types, modes, owners, sizes, link targets and contents below both. Times and inode numbers may differ, and so may names
 * that match `ignored`.
 */
export function compareTrees(first: string, second: string, ignored?: RegExp): TreeComparison {
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
    const at = left.isFile() ? firstDifference(a, b, left.size, flagsFor(left, right)) : undefined
    if (at !== undefined) differs(name, `another byte at ${at}`)
  }

  const wanted = (directory: Buffer): Map<string, Buffer> =>
    new Map([...namesIn(directory)].filter(([name]) => !ignored?.test(name)))

  function compareDirectory(a: Buffer, b: Buffer, name: Buffer): void {
    const there = wanted(b)
    for (const [key, entry] of wanted(a)) {
      const path = below(name, entry)
      if (there.delete(key)) compareEntry(below(a, entry), below(b, entry), path)
      else differs(path, 'missing in the second')
    }
    for (const entry of there.values()) differs(below(name, entry), 'missing in the first')
  }

  compareDirectory(Buffer.from(first), Buffer.from(second), Buffer.alloc(0))
  return { entries, bytes, differences }
}

/** The same in a thread of its own: the network of the faults goes on meanwhile. */
export async function compareLargeTrees(...trees: Parameters<typeof compareTrees>): Promise<TreeComparison> {
  const thread = new Worker(new URL('./trees-thread.ts', import.meta.url), { workerData: trees })
  const [comparison] = await once(thread, 'message')
  return comparison as TreeComparison
}

const SLASH = Buffer.from('/')
const below = (directory: Buffer, name: Buffer): Buffer =>
  directory.length === 0 ? name : Buffer.concat([directory, SLASH, name])
const namesIn = (directory: Buffer): Map<string, Buffer> =>
  new Map(readdirSync(directory, 'buffer').map((name) => [name.toString('latin1'), name]))
const printable = (name: Buffer): string => JSON.stringify(name.toString('utf8'))

/** With O_DIRECT holes do not fill the page cache with zeros, which takes seconds for each GiB. */
const flagsFor = (...files: readonly Stats[]): number =>
  files.every(({ size, blocks }) => size - blocks * 512 > 64 * 1024 * 1024) ? constants.O_DIRECT : 0

const room = (): Uint8Array => new Uint8Array(new WebAssembly.Memory({ initial: BLOCK / WASM_PAGE }).buffer)
const [one, other] = [room(), room()]

/** Holes are read as zeros, which is what they are. */
function firstDifference(a: Buffer, b: Buffer, size: number, flags: number): number | undefined {
  const [left, right] = [openSync(a, flags), openSync(b, flags)]
  try {
    for (let at = 0; at < size; at += BLOCK) {
      const length = Math.min(BLOCK, size - at)
      const got = [readSync(left, one, 0, BLOCK, at), readSync(right, other, 0, BLOCK, at)] as const
      if (got[0] !== got[1] || got[0] < length) return at + Math.min(...got)
      if (Buffer.compare(one.subarray(0, length), other.subarray(0, length)) === 0) continue
      for (let index = 0; index < length; index += 1) if (one[index] !== other[index]) return at + index
    }
    return undefined
  } finally {
    closeSync(left)
    closeSync(right)
  }
}
