import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { between, type Clock, type Millis, millis, sleep } from '@understudy/shared/core/time'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import type { PrimaryMessage } from '@understudy/shared/protocol/replication-messages'
import { hashPages, pageCount } from './page-hash.ts'
import { parentsAreDirectories, READ_FLAGS, type StateRoots, statOf } from './state-files.ts'
import { type Entry, type Key, keyOf, type ReadonlyTree, splitKey } from './state-tree.ts'

/** Read and compared at once. */
const CHUNK_BYTES = 4 * 1024 * 1024
const CHUNK_RANGES = 256
const RANGE_BYTES = 256 * 1024
/** The first comparison, right after the full sync, takes at least one part in this many of the time. */
const FIRST_SHARE = 4
/** Between two comparisons nothing is read for this long, or for a whole period where that is less. */
const REST = 1000
const ANSWER_TIMEOUT = 60_000

/** How far the comparison of both disks is. */
export interface Verified {
  /** Times that all files were read on both sides and found equal, or healed. */
  readonly passes: number
  readonly files: number
  readonly bytes: number
  /** Ranges that differed although everything had arrived; each was sent again. */
  readonly mismatches: number
}

/** Reads what both disks hold, piece by piece, and compares SHA-256. */
export interface Verification {
  readonly verified: Verified
  run(signal: AbortSignal): Promise<void>
  onAnswer(id: number, equal: boolean): void
}

export interface VerificationPace {
  /** From the beginning of one comparison of everything to that of the next, at least. */
  readonly every: Millis
  /** One part in this many of the time. */
  readonly share: number
}

interface VerificationParts {
  readonly ours: ReadonlyTree
  readonly theirs: ReadonlyTree
  readonly roots: StateRoots
  readonly clock: Clock
  readonly pace: VerificationPace
  /** Resolves once nothing is being put into batches at this moment. */
  readonly quiet: (signal: AbortSignal) => Promise<void>
  readonly isDirty: (key: Key) => boolean
  /** Number of the last batch. */
  readonly seq: () => number
  readonly say: (message: PrimaryMessage) => void
  /** What is on our own disk is not what the tree says: it changed without a trace. */
  readonly onUnseen: (key: Key) => void
  /** The replica's disk differs. */
  readonly onMismatch: (keys: readonly Key[]) => void
}

interface Range {
  readonly key: Key
  readonly entry: Entry
  readonly offset: number
  readonly length: number
}

const buffer = Buffer.allocUnsafeSlow(RANGE_BYTES)

export function createVerification(parts: VerificationParts): Verification {
  const { theirs, clock, pace, quiet, isDirty, say, onMismatch } = parts
  const verified = { passes: 0, files: 0, bytes: 0, mismatches: 0 }
  const answers = new Map<number, (equal: boolean) => void>()
  let ids = 0

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Before the replica has a first copy there would be nothing to compare.
      await quiet(signal)
      const started = clock.mono()
      await pass(signal)
      verified.passes += 1
      const rest = pace.every - between(started, clock.mono())
      await sleep(clock, millis(Math.max(rest, Math.min(REST, pace.every))), signal)
    }
  }

  async function pass(signal: AbortSignal): Promise<void> {
    for (const chunk of chunksOf(theirs)) {
      const started = clock.mono()
      await quiet(signal)
      await compare(chunk, signal)
      const share = verified.passes === 0 ? Math.min(FIRST_SHARE, pace.share) : pace.share
      await sleep(clock, pauseAfter(between(started, clock.mono()), share), signal)
    }
  }

  async function compare(chunk: readonly Range[], signal: AbortSignal): Promise<void> {
    const hash = createHash('sha256')
    const ranges: Range[] = []
    for (const range of chunk) {
      if (isDirty(range.key) || !readInto(hash, range, parts)) continue
      ranges.push(range)
      if (range.length > RANGE_BYTES / 4) await new Promise(setImmediate)
    }
    // What was changed meanwhile is compared with the next pass.
    if (ranges.length === 0 || ranges.some(changed)) return
    ids += 1
    const id = ids
    say({
      type: 'verify',
      id,
      seq: parts.seq(),
      sha256: hash.digest('hex'),
      ranges: ranges.map(({ key, offset, length }) => {
        const { root, path } = splitKey(key)
        return [root, path, offset, length]
      }),
    })
    const equal = await answer(id, signal)
    verified.files += new Set(ranges.map(({ key }) => key)).size
    verified.bytes += ranges.reduce((sum, { length }) => sum + length, 0)
    if (equal !== false || ranges.some(changed)) return
    verified.mismatches += 1
    onMismatch([...new Set(ranges.map(({ key }) => key))])
  }

  const changed = ({ key, entry }: Range): boolean => theirs.get(key) !== entry || isDirty(key)

  /** undefined when none has come. */
  async function answer(id: number, signal: AbortSignal): Promise<boolean | undefined> {
    const given = new Promise<boolean>((resolve) => answers.set(id, resolve))
    const late = new AbortController()
    try {
      const none = sleep(clock, millis(ANSWER_TIMEOUT), AbortSignal.any([signal, late.signal]))
      return await Promise.race([given, none.then(() => undefined)])
    } finally {
      late.abort()
      answers.delete(id)
    }
  }

  return {
    verified,
    run,
    onAnswer: (id, equal) => answers.get(id)?.(equal),
  }
}

const pauseAfter = (took: number, share: number): Millis => millis(Math.max(took * (share - 1), 5))

/** All files, cut into ranges that fit the buffer, several to a chunk. */
function* chunksOf(tree: ReadonlyTree): Generator<Range[]> {
  let chunk: Range[] = []
  let bytes = 0
  for (const key of [...tree.keys()])
    for (const range of rangesOf(key, tree)) {
      chunk.push(range)
      bytes += range.length
      if (bytes < CHUNK_BYTES && chunk.length < CHUNK_RANGES) continue
      yield chunk
      chunk = []
      bytes = 0
    }
  if (chunk.length > 0) yield chunk
}

/** Of an empty file, and of a further name of a file, it is only compared whether there is one. */
function* rangesOf(key: Key, tree: ReadonlyTree): Generator<Range> {
  const named = tree.get(key)
  if (named?.kind !== 'file' && named?.kind !== 'link') return
  if (named.kind === 'link' || named.size === 0) yield { key, entry: named, offset: 0, length: 0 }
  for (let offset = 0; ; offset += RANGE_BYTES) {
    const entry = tree.file(key)
    if (!entry || offset >= entry.size) return
    yield { key, entry, offset, length: Math.min(RANGE_BYTES, entry.size - offset) }
  }
}

/** Adds what our disk holds to the hash if that is what was sent; says so when it is not even what was seen. */
function readInto(
  hash: ReturnType<typeof createHash>,
  { key, entry, offset, length }: Range,
  { ours, roots, onUnseen }: VerificationParts,
): boolean {
  const bytes = buffer.subarray(0, length)
  if (!readRange(roots, key, bytes, offset)) return false
  const found = new BigUint64Array(pageCount(length))
  hashPages(bytes, found, 0)
  const first = offset / PAGE_BYTES
  if (entry.kind !== 'file' || found.every((page, index) => page === entry.pages[first + index])) {
    hash.update(bytes)
    return true
  }
  const known = ours.file(key)
  if (known && !known.unread && found.some((page, index) => page !== known.pages[first + index]))
    onUnseen(key)
  return false
}

/** Fills `bytes` from a regular file below the roots; false where that is not to be had. */
function readRange(roots: StateRoots, key: Key, bytes: Uint8Array, offset: number): boolean {
  let fd: number
  try {
    const path = roots.pathOf(key)
    if (statOf(path)?.kind !== 'file' || !parentsAreDirectories(roots, key)) return false
    fd = openSync(path, READ_FLAGS)
  } catch {
    // Gone or unreadable: the next look says so.
    return false
  }
  try {
    return readSync(fd, bytes, 0, bytes.length, offset) === bytes.length
  } catch {
    return false
  } finally {
    closeSync(fd)
  }
}

/**
 * The replica's side: the SHA-256 of parts of files as they are on disk, one after another; undefined when a part is
 * not there.
 */
export async function digestOfRanges(
  ranges: readonly (readonly [root: number, path: string, offset: number, length: number])[],
  roots: StateRoots,
): Promise<string | undefined> {
  const hash = createHash('sha256')
  for (const [root, path, offset, length] of ranges) {
    if (length > RANGE_BYTES) return undefined
    const bytes = buffer.subarray(0, length)
    if (!readRange(roots, keyOf(root, path), bytes, offset)) return undefined
    hash.update(bytes)
    if (length > RANGE_BYTES / 4) await new Promise(setImmediate)
  }
  return hash.digest('hex')
}
