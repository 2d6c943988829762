import { messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { Clock, Instant, Mono } from '@understudy/shared/core/time'
import type { Metadata } from '@understudy/shared/protocol/replication'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { type HashedFile, hashAgain, hashFile } from './file-content.ts'
import { canSkipHoles, zerosAreHoles } from './holes.ts'
import type { Mappings } from './mappings.ts'
import { planRead, type ReadFacts } from './read-plan.ts'
import { readNames, readTarget, type Stat, type StateRoots, statOf } from './state-files.ts'
import {
  type Entry,
  type FileEntry,
  type Key,
  keyOf,
  parentOf,
  StateTree,
  sameEntry,
  splitKey,
} from './state-tree.ts'

/** A write has its time stamp when it begins; its last byte is taken to be there after this long. */
const WRITE_TAKES_NS = 2_000_000_000n
/** The event loop is given back after this long, in milliseconds. */
const SLICE = 5
const NO_PAGES = new BigUint64Array(0)

/** A name that was there a moment ago, or lies below something that has become another thing. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])

/** One look at some names, or at all of them. */
export interface Pass {
  /** Nothing is trusted that may have changed unseen. */
  readonly exact: boolean
  /** Files that may have changed are read, whatever it costs. */
  readonly patient: boolean
  /** Everything is looked at, so what is found needs no second look. */
  readonly complete: boolean
  /** When the oldest of the files was read that may have changed since, and were not read now. */
  knownSince: number
  readonly changed: Set<Key>
  /** Names that have to be looked at as well: a directory whose names changed, a link whose file went away. */
  readonly also: Set<Key>
  /** A directory came or went, or the watchers are not set up yet. */
  directories: boolean
  sliceFrom: number
  /** What it took to read files that show no change, in milliseconds. */
  againTook: number
}

/** Compares names below the state directories with what is known of them, and keeps the tree. */
export interface TreeReader {
  readonly tree: StateTree
  readonly directories: ReadonlySet<Key>
  /** Names that could not be read, with the reason. */
  readonly unreadable: Map<Key, string>
  /** Names whose extended attributes may have changed since they were last read. */
  readonly attributesStale: Set<Key>
  look(key: Key, pass: Pass): Promise<void>
  everything(pass: Pass): Promise<void>
  setAttributes(key: Key, xattrs: string, pass: Pass): void
  /** The file was read from one end to the other for another purpose: that is what it holds. */
  learn(key: Key, read: WholeRead): void
  /** The file holds something else than was read, and may show no trace of it: then it is read again. */
  suspect(key: Key): void
  /** The name could not be read after all, or holds something else than it seems: it is read in full next time. */
  distrust(key: Key, why?: string): void
  /** What it would take to read every file again that may have changed without a trace, in milliseconds. */
  doubtCost(): number
}

/** What was read of a file, and when that began. */
export interface WholeRead {
  /** As it was before the first byte was read. */
  readonly stat: Stat
  readonly pages: BigUint64Array
  readonly startedWall: Instant
  readonly started: Mono
}

/** `lazy`: a file that is seen for the first time is not read, because it will be when it is sent. */
export function createTreeReader(
  roots: StateRoots,
  clock: Clock,
  mappings: Mappings,
  lazy: boolean,
): TreeReader {
  const tree = new StateTree()
  const facts = new Map<Key, ReadFacts>()
  const unreadable = new Map<Key, string>()
  const directories = new Set<Key>()
  const attributesStale = new Set<Key>()
  /** What it took to read all such files the last time. */
  let againTook = 0
  /** The name under which a file with several names is known, by device and inode. */
  const inodes = new Map<string, Key>()

  const change = (key: Key, entry: Entry, pass: Pass) => {
    if (!tree.has(key) && !pass.complete) pass.also.add(parentOf(key))
    tree.set(key, entry)
    pass.changed.add(key)
    attributesStale.add(key)
  }

  /** Metadata as it is on disk; extended attributes are read apart. */
  const metaOf = (key: Key, stat: Stat): Metadata => {
    const known = tree.get(key)
    return known && known.kind !== 'link' && known.meta.xattrs !== ''
      ? { ...stat.meta, xattrs: known.meta.xattrs }
      : stat.meta
  }

  async function everything(pass: Pass): Promise<void> {
    pass.directories = true
    const seen = new Set<Key>()
    for (let root = 0; root < roots.directories.length; root += 1) await walk(keyOf(root, ''), pass, seen)
    for (const key of [...tree.keys()]) if (!seen.has(key) && tree.has(key)) forget(key, pass)
    for (const [id, key] of inodes) if (!tree.has(key)) inodes.delete(id)
    for (const key of unreadable.keys()) if (isGone(key)) unreadable.delete(key)
    await lookAtOthersAlso(pass)
    if (pass.againTook > 0) againTook = pass.againTook
  }

  function isGone(key: Key): boolean {
    try {
      return statOf(roots.pathOf(key)) === undefined
    } catch {
      return false
    }
  }

  async function walk(key: Key, pass: Pass, seen: Set<Key>): Promise<void> {
    if (clock.mono() - pass.sliceFrom > SLICE) {
      await new Promise(setImmediate)
      pass.sliceFrom = clock.mono()
    }
    const kind = await lookAt(key, pass)
    if (kind === undefined) return
    seen.add(key)
    if (kind !== 'dir') return
    for (const child of children(key)) await walk(child, pass, seen)
  }

  /** What a first look has found out about other names. */
  async function lookAtOthersAlso(pass: Pass): Promise<void> {
    for (const key of pass.also) {
      pass.also.delete(key)
      await lookAt(key, pass)
    }
  }

  /** Names in a directory; one that cannot be read keeps what was known of it. */
  function children(key: Key): Key[] {
    const { root, path } = splitKey(key)
    const below = (name: string) => keyOf(root, path === '' ? name : `${path}/${name}`)
    try {
      const names = readNames(roots.pathOf(key)).map(below).sort()
      unreadable.delete(key)
      return names
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return []
      unreadable.set(key, messageOf(error))
      const prefix = path === '' ? key : `${key}/`
      return [...tree.keys()].filter((other) => other !== key && other.startsWith(prefix))
    }
  }

  /** Compares one name with what is known of it. Returns its kind, undefined when there is nothing to replicate. */
  async function lookAt(key: Key, pass: Pass): Promise<Entry['kind'] | undefined> {
    try {
      const stat = statOf(roots.pathOf(key))
      if (!stat || stat.kind === 'other' || !roots.selects(key, stat.kind)) return vanished(key, pass)
      const known = tree.get(key)
      if (stat.kind === 'file') await lookAtName(key, stat, pass)
      else lookAtOther(key, stat, pass)
      unreadable.delete(key)
      // A directory that appears between two scans comes with everything in it.
      if (stat.kind === 'dir' && known?.kind !== 'dir' && !pass.complete)
        for (const child of children(key)) await lookAt(child, pass)
      return stat.kind
    } catch (error) {
      if (GONE.has(systemCodeOf(error) ?? '')) return vanished(key, pass)
      unreadable.set(key, messageOf(error))
      return tree.get(key)?.kind
    }
  }

  function vanished(key: Key, pass: Pass): undefined {
    unreadable.delete(key)
    if (tree.has(key)) forget(key, pass)
  }

  function lookAtOther(key: Key, stat: Stat, pass: Pass): void {
    const known = tree.get(key)
    if (known && known.kind !== stat.kind) forget(key, pass)
    const meta = metaOf(key, stat)
    const entry: Entry =
      stat.kind === 'symlink'
        ? { kind: 'symlink', meta, target: readTarget(roots.pathOf(key)) }
        : { kind: 'dir', meta }
    if (entry.kind === 'dir' && !directories.has(key)) {
      directories.add(key)
      pass.directories = true
    }
    const before = facts.get(key)
    if (before?.stat.changedNs !== stat.changedNs) attributesStale.add(key)
    facts.set(key, { stat, racy: false, complete: true, hashedAt: 0, hashTook: 0 })
    if (known && sameEntry(known, entry)) return
    change(key, entry, pass)
  }

  /** One name of a file, which may have others. */
  async function lookAtName(key: Key, stat: Stat, pass: Pass): Promise<void> {
    const first = stat.links > 1 ? firstNameOf(key, stat) : key
    if (first === key) return lookAtFile(key, stat, pass)
    const known = tree.get(key)
    if (known?.kind !== 'link' || known.target !== first) {
      if (known) forget(key, pass)
      change(key, { kind: 'link', target: first }, pass)
    }
    facts.delete(key)
    // Whatever was written through this name is in the file.
    if (!pass.complete) await lookAtFile(first, stat, pass)
  }

  /** The name under which the tree has this file: the one that was seen first and still is one of its names. */
  function firstNameOf(key: Key, stat: Stat): Key {
    const id = `${stat.device}:${stat.inode}`
    const first = inodes.get(id)
    if (first !== undefined && first !== key && tree.file(first)) {
      const there = statOf(roots.pathOf(first))
      if (there && isSameFile(there, stat)) return first
    }
    inodes.set(id, key)
    return key
  }

  async function lookAtFile(key: Key, stat: Stat, pass: Pass): Promise<void> {
    const before = facts.get(key)
    // Another file has taken the name: what other names the old one has is found by looking at them.
    if (before && !isSameFile(before.stat, stat)) for (const link of tree.linksTo(key)) pass.also.add(link)
    const other = tree.get(key)
    if (other && other.kind !== 'file') forget(key, pass)
    const known = tree.file(key)
    const now = clock.mono()
    const plan = planRead(stat, known, before, { ...pass, againTook }, now)
    switch (plan) {
      case 'nothing':
        return
      case 'later':
        pass.knownSince = Math.min(pass.knownSince, before?.hashedAt ?? 0)
        return
      case 'tail':
        return readFrom(key, known, pass)
      case 'again':
        await readAgain(key, known, before, pass)
        pass.againTook += clock.mono() - now
        return
      case 'whole':
        // Whoever sends a file that nobody has read reads its holes too, which is slow.
        if (canSkipHoles(roots.pathOf(key), stat)) return readWhole(key, pass)
        if (lazy && !known && !before && !pass.exact) return note(key, stat, pass)
        return readWhole(key, pass)
    }
  }

  const readWhole = (key: Key, pass: Pass): Promise<void> =>
    readFile(key, (path) => hashFile(path, 0, NO_PAGES), true, pass)

  /** Nothing shows, and something may have changed all the same: not so in holes. */
  function readAgain(
    key: Key,
    known: FileEntry | undefined,
    before: ReadFacts | undefined,
    pass: Pass,
  ): Promise<void> {
    if (!before?.holes || !known) return readWhole(key, pass)
    const { pages } = known
    return readFile(key, (path) => hashAgain(path, { stat: before.stat, pages }), true, pass)
  }

  /** What has come after the last whole page that is known. */
  function readFrom(key: Key, known: FileEntry | undefined, pass: Pass): Promise<void> {
    const from = known ? Math.floor(known.size / PAGE_BYTES) : 0
    const pages = from > 0 && known ? known.pages : NO_PAGES
    return readFile(key, (path) => hashFile(path, from, pages), from === 0, pass)
  }

  /** The file is there; what is in it, nobody has asked yet. */
  function note(key: Key, stat: Stat, pass: Pass): void {
    const { size } = stat
    change(key, { kind: 'file', meta: metaOf(key, stat), size, pages: NO_PAGES, unread: true }, pass)
    facts.set(key, { stat, racy: false, complete: false, unread: true, hashedAt: 0, hashTook: 0 })
  }

  /** A change after the reading began may not show: the write was not over yet, or goes through a memory map. */
  const isRacy = (stat: Stat, startedWall: Instant, started: Mono): boolean =>
    stat.changedNs > BigInt(Math.round(startedWall)) * 1_000_000n - WRITE_TAKES_NS ||
    mappings.mayHide(stat, started)

  /** `complete`: every page is one that was read now, or a hole. */
  async function readFile(
    key: Key,
    hash: (path: Buffer) => Promise<HashedFile>,
    complete: boolean,
    pass: Pass,
  ): Promise<void> {
    const before = facts.get(key)
    const startedWall = clock.now()
    const started = clock.mono()
    const path = roots.pathOf(key)
    const { stat, size, pages } = await hash(path)
    const took = clock.mono() - started
    pass.sliceFrom = clock.mono()
    change(key, { kind: 'file', meta: metaOf(key, stat), size, pages }, pass)
    facts.set(key, {
      stat,
      racy: isRacy(stat, startedWall, started),
      complete,
      ...(complete ? holesIn(path, stat, pages, startedWall) : {}),
      hashedAt: started,
      hashTook: complete ? took : (before?.hashTook ?? took),
    })
  }

  const holesIn = (path: Buffer, stat: Stat, pages: BigUint64Array, startedWall: Instant) =>
    zerosAreHoles(path, stat, pages, startedWall) ? { holes: true as const } : {}

  function forget(key: Key, pass: Pass): void {
    if (directories.delete(key)) {
      pass.directories = true
      const below = key.endsWith('/') ? key : `${key}/`
      for (const other of [...tree.keys()])
        if (other.startsWith(below) && other !== key) forgetOne(other, pass)
    }
    forgetOne(key, pass)
    if (!pass.complete) pass.also.add(parentOf(key))
  }

  function forgetOne(key: Key, pass: Pass): void {
    for (const link of tree.linksTo(key)) pass.also.add(link)
    pass.changed.add(key)
    directories.delete(key)
    attributesStale.delete(key)
    tree.delete(key)
    facts.delete(key)
    unreadable.delete(key)
  }

  return {
    tree,
    directories,
    unreadable,
    attributesStale,
    async look(key, pass) {
      await lookAt(key, pass)
      await lookAtOthersAlso(pass)
    },
    everything,
    setAttributes(key, xattrs, pass) {
      const entry = tree.get(key)
      if (!entry || entry.kind === 'link' || entry.meta.xattrs === xattrs) return
      tree.set(key, { ...entry, meta: { ...entry.meta, xattrs } })
      pass.changed.add(key)
    },
    learn(key, { stat, pages, startedWall, started }) {
      const entry = tree.file(key)
      const seen = facts.get(key)?.stat
      // Mode, owner or the file itself have changed since it was seen: it is looked at again.
      if (!entry?.unread || !seen || !isSameFile(seen, stat) || seen.changedNs !== stat.changedNs) return
      tree.set(key, { kind: 'file', meta: entry.meta, size: entry.size, pages })
      const took = clock.mono() - started
      facts.set(key, {
        stat,
        racy: isRacy(stat, startedWall, started),
        complete: true,
        ...holesIn(roots.pathOf(key), stat, pages, startedWall),
        hashedAt: started,
        hashTook: took,
      })
    },
    suspect(key) {
      const known = facts.get(key)?.stat
      const now = known && statOf(roots.pathOf(key))
      // With a trace it is read again anyway, when its turn comes.
      if (now && isSameFile(known, now) && known.changedNs === now.changedNs) facts.delete(key)
    },
    distrust(key, why) {
      facts.delete(key)
      if (why !== undefined) unreadable.set(key, why)
    },
    doubtCost() {
      let cost = 0
      for (const { racy, hashTook } of facts.values()) if (racy) cost += hashTook
      return cost
    },
  }
}

const isSameFile = (a: Stat, b: Stat): boolean => a.inode === b.inode && a.device === b.device
