import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { type Op, opBytes, PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { hashPages, resizePages } from './page-hash.ts'
import { READ_FLAGS, type StateRoots } from './state-files.ts'
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

/** A batch is closed once its body reaches this. */
const BATCH_BYTES = 1024 * 1024
/** Neighbouring pages are read and sent together up to this. */
const RUN_PAGES = 64
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
}

/**
 * Turns names that may differ into batches of ops, reading the content as it goes. Names that turn out to be equal
 * produce nothing.
 *
 * A file that goes on in another batch is named there again: what a batch writes needs nothing from the one before,
 * which the replica's journal may have dropped by then, and its time is set after every write.
 */
export function* batchesFor(keys: readonly Key[], source: BatchSource): Generator<Op[]> {
  let ops: Op[] = []
  let bytes = 0
  let file: Op | undefined
  for (const op of opsFor(keys, source)) {
    // What its first batch wrote stays.
    if (op.kind === 'file') file = { ...op, fresh: false }
    if (op.kind === 'write' && ops.length === 0 && file) ops.push(file)
    ops.push(op)
    bytes += opBytes(op)
    if (bytes < BATCH_BYTES) continue
    yield ops
    ops = []
    bytes = 0
  }
  if (ops.length > 0) yield ops
}

/** Removals first, then what is there, then further names of it. */
function* opsFor(keys: readonly Key[], source: BatchSource): Generator<Op> {
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

function* fileOps(key: Key, ours: FileEntry, source: BatchSource): Generator<Op> {
  const { theirs, roots, xattrs, onUnreadable } = source
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
    const size = Math.min(entry.size, fstatSync(fd).size)
    if (!before) theirs.remove(key)
    const sent: FileEntry = {
      kind: 'file',
      meta: entry.meta,
      size,
      pages: resizePages(before?.pages ?? NO_PAGES, before?.size ?? 0, size),
    }
    theirs.set(key, sent)
    yield { kind: 'file', ...splitKey(key), meta: sent.meta, size, fresh: !before }
    // Compared only now: a change of size makes pages unknown that looked equal.
    yield* pageOps(key, fd, sent, differingPages(entry, sent))
  } catch (error) {
    onUnreadable(key, messageOf(error))
  } finally {
    closeSync(fd)
  }
}

function* pageOps(key: Key, fd: number, sent: FileEntry, pages: readonly number[]): Generator<Op> {
  for (let index = 0; index < pages.length; ) {
    const first = pages[index] ?? 0
    let count = 1
    while (count < RUN_PAGES && pages[index + count] === first + count) count += 1
    index += count
    const offset = first * PAGE_BYTES
    const length = Math.min(count * PAGE_BYTES, sent.size - offset)
    if (length <= 0) return
    const bytes = Buffer.allocUnsafeSlow(length)
    const got = readSync(fd, bytes, 0, length, offset)
    const read = bytes.subarray(0, got)
    hashPages(read, sent.pages, first)
    if (got > 0) yield { kind: 'write', ...splitKey(key), offset, bytes: read }
  }
}
