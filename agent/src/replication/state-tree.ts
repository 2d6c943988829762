import { createHash } from 'node:crypto'
import type { ManifestEntry, Metadata, Op } from '@understudy/shared/protocol/replication'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { pageCount } from './page-hash.ts'

/** One name below a state directory, with everything that both ends must agree on. */
export type Entry =
  | { readonly kind: 'dir'; readonly meta: Metadata }
  | { readonly kind: 'symlink'; readonly meta: Metadata; readonly target: string }
  | FileEntry

export interface FileEntry {
  readonly kind: 'file'
  readonly meta: Metadata
  readonly size: number
  /** One hash per page of 4 KiB; longer than needed where the file has shrunk. */
  readonly pages: BigUint64Array
}

/** `<root>/<path>`, where `path` is latin1 for bytes; the root itself is `<root>/`. */
export type Key = string

export const keyOf = (root: number, path: string): Key => `${root}/${path}`

export function splitKey(key: Key): { root: number; path: string } {
  const slash = key.indexOf('/')
  return { root: Number(key.slice(0, slash)), path: key.slice(slash + 1) }
}

const sameMeta = (a: Metadata, b: Metadata): boolean =>
  a.mode === b.mode && a.uid === b.uid && a.gid === b.gid && a.mtimeMicros === b.mtimeMicros

/** What has to be sent so that a replica that has `theirs` gets `ours`. */
export interface Difference {
  /** The entry itself: kind, size, metadata or target. */
  readonly entry: boolean
  /** Pages of a file whose content differs, ascending. */
  readonly pages: readonly number[]
}

const SAME: Difference = { entry: false, pages: [] }

export function differenceOf(ours: Entry, theirs: Entry | undefined): Difference {
  if (!theirs || theirs.kind !== ours.kind)
    return { entry: true, pages: ours.kind === 'file' ? allPages(ours) : [] }
  const entry = !sameMeta(ours.meta, theirs.meta)
  if (ours.kind === 'dir') return entry ? { entry, pages: [] } : SAME
  if (ours.kind === 'symlink')
    return { entry: entry || theirs.kind !== 'symlink' || theirs.target !== ours.target, pages: [] }
  if (theirs.kind !== 'file') return SAME
  const pages: number[] = []
  const theirCount = pageCount(theirs.size)
  for (let page = 0, count = pageCount(ours.size); page < count; page += 1)
    if (page >= theirCount || ours.pages[page] !== theirs.pages[page]) pages.push(page)
  return { entry: entry || ours.size !== theirs.size || pages.length > 0, pages }
}

const allPages = (file: FileEntry): number[] =>
  Array.from({ length: pageCount(file.size) }, (_, page) => page)

/** Bytes of `file` that `pages` cover. */
export const bytesOfPages = (file: FileEntry, pages: readonly number[]): number =>
  pages.reduce((sum, page) => sum + Math.min(PAGE_BYTES, Math.max(file.size - page * PAGE_BYTES, 0)), 0)

/** Room for at least `count` pages, with the old ones kept. */
export function withRoom(pages: BigUint64Array, count: number): BigUint64Array {
  if (pages.length >= count) return pages
  const larger = new BigUint64Array(Math.max(count, Math.min(pages.length * 2, pages.length + 65_536)))
  larger.set(pages)
  return larger
}

/**
 * The pages of a file that gets another size. Nothing is known of those that the change touches: what was there
 * before a file shrank must not count as known when it has grown again. Both ends forget the same ones.
 */
export function resizedPages(before: FileEntry | undefined, size: number): BigUint64Array {
  const pages = withRoom(before?.pages ?? new BigUint64Array(0), pageCount(size))
  if (before && before.size !== size)
    pages.fill(0n, Math.floor(Math.min(before.size, size) / PAGE_BYTES), pageCount(size))
  return pages
}

/**
 * SHA-256 over every name, its metadata and its page hashes, in order of name: equal on both ends exactly when the
 * trees are.
 */
export function treeDigest(tree: ReadonlyMap<Key, Entry>): string {
  const hash = createHash('sha256')
  for (const key of [...tree.keys()].sort()) {
    const entry = tree.get(key)
    if (!entry) continue
    const { mode, uid, gid, mtimeMicros } = entry.meta
    hash.update(`${entry.kind}\0${key}\0${mode}\0${uid}\0${gid}\0${mtimeMicros}\0`, 'latin1')
    if (entry.kind === 'symlink') hash.update(`${entry.target}\0`, 'latin1')
    if (entry.kind === 'file') {
      hash.update(`${entry.size}\0`)
      const { pages } = entry
      hash.update(new Uint8Array(pages.buffer, pages.byteOffset, pageCount(entry.size) * 8))
    }
  }
  return hash.digest('hex')
}

/** Pages of one file per manifest entry, so that an entry always fits a frame. */
const PAGES_PER_ENTRY = 65_536

export function* manifestOf(tree: ReadonlyMap<Key, Entry>): Generator<ManifestEntry> {
  for (const [key, entry] of tree) {
    const name = splitKey(key)
    if (entry.kind !== 'file') {
      yield { ...entry, ...name }
      continue
    }
    const count = pageCount(entry.size)
    for (let pageFrom = 0; pageFrom === 0 || pageFrom < count; pageFrom += PAGES_PER_ENTRY)
      yield {
        kind: 'file',
        ...name,
        meta: entry.meta,
        size: entry.size,
        pageFrom,
        pages: entry.pages.subarray(pageFrom, Math.min(pageFrom + PAGES_PER_ENTRY, count)),
      }
  }
}

export function addToTree(tree: Map<Key, Entry>, entry: ManifestEntry): void {
  const key = keyOf(entry.root, entry.path)
  if (entry.kind === 'dir') tree.set(key, { kind: 'dir', meta: entry.meta })
  else if (entry.kind === 'symlink')
    tree.set(key, { kind: 'symlink', meta: entry.meta, target: entry.target })
  else {
    const known = tree.get(key)
    const pages =
      entry.pageFrom > 0 && known?.kind === 'file' ? known.pages : new BigUint64Array(pageCount(entry.size))
    pages.set(entry.pages, entry.pageFrom)
    tree.set(key, { kind: 'file', meta: entry.meta, size: entry.size, pages })
  }
}

/** The op that brings everything but content to `entry`. */
export function entryOp(key: Key, entry: Entry): Op {
  const name = splitKey(key)
  return entry.kind === 'file'
    ? { kind: 'file', ...name, meta: entry.meta, size: entry.size }
    : { ...entry, ...name }
}

/** Removes `key` and everything below it. */
export function removeFromTree(tree: Map<Key, Entry>, key: Key): void {
  tree.delete(key)
  const below = key.endsWith('/') ? key : `${key}/`
  for (const other of tree.keys()) if (other.startsWith(below)) tree.delete(other)
}
