import { asSent } from './batches.ts'
import { bytesOfPages, differingPages, type Key, type ReadonlyTree } from './state-tree.ts'

/** Differences are counted exactly up to this many names; more is an estimate by size. */
const COUNTED_NAMES = 1000

/** Bytes of content in `keys` that a replica has otherwise which has `theirs`. */
export function differingBytes(keys: Iterable<Key>, ours: ReadonlyTree, theirs: ReadonlyTree): number {
  let bytes = 0
  let counted = 0
  for (const key of keys) {
    const entry = ours.file(key)
    if (!entry) continue
    counted += 1
    bytes +=
      counted > COUNTED_NAMES ? entry.size : bytesOfPages(entry, differingPages(entry, theirs.file(key)))
  }
  return bytes
}

/** The same as a question, answered exactly. */
export function differsByMoreThan(
  limit: number,
  keys: Iterable<Key>,
  ours: ReadonlyTree,
  theirs: ReadonlyTree,
): boolean {
  let bytes = 0
  for (const key of keys) {
    const entry = ours.file(key)
    if (entry) bytes += bytesOfPages(entry, differingPages(entry, theirs.file(key)))
    if (bytes > limit) return true
  }
  return false
}

export function totalBytes(tree: ReadonlyTree): number {
  let bytes = 0
  for (const entry of tree.values()) if (entry.kind === 'file') bytes += entry.size
  return bytes
}

/** Names with extended attributes. */
export function countXattrs(tree: ReadonlyTree): number {
  let names = 0
  for (const entry of tree.values()) if (asSent(entry, false) !== entry) names += 1
  return names
}
