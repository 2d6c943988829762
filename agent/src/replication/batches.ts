import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import {
  appendOp,
  appendWrite,
  HEADER_BYTES,
  type Op,
  PAGE_BYTES,
  Writer,
} from '@understudy/shared/protocol/replication'
import { type BufferPool, createBufferPool } from './buffer-pool.ts'
import { hashPages, pageCount, resizePages } from './page-hash.ts'
import { READ_FLAGS, type Stat, type StateRoots, toStat } from './state-files.ts'
import {
  differingPages,
  type Entry,
  entryOp,
  type FileEntry,
  type Key,
  parentOf,
  type ReadonlyTree,
  type StateTree,
  sameEntry,
  splitKey,
} from './state-tree.ts'
import type { WholeRead } from './tree-reader.ts'

/** A batch is closed once its body reaches this. */
const BATCH_BYTES = 512 * 1024
/** Neighbouring pages are read and sent together up to this. */
const RUN_PAGES = 64
/** Of a file without anything to send so much is read at once: 3 to 10 ms. */
const READ_BYTES = 8 * 1024 * 1024
const NO_PAGES = new BigUint64Array(0)
/** The name is something else by now: the next look says what. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])

export interface BatchSource {
  readonly ours: ReadonlyTree
  /** What the replica has; kept up to date with what it will have. */
  readonly theirs: StateTree
  readonly roots: StateRoots
  /** The replica can set extended attributes; without, they are left out. */
  readonly xattrs: boolean
  /** A name cannot be read; it is left as the replica has it. */
  readonly onUnreadable: (key: Key, why: string) => void
  /** A file that was only seen before has been read whole. */
  readonly onRead?: (key: Key, read: WholeRead) => void
  readonly clock?: Clock
}

/** The body of a batch, in a buffer that has room for a header before it. */
export interface Batch {
  readonly body: Uint8Array
  readonly buffer: Buffer
}

/** A part of a file, read only when there is a place to read it to. */
interface ReadOp {
  readonly kind: 'read'
  readonly root: number
  readonly path: string
  readonly offset: number
  readonly length: number
  readonly into: (room: Uint8Array) => number
}

/** Much was read and there was nothing to send: it is somebody else's turn. */
const PAUSE = { kind: 'pause' } as const
type Step = Op | ReadOp | typeof PAUSE

/** The same as `batchesFor`, and lets go of the event loop while it reads what need not be sent, such as holes. */
export async function* batchesInTurn(
  keys: readonly Key[],
  source: BatchSource,
  pool?: BufferPool,
): AsyncGenerator<Batch> {
  for (const batch of batchesAndPauses(keys, source, pool)) {
    if (batch) yield batch
    else await new Promise(setImmediate)
  }
}

/**
 * Turns names that may differ into batches, reading the content as it goes. Names that turn out to be equal produce
 * nothing.
 *
 * A file that goes on in another batch is named there again: what a batch writes needs nothing from the one before,
 * which the replica's journal may have dropped by then, and its time is set after every write.
 */
export function* batchesFor(keys: readonly Key[], source: BatchSource, pool?: BufferPool): Generator<Batch> {
  for (const batch of batchesAndPauses(keys, source, pool)) if (batch) yield batch
}

function* batchesAndPauses(
  keys: readonly Key[],
  source: BatchSource,
  pool: BufferPool = createBufferPool(),
): Generator<Batch | undefined> {
  let buffer: Buffer | undefined
  let out = new Writer(new Uint8Array(0))
  let file: Op | undefined
  for (const op of opsFor(keys, source)) {
    if (op.kind === 'pause') {
      yield undefined
      continue
    }
    // What its first batch wrote stays.
    if (op.kind === 'file') file = { ...op, fresh: false }
    if (!buffer) {
      buffer = pool.take()
      out = new Writer(buffer.subarray(HEADER_BYTES))
      if (op.kind === 'read' && file) appendOp(out, file)
    }
    if (op.kind === 'read') appendWrite(out, op, op.offset, op.length, op.into)
    else appendOp(out, op)
    if (out.at < BATCH_BYTES) continue
    yield { buffer, body: buffer.subarray(HEADER_BYTES, HEADER_BYTES + out.at) }
    buffer = undefined
  }
  if (buffer) yield { buffer, body: buffer.subarray(HEADER_BYTES, HEADER_BYTES + out.at) }
}

/** Removals first, then what is there, then further names of it. */
function* opsFor(keys: readonly Key[], source: BatchSource): Generator<Step> {
  const { ours, theirs } = source
  const sorted = [...keys].sort()
  for (const key of sorted) {
    if (ours.has(key) || !theirs.has(key) || parentIsGone(key, ours, theirs)) continue
    theirs.remove(key)
    yield { kind: 'remove', ...splitKey(key) }
  }
  const links: Key[] = []
  for (const key of sorted) {
    const entry = ours.get(key)
    if (entry?.kind === 'link') links.push(key)
    else if (entry?.kind === 'file') yield* fileOps(key, entry, source)
    else if (entry) yield* entryOps(key, entry, source)
  }
  for (const key of links) {
    const entry = ours.get(key)
    // Its file may have become unreadable, or have vanished: then the next look knows more.
    if (entry?.kind === 'link' && theirs.file(entry.target)) yield* entryOps(key, entry, source)
  }
}

/** Its directory is removed as a whole. */
function parentIsGone(key: Key, ours: ReadonlyTree, theirs: ReadonlyTree): boolean {
  const parent = parentOf(key)
  return parent !== key && !ours.has(parent) && theirs.has(parent)
}

function* entryOps(
  key: Key,
  entry: Exclude<Entry, FileEntry>,
  { theirs, xattrs }: BatchSource,
): Generator<Op> {
  const wanted = asSent(entry, xattrs)
  const before = theirs.get(key)
  if (before && sameEntry(wanted, before)) return
  if (before && before.kind !== wanted.kind) theirs.remove(key)
  theirs.set(key, wanted)
  yield entryOp(key, wanted)
}

/** An entry in the form in which this replica gets it. */
export const asSent = <E extends Entry>(entry: E, xattrs: boolean): E =>
  xattrs || entry.kind === 'link' || entry.meta.xattrs === ''
    ? entry
    : { ...entry, meta: { ...entry.meta, xattrs: '' } }

function* fileOps(key: Key, ours: FileEntry, given: BatchSource): Generator<Step> {
  const { theirs, roots, xattrs } = given
  let isRead = true
  const onUnreadable = (name: Key, why: string) => {
    isRead = false
    given.onUnreadable(name, why)
  }
  const source = { ...given, onUnreadable }
  const entry = asSent(ours, xattrs)
  const before = theirs.file(key)
  if (before && sameEntry(entry, before) && differingPages(entry, before).length === 0) return
  let fd: number
  try {
    fd = openSync(roots.pathOf(key), READ_FLAGS)
  } catch (error) {
    if (!GONE.has(systemCodeOf(error) ?? '')) onUnreadable(key, messageOf(error))
    return
  }
  try {
    // Where it has grown since the last look the rest comes later; where it has shrunk there is no more to send.
    const stat = toStat(fstatSync(fd, { bigint: true }))
    const size = Math.min(entry.size, stat.size)
    if (!before) theirs.remove(key)
    const sent: FileEntry = {
      kind: 'file',
      meta: entry.meta,
      size,
      pages: resizePages(before?.pages ?? NO_PAGES, before?.size ?? 0, size),
    }
    theirs.set(key, sent)
    yield { kind: 'file', ...splitKey(key), meta: sent.meta, size, fresh: !before }
    if (ours.unread) yield* unreadOps(key, fd, sent, stat, source)
    // Compared only now: a change of size makes pages unknown that looked equal.
    else yield* pageOps(key, fd, sent, differingPages(entry, sent), source)
  } catch (error) {
    onUnreadable(key, messageOf(error))
  } finally {
    closeSync(fd)
  }
  if (isRead || before) return
  // The replica would have zeros where nobody could read: it has nothing instead, as before.
  theirs.remove(key)
  yield { kind: 'remove', ...splitKey(key) }
}

function* pageOps(
  key: Key,
  fd: number,
  sent: FileEntry,
  pages: readonly number[],
  { onUnreadable }: BatchSource,
): Generator<ReadOp> {
  const name = splitKey(key)
  for (let index = 0; index < pages.length; ) {
    const first = pages[index] ?? 0
    let count = 1
    while (count < RUN_PAGES && pages[index + count] === first + count) count += 1
    index += count
    const offset = first * PAGE_BYTES
    const length = Math.min(count * PAGE_BYTES, sent.size - offset)
    if (length <= 0) return
    const into = (room: Uint8Array) => {
      try {
        const got = readSync(fd, room, 0, length, offset)
        hashPages(room.subarray(0, got), sent.pages, first)
        return got
      } catch (error) {
        onUnreadable(key, messageOf(error))
        return 0
      }
    }
    yield { kind: 'read', ...name, offset, length, into }
  }
}

const run = Buffer.allocUnsafe(RUN_PAGES * PAGE_BYTES)

/** All of a file whose content nobody has looked at yet, but for what a replica has already: pages of zeros. */
function* unreadOps(
  key: Key,
  fd: number,
  sent: FileEntry,
  stat: Stat,
  { onRead, clock }: BatchSource,
): Generator<ReadOp | typeof PAUSE> {
  const began = clock && { startedWall: clock.now(), started: clock.mono() }
  const name = splitKey(key)
  const found = new BigUint64Array(RUN_PAGES)
  for (let at = 0; at < sent.size; at += run.length) {
    const got = readSync(fd, run, 0, Math.min(run.length, sent.size - at), at)
    if (got === 0) return
    hashPages(run.subarray(0, got), found, 0)
    const first = at / PAGE_BYTES
    const differs = (page: number) => found[page] !== sent.pages[first + page]
    for (const [from, to] of stretches(pageCount(got), differs)) {
      const bytes = run.subarray(from * PAGE_BYTES, Math.min(to * PAGE_BYTES, got))
      sent.pages.set(found.subarray(from, to), first + from)
      const into = (room: Uint8Array) => {
        room.set(bytes)
        return bytes.length
      }
      yield { kind: 'read', ...name, offset: at + from * PAGE_BYTES, length: bytes.length, into }
    }
    if ((at + run.length) % READ_BYTES === 0) yield PAUSE
  }
  if (began && stat.size === sent.size) onRead?.(key, { ...began, stat, pages: sent.pages.slice() })
}

/** Runs of numbers below `count` for which something holds: from, and up to but not with. */
function* stretches(count: number, holds: (number: number) => boolean): Generator<[number, number]> {
  for (let from = 0; from < count; from += 1) {
    if (!holds(from)) continue
    let to = from + 1
    while (to < count && holds(to)) to += 1
    yield [from, to]
    from = to
  }
}
