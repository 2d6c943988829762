import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { systemCodeOf } from '@understudy/shared/core/app-error'
import { type Op, opBytes, PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { hashPages } from './page-hash.ts'
import { READ_FLAGS, type StateRoots } from './state-files.ts'
import {
  differenceOf,
  type Entry,
  entryOp,
  type FileEntry,
  type Key,
  keyOf,
  removeFromTree,
  resizedPages,
  splitKey,
} from './state-tree.ts'

/** A batch is closed once its body reaches this. */
const BATCH_BYTES = 1024 * 1024
/** Neighbouring pages are read and sent together up to this. */
const RUN_PAGES = 64

/**
 * Turns names that may differ into batches of ops, reading the content as it goes, and keeps `theirs` up to date with
 * what the replica will have. Names that turn out to be equal produce nothing.
 *
 * A file that goes on in another batch is named there again: what a batch writes needs nothing from the one before,
 * which the replica's journal may have dropped by then, and its time is set after every write.
 */
export function* batchesFor(
  keys: readonly Key[],
  ours: ReadonlyMap<Key, Entry>,
  theirs: Map<Key, Entry>,
  roots: StateRoots,
): Generator<Op[]> {
  let ops: Op[] = []
  let bytes = 0
  let file: Op | undefined
  for (const op of opsFor(keys, ours, theirs, roots)) {
    if (op.kind === 'file') file = op
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

function* opsFor(
  keys: readonly Key[],
  ours: ReadonlyMap<Key, Entry>,
  theirs: Map<Key, Entry>,
  roots: StateRoots,
): Generator<Op> {
  const sorted = [...keys].sort()
  for (const key of sorted) {
    if (ours.has(key) || !theirs.has(key) || parentIsGone(key, ours, theirs)) continue
    removeFromTree(theirs, key)
    yield { kind: 'remove', ...splitKey(key) }
  }
  for (const key of sorted) {
    const entry = ours.get(key)
    if (!entry) continue
    if (!differenceOf(entry, theirs.get(key)).entry) continue
    if (entry.kind === 'file') yield* fileOps(key, entry, theirs, roots)
    else {
      if (theirs.get(key)?.kind !== entry.kind) removeFromTree(theirs, key)
      theirs.set(key, entry)
      yield entryOp(key, entry)
    }
  }
}

/** Its directory is removed as a whole. */
function parentIsGone(key: Key, ours: ReadonlyMap<Key, Entry>, theirs: ReadonlyMap<Key, Entry>): boolean {
  const { root, path } = splitKey(key)
  const slash = path.lastIndexOf('/')
  if (slash < 0) return false
  const parent = keyOf(root, path.slice(0, slash))
  return !ours.has(parent) && theirs.has(parent)
}

function* fileOps(key: Key, entry: FileEntry, theirs: Map<Key, Entry>, roots: StateRoots): Generator<Op> {
  let fd: number
  try {
    fd = openSync(roots.pathOf(key), READ_FLAGS)
  } catch (error) {
    // Vanished since the last look; the next one says so.
    if (systemCodeOf(error) === 'ENOENT' || systemCodeOf(error) === 'ELOOP') return
    throw error
  }
  try {
    // Where it has grown since the last look the rest comes later; where it has shrunk there is no more to send.
    const size = Math.min(entry.size, fstatSync(fd).size)
    const before = theirs.get(key)
    const known = before?.kind === 'file' ? before : undefined
    const sent: FileEntry = {
      kind: 'file',
      meta: entry.meta,
      size,
      pages: resizedPages(known, size),
    }
    if (before && !known) removeFromTree(theirs, key)
    theirs.set(key, sent)
    yield { kind: 'file', ...splitKey(key), meta: sent.meta, size }
    // Compared only now: a change of size makes pages unknown that looked equal.
    yield* pageOps(key, fd, sent, differenceOf(entry, sent).pages)
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
    const bytes = Buffer.allocUnsafe(length)
    const got = readSync(fd, bytes, 0, length, offset)
    const read = bytes.subarray(0, got)
    hashPages(read, sent.pages, first)
    if (got > 0) yield { kind: 'write', ...splitKey(key), offset, bytes: read }
  }
}
