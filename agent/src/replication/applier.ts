import {
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  lchownSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'
import { type Metadata, type Op, PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { diskFull, syncDirectory } from './journal.ts'
import { hashPages } from './page-hash.ts'
import { type StateRoots, statOf } from './state-files.ts'
import { type Entry, type Key, keyOf, removeFromTree, resizedPages, splitKey } from './state-tree.ts'

const WRITE_FLAGS = constants.O_RDWR | constants.O_NOFOLLOW

/**
 * Puts ops in place below the state directories and keeps the replica's own picture of the tree. Every op says how
 * things ought to be, so applying one twice is the same as once: that is what lets the journal be replayed.
 *
 * Nothing is ever written through a symlink: a parent that is one, on disk or in the stream, is refused.
 */
export interface Applier {
  readonly tree: Map<Key, Entry>
  /**
   * `guard` is called for every op, to apply it; what it lets pass is left out.
   * @throws AppError `protocol` for what may not be done, `disk_full`; the system's error otherwise
   */
  apply(ops: readonly Op[], guard?: (op: Op, apply: () => void) => void): void
  /** Makes everything applied so far durable. */
  sync(): Promise<void>
}

export function createApplier(roots: StateRoots, tree: Map<Key, Entry>): Applier {
  const unsynced = new Set<Key>()
  const owner = process.geteuid?.() === 0

  /** Every directory above `key` is one, on disk and not only in the stream. */
  const assertParents = (key: Key): void => {
    const { root, path } = splitKey(key)
    const parts = path.split('/')
    for (let depth = 0; depth < parts.length; depth += 1) {
      const parent = keyOf(root, parts.slice(0, depth).join('/'))
      const known = tree.get(parent)
      if (known?.kind === 'dir') continue
      const stat = statOf(roots.pathOf(parent))
      if (stat?.kind !== 'dir')
        throw new AppError('protocol', `refused to write below ${parent}, which is not a directory`)
    }
  }

  const replaceOtherKind = (key: Key, kind: Entry['kind']): void => {
    const stat = statOf(roots.pathOf(key))
    if (stat && stat.kind !== kind) remove(key)
  }

  const remove = (key: Key): void => {
    rmSync(roots.pathOf(key), { recursive: true, force: true })
    removeFromTree(tree, key)
    unsynced.delete(key)
    unsynced.add(parentOf(key))
  }

  const own = (path: Buffer, meta: Metadata): void => {
    if (owner) lchownSync(path, meta.uid, meta.gid)
  }

  const ensureDirectory = (key: Key, meta: Metadata): void => {
    const path = roots.pathOf(key)
    replaceOtherKind(key, 'dir')
    mkdirSync(path, { recursive: true })
    own(path, meta)
    chmodSync(path, meta.mode)
    tree.set(key, { kind: 'dir', meta })
    unsynced.add(key)
    unsynced.add(parentOf(key))
  }

  const ensureFile = (key: Key, meta: Metadata, size: number): void => {
    const path = roots.pathOf(key)
    replaceOtherKind(key, 'file')
    const fd = openSync(path, WRITE_FLAGS | constants.O_CREAT, 0o600)
    try {
      ftruncateSync(fd, size)
    } finally {
      closeSync(fd)
    }
    const known = tree.get(key)
    const before = known?.kind === 'file' ? known : undefined
    tree.set(key, { kind: 'file', meta, size, pages: resizedPages(before, size) })
    unsynced.add(key)
    if (!before) unsynced.add(parentOf(key))
  }

  const write = (key: Key, offset: number, bytes: Uint8Array): void => {
    const entry = tree.get(key)
    if (entry?.kind !== 'file')
      throw new AppError('protocol', `refused to write into ${key}, which is no file`)
    if (offset % PAGE_BYTES !== 0 || offset + bytes.length > entry.size)
      throw new AppError('protocol', `refused to write ${bytes.length} bytes at ${offset} of ${key}`)
    const fd = openSync(roots.pathOf(key), WRITE_FLAGS)
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at)
    } finally {
      closeSync(fd)
    }
    hashPages(bytes, entry.pages, offset / PAGE_BYTES)
    unsynced.add(key)
  }

  const link = (key: Key, meta: Metadata, target: string): void => {
    remove(key)
    const path = roots.pathOf(key)
    symlinkSync(Buffer.from(target, 'latin1'), path)
    own(path, meta)
    tree.set(key, { kind: 'symlink', meta, target })
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
        return ensureFile(key, op.meta, op.size)
      case 'write':
        return write(key, op.offset, op.bytes)
      case 'symlink':
        return link(key, op.meta, op.target)
      case 'remove':
        return remove(key)
    }
  }

  /** Times and owners last: writing changes the one, changing the owner clears bits of the mode. */
  const finishFiles = (ops: readonly Op[]): void => {
    for (const op of ops) {
      if (op.kind !== 'file') continue
      const path = roots.pathOf(keyOf(op.root, op.path))
      const entry = tree.get(keyOf(op.root, op.path))
      if (entry?.kind !== 'file') continue
      own(path, op.meta)
      chmodSync(path, op.meta.mode)
      // Half a microsecond more, so that the nearest double below does not fall into the one before.
      const time = (op.meta.mtimeMicros + 0.5) / 1e6
      utimesSync(path, time, time)
    }
  }

  return {
    tree,
    apply(ops, guard = (_, apply) => apply()) {
      try {
        for (const op of ops) guard(op, () => applyOne(op))
        finishFiles(ops)
      } catch (error) {
        const code = systemCodeOf(error)
        if (code === 'ENOSPC' || code === 'EDQUOT') throw diskFull(roots.directories[0] ?? '', error)
        throw error
      }
    },
    async sync() {
      for (const key of unsynced) {
        await syncOne(roots.pathOf(key))
        unsynced.delete(key)
      }
    },
  }
}

const parentOf = (key: Key): Key => {
  const { root, path } = splitKey(key)
  const slash = path.lastIndexOf('/')
  return keyOf(root, slash < 0 ? '' : path.slice(0, slash))
}

async function syncOne(path: Buffer): Promise<void> {
  const stat = statOf(path)
  if (stat?.kind === 'dir') return syncDirectory(path)
  if (stat?.kind !== 'file') return
  const handle = await open(path, 'r').catch((error: unknown) => {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  })
  try {
    await handle?.sync()
  } finally {
    await handle?.close()
  }
}
