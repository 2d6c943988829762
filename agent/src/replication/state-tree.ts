import { createHash } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import type { ManifestEntry, Metadata, Op } from '@understudy/shared/protocol/replication'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { pageCount, withRoom } from './page-hash.ts'

/** One name below a state directory, with everything that both ends must agree on. */
export type Entry =
  | { readonly kind: 'dir'; readonly meta: Metadata }
  | { readonly kind: 'symlink'; readonly meta: Metadata; readonly target: string }
  | FileEntry
  /** Another name of the file that `target` names, which is a FileEntry. */
  | { readonly kind: 'link'; readonly target: Key }

export interface FileEntry {
  readonly kind: 'file'
  readonly meta: Metadata
  readonly size: number
  /** One hash per page of 4 KiB; longer than needed where the file has shrunk. */
  readonly pages: BigUint64Array
  /** It was only seen, not read: `pages` is empty. Never so in what a replica has. */
  readonly unread?: true
}

/** `<root>/<path>`, where `path` is latin1 for bytes; the root itself is `<root>/`. */
export type Key = string

export const keyOf = (root: number, path: string): Key => `${root}/${path}`

export function splitKey(key: Key): { root: number; path: string } {
  const slash = key.indexOf('/')
  return { root: Number(key.slice(0, slash)), path: key.slice(slash + 1) }
}

export function parentOf(key: Key): Key {
  const { root, path } = splitKey(key)
  const slash = path.lastIndexOf('/')
  return keyOf(root, slash < 0 ? '' : path.slice(0, slash))
}

/** Every name below the state directories. Knows which names are links to which file. */
export class StateTree extends Map<Key, Entry> {
  readonly #links = new Map<Key, Set<Key>>()

  constructor(entries: Iterable<readonly [Key, Entry]> = []) {
    super()
    for (const [key, entry] of entries) this.set(key, entry)
  }

  override set(key: Key, entry: Entry): this {
    this.#unlink(key)
    if (entry.kind === 'link') {
      const links = this.#links.get(entry.target)
      if (links) links.add(key)
      else this.#links.set(entry.target, new Set([key]))
    }
    return super.set(key, entry)
  }

  override delete(key: Key): boolean {
    this.#unlink(key)
    return super.delete(key)
  }

  #unlink(key: Key): void {
    const before = this.get(key)
    if (before?.kind !== 'link') return
    const links = this.#links.get(before.target)
    links?.delete(key)
    if (links?.size === 0) this.#links.delete(before.target)
  }

  /** Names that are links to this file. */
  linksTo(key: Key): readonly Key[] {
    return [...(this.#links.get(key) ?? [])].sort()
  }

  file(key: Key): FileEntry | undefined {
    const entry = this.get(key)
    return entry?.kind === 'file' ? entry : undefined
  }

  /**
   * Removes `key` and everything below it. A file that has other names lives on under the first of them: both ends
   * of a stream choose the same one.
   */
  remove(key: Key): void {
    const gone = [key]
    if (this.get(key)?.kind === 'dir') {
      const below = key.endsWith('/') ? key : `${key}/`
      for (const other of this.keys()) if (other.startsWith(below) && other !== key) gone.push(other)
    }
    const files = gone.flatMap((name) => {
      const entry = this.file(name)
      return entry && this.#links.has(name) ? [{ name, entry }] : []
    })
    const links = gone.filter((name) => this.get(name)?.kind === 'link')
    for (const name of links) this.delete(name)
    for (const { name, entry } of files) {
      const [heir, ...others] = this.linksTo(name)
      if (heir === undefined) continue
      this.set(heir, entry)
      for (const other of others) this.set(other, { kind: 'link', target: heir })
    }
    for (const name of gone) this.delete(name)
  }
}

export type ReadonlyTree = Pick<
  StateTree,
  'get' | 'has' | 'keys' | 'entries' | 'size' | 'file' | 'linksTo' | 'values' | typeof Symbol.iterator
>

const sameMeta = (a: Metadata, b: Metadata): boolean =>
  a.mode === b.mode &&
  a.uid === b.uid &&
  a.gid === b.gid &&
  a.mtimeMicros === b.mtimeMicros &&
  a.xattrs === b.xattrs

/** Whether everything but the content of files is the same. */
export function sameEntry(a: Entry, b: Entry): boolean {
  if (a.kind === 'link') return b.kind === 'link' && a.target === b.target
  if (b.kind !== a.kind || !sameMeta(a.meta, b.meta)) return false
  if (a.kind === 'symlink') return b.kind === 'symlink' && a.target === b.target
  return a.kind !== 'file' || (b.kind === 'file' && a.size === b.size)
}

const halvesOf = (pages: BigUint64Array): Uint32Array =>
  new Uint32Array(pages.buffer, pages.byteOffset, pages.length * 2)

/** Pages of `ours` that a replica has otherwise which has `theirs`, ascending. */
export function differingPages(ours: FileEntry, theirs: FileEntry | undefined): readonly number[] {
  const count = pageCount(ours.size)
  if (!theirs) return Array.from({ length: count }, (_, page) => page)
  const known = Math.min(count, pageCount(theirs.size), theirs.pages.length)
  // Halves of the hashes: reading a 64-bit one makes an object each time.
  const a = halvesOf(ours.pages)
  const b = halvesOf(theirs.pages)
  const pages: number[] = []
  for (let page = 0; page < known; page += 1)
    if (a[2 * page] !== b[2 * page] || a[2 * page + 1] !== b[2 * page + 1]) pages.push(page)
  for (let page = known; page < count; page += 1) pages.push(page)
  return pages
}

/** Bytes of `file` that `pages` cover. */
export const bytesOfPages = (file: FileEntry, pages: readonly number[]): number =>
  pages.reduce((sum, page) => sum + Math.min(PAGE_BYTES, Math.max(file.size - page * PAGE_BYTES, 0)), 0)

export interface DigestOptions {
  /** Names that are left out. */
  readonly except?: ReadonlySet<Key>
  readonly xattrs?: boolean
}

/**
 * SHA-256 over every name, its metadata and its page hashes, in order of name: equal on both ends exactly when the
 * trees are.
 */
export function treeDigest(tree: ReadonlyTree, options: DigestOptions = {}): string {
  const { except, xattrs: withXattrs = true } = options
  const hash = createHash('sha256')
  for (const key of [...tree.keys()].sort()) {
    const entry = tree.get(key)
    if (!entry || except?.has(key)) continue
    hash.update(`${entry.kind}\0${key}\0`, 'latin1')
    if (entry.kind === 'link') {
      hash.update(`${entry.target}\0`, 'latin1')
      continue
    }
    const { mode, uid, gid, mtimeMicros, xattrs } = entry.meta
    hash.update(`${mode}\0${uid}\0${gid}\0${mtimeMicros}\0`)
    if (withXattrs) hash.update(`${xattrs.length}\0${xattrs}`, 'latin1')
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

export function* manifestOf(entries: Iterable<readonly [Key, Entry]>): Generator<ManifestEntry> {
  for (const [key, entry] of entries) {
    const name = splitKey(key)
    if (entry.kind === 'link') yield { kind: 'link', ...name, target: splitKey(entry.target) }
    else if (entry.kind === 'file') yield* filePartsOf(name, entry)
    else yield { ...entry, ...name }
  }
}

function* filePartsOf(name: { root: number; path: string }, entry: FileEntry): Generator<ManifestEntry> {
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

const NO_PAGES = new BigUint64Array(0)

/** Takes one entry of a manifest; the parts of a large file come one after another. */
export function addToTree(tree: StateTree, entry: ManifestEntry): void {
  const key = keyOf(entry.root, entry.path)
  switch (entry.kind) {
    case 'dir':
      tree.set(key, { kind: 'dir', meta: entry.meta })
      return
    case 'symlink':
      tree.set(key, { kind: 'symlink', meta: entry.meta, target: entry.target })
      return
    case 'link':
      tree.set(key, { kind: 'link', target: keyOf(entry.target.root, entry.target.path) })
      return
    case 'file': {
      const known = entry.pageFrom > 0 ? tree.file(key) : undefined
      if (entry.pageFrom > (known?.pages.length ?? 0))
        throw new AppError('protocol', `the manifest shows a part of ${key} without the one before`)
      // Only as long as what has come: a size alone, however large, takes no memory.
      const pages = withRoom(known?.pages ?? NO_PAGES, entry.pageFrom + entry.pages.length)
      pages.set(entry.pages, entry.pageFrom)
      tree.set(key, { kind: 'file', meta: entry.meta, size: entry.size, pages })
    }
  }
}

/** The op that brings `entry`, which is no file. */
export function entryOp(key: Key, entry: Exclude<Entry, FileEntry>): Op {
  const name = splitKey(key)
  return entry.kind === 'link'
    ? { kind: 'link', ...name, target: splitKey(entry.target) }
    : { ...entry, ...name }
}
