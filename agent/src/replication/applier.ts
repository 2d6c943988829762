import {
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs'
import { totalmem } from 'node:os'
import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'
import { type Metadata, type Op, PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { diskFull } from './durable-files.ts'
import { hashPages, pageCount, resizePages } from './page-hash.ts'
import { type StateRoots, statOf } from './state-files.ts'
import { type Key, keyOf, parentOf, type StateTree, splitKey } from './state-tree.ts'
import { createUnsynced } from './unsynced.ts'
import type { Xattrs } from './xattrs.ts'

const WRITE_FLAGS = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK
/** The hashes of one file take no more of the memory than one part in this many. */
const MEMORY_SHARE = 4
const NO_PAGES = new BigUint64Array(0)
/** Nobody wants these: what has them is never the same, and they are set again with the next change. */
const UNKNOWN_ATTRIBUTES = '?'
/** What the agent needs to change what is below a directory, or in a file, when it is not root. */
const OWN_DIRECTORY = 0o700
const OWN_FILE = 0o600

/**
 * Puts ops in place below the state directories and keeps the replica's own picture of the tree. Every op says how
 * things ought to be, so applying one twice is the same as once: that is what lets the journal be replayed.
 *
 * Nothing is ever written through a symlink: a parent that is one, on disk or in the stream, is refused.
 */
export interface Applier {
  readonly tree: StateTree
  /**
   * `guard` is called for every op, to apply it; what it lets pass is left out.
   * @throws AppError `protocol` for what may not be done, `disk_full`; the system's error otherwise
   */
  apply(ops: readonly Op[], guard?: (op: Op, apply: () => void) => void): void
  /** Sets the extended attributes of what was applied, which takes a process of its own. Returns what failed. */
  settleAttributes(): Promise<readonly AppError[]>
  /** Makes everything applied so far durable. */
  sync(): Promise<void>
}

export function createApplier(roots: StateRoots, tree: StateTree, xattrs: Xattrs): Applier {
  const unsynced = createUnsynced(roots)
  /** Directories whose time, and perhaps mode, has changed by what was done in them. */
  const touched = new Set<Key>()
  const attributes = new Map<Key, string>()
  const owner = process.geteuid?.() === 0
  /** Directories that were seen on disk since the present batch was begun. */
  const seen = new Set<Key>()

  /** Every directory above `key` is one, on disk and not only in the stream. */
  const assertParents = (key: Key): void => {
    const { root, path } = splitKey(key)
    const parts = path.split('/')
    for (let depth = 0; depth < parts.length; depth += 1) {
      const parent = keyOf(root, parts.slice(0, depth).join('/'))
      if (seen.has(parent)) continue
      const stat = statOf(roots.pathOf(parent))
      if (stat?.kind !== 'dir')
        throw new AppError('protocol', `refused to write below ${parent}, which is not a directory`)
      seen.add(parent)
    }
  }

  /** Names in the directory of `key` are about to change. */
  const touchParent = (key: Key): void => {
    const parent = parentOf(key)
    unsynced.add(parent)
    if (touched.has(parent)) return
    touched.add(parent)
    const entry = tree.get(parent)
    if (!owner && entry?.kind === 'dir' && (entry.meta.mode & OWN_DIRECTORY) !== OWN_DIRECTORY)
      chmodSync(roots.pathOf(parent), entry.meta.mode | OWN_DIRECTORY)
  }

  const remove = (key: Key): void => {
    touchParent(key)
    rmSync(roots.pathOf(key), { recursive: true, force: true })
    if (tree.get(key)?.kind !== 'file') seen.clear()
    tree.remove(key)
    attributes.delete(key)
    unsynced.remove(key)
  }

  const own = (path: Buffer, meta: Metadata): void => {
    if (owner) lchownSync(path, meta.uid, meta.gid)
  }

  /** What is new may inherit attributes from its directory. */
  const noteAttributes = (key: Key, meta: Metadata, isNew: boolean): void => {
    const before = tree.get(key)
    const known = before && before.kind !== 'link' ? before.meta.xattrs : ''
    const parent = tree.get(parentOf(key))
    const inherits = isNew && parent?.kind === 'dir' && parent.meta.xattrs.includes('posix_acl_default')
    if (known !== meta.xattrs || inherits) attributes.set(key, meta.xattrs)
  }

  const denyAttributes = (key: Key): void => {
    const entry = tree.get(key)
    if (entry && entry.kind !== 'link')
      tree.set(key, { ...entry, meta: { ...entry.meta, xattrs: UNKNOWN_ATTRIBUTES } })
  }

  const ensureDirectory = (key: Key, meta: Metadata): void => {
    const path = roots.pathOf(key)
    const stat = statOf(path)
    if (stat && stat.kind !== 'dir') remove(key)
    const isNew = !tree.has(key)
    if (isNew) touchParent(key)
    mkdirSync(path, { recursive: true, mode: OWN_DIRECTORY })
    noteAttributes(key, meta, isNew)
    tree.set(key, { kind: 'dir', meta })
    touched.add(key)
    unsynced.add(key)
  }

  const ensureFile = (key: Key, meta: Metadata, size: number, fresh: boolean): void => {
    if (pageCount(size) * 8 > totalmem() / MEMORY_SHARE)
      throw new AppError('protocol', `refused ${key}: its ${size} bytes are too many for the memory here`, {
        hint: 'The replica needs 8 bytes of memory per 4 KiB of state: use a larger instance type.',
      })
    const path = roots.pathOf(key)
    const stat = statOf(path)
    // A further name of some file becomes a file of its own.
    if (stat && (fresh || stat.kind !== 'file' || tree.get(key)?.kind === 'link')) remove(key)
    const before = tree.file(key)
    if (!before) touchParent(key)
    const fd = openToWrite(key, constants.O_CREAT)
    try {
      ftruncateSync(fd, size)
    } finally {
      closeSync(fd)
    }
    noteAttributes(key, meta, !before)
    const pages = resizePages(before?.pages ?? NO_PAGES, before?.size ?? 0, size)
    tree.set(key, { kind: 'file', meta, size, pages })
    unsynced.add(key)
    own(path, meta)
  }

  const openToWrite = (key: Key, flags: number): number => {
    const path = roots.pathOf(key)
    try {
      return openSync(path, WRITE_FLAGS | flags, OWN_FILE)
    } catch (error) {
      if (owner || systemCodeOf(error) !== 'EACCES') throw error
      chmodSync(path, OWN_FILE)
      return openSync(path, WRITE_FLAGS | flags, OWN_FILE)
    }
  }

  const write = (key: Key, offset: number, bytes: Uint8Array): void => {
    const entry = tree.file(key)
    if (!entry) throw new AppError('protocol', `refused to write into ${key}, which is no file`)
    if (offset % PAGE_BYTES !== 0 || offset + bytes.length > entry.size)
      throw new AppError('protocol', `refused to write ${bytes.length} bytes at ${offset} of ${key}`)
    const fd = openToWrite(key, 0)
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at)
    } finally {
      closeSync(fd)
    }
    hashPages(bytes, entry.pages, offset / PAGE_BYTES)
    unsynced.add(key)
  }

  const symlink = (key: Key, meta: Metadata, target: string): void => {
    remove(key)
    const path = roots.pathOf(key)
    symlinkSync(Buffer.from(target, 'latin1'), path)
    own(path, meta)
    setTime(path, meta)
    noteAttributes(key, meta, true)
    tree.set(key, { kind: 'symlink', meta, target })
  }

  const link = (key: Key, target: Key): void => {
    // After a crash the tree does not know everything that is there.
    const known = tree.get(target)
    const isFile = statOf(roots.pathOf(target))?.kind === 'file'
    if (key === target || !isFile || (known && known.kind !== 'file'))
      throw new AppError('protocol', `refused to link ${key} to ${target}, which is no file`)
    assertParents(target)
    remove(key)
    linkSync(roots.pathOf(target), roots.pathOf(key))
    tree.set(key, { kind: 'link', target })
  }

  const applyOne = (op: Op): void => {
    const key = keyOf(op.root, op.path)
    if (op.root >= roots.directories.length)
      throw new AppError('protocol', `there is no state directory number ${op.root}`)
    if (op.path !== '') assertParents(key)
    switch (op.kind) {
      case 'dir':
        return ensureDirectory(key, op.meta)
      case 'file':
        return ensureFile(key, op.meta, op.size, op.fresh)
      case 'write':
        return write(key, op.offset, op.bytes)
      case 'symlink':
        return symlink(key, op.meta, op.target)
      case 'link':
        return link(key, keyOf(op.target.root, op.target.path))
      case 'remove':
        return remove(key)
    }
  }

  /** Times and owners last: writing changes the one, changing the owner clears bits of the mode. */
  const finish = (ops: readonly Op[]): void => {
    for (const op of ops) {
      const key = keyOf(op.root, op.path)
      const entry = op.kind === 'file' ? tree.file(key) : undefined
      if (entry) setMetadata(key, entry.meta)
    }
    for (const key of touched) {
      const entry = tree.get(key)
      if (entry?.kind === 'dir') setMetadata(key, entry.meta)
    }
    touched.clear()
  }

  const setMetadata = (key: Key, meta: Metadata): void => {
    const path = roots.pathOf(key)
    own(path, meta)
    chmodSync(path, meta.mode)
    setTime(path, meta)
  }

  return {
    tree,
    apply(ops, guard = (_, apply) => apply()) {
      seen.clear()
      try {
        for (const op of ops) guard(op, () => applyOne(op))
        finish(ops)
      } catch (error) {
        const code = systemCodeOf(error)
        if (code === 'ENOSPC' || code === 'EDQUOT') throw diskFull(roots.directories[0] ?? '', error)
        throw error
      }
    },
    async settleAttributes() {
      if (attributes.size === 0) return []
      const keys = [...attributes.keys()]
      const entries = [...attributes].map(([key, text]) => ({ path: roots.pathOf(key), attributes: text }))
      attributes.clear()
      if (!xattrs.available) return []
      const answers = await xattrs.writeAll(entries)
      // Where there can be none, the log alone says so; else the tree must not say that they are there.
      for (const [index, key] of keys.entries())
        if (answers[index] && answers[index].code !== 'not_supported') denyAttributes(key)
      return answers.filter((answer) => answer !== undefined)
    },
    sync: unsynced.sync,
  }
}

function setTime(path: Buffer, { mtimeMicros }: Metadata): void {
  // Half a microsecond more, so that the nearest double below does not fall into the one before.
  const time = (mtimeMicros + 0.5) / 1e6
  lutimesSync(path, time, time)
}
