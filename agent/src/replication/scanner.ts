import { messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import { type Clock, type Mono, millis } from '@understudy/shared/core/time'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { hashFile } from './file-content.ts'
import { createHints } from './hints.ts'
import { readNames, readTarget, type Stat, type StateRoots, statOf } from './state-files.ts'
import { type Entry, type FileEntry, type Key, keyOf, splitKey } from './state-tree.ts'

/** Hints are gathered this long, so that a burst of writes becomes one look. */
const COALESCE = millis(5)
/** A scan may take this part of the time. */
const SCAN_SHARE = 50
const SCAN_EVERY_MIN = 1000
const SCAN_EVERY_MAX = 60_000
/** Reading a file again in full may take this part of the time. */
const HASH_SHARE = 20
/** Two writes within one tick of the kernel's clock leave the same time stamp. */
const TICK_NS = 20_000_000n
/** The event loop is given back after this long. */
const SLICE = 5
const NO_PAGES = new BigUint64Array(0)

/**
 * Knows what the state directories hold: an lstat of every name is the truth, watchers only say where to look first.
 * A file that has only grown is read from its old end; that its beginning is unchanged too is checked later, and
 * always before a hand-over (`exact`).
 */
export interface Scanner {
  readonly tree: ReadonlyMap<Key, Entry>
  /** Names that could not be read, with the reason. */
  readonly unreadable: ReadonlyMap<Key, string>
  readonly unwatched: number
  /** Begins to watch and to scan. */
  start(): void
  /** Looks at everything once. */
  full(): Promise<void>
  /** Looks at everything and trusts nothing that may have changed unseen. The workload must be frozen. */
  exact(): Promise<void>
  stop(): void
}

interface Facts {
  readonly stat: Stat
  /** The stat may miss a change that came within the same tick. */
  readonly racy: boolean
  /** Every page was read since the last change; false after only the tail was. */
  readonly complete: boolean
  readonly hashedAt: number
  readonly hashTook: number
}

/** A name that was there a moment ago, or lies below something that has become another thing. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])

export function createScanner(
  roots: StateRoots,
  clock: Clock,
  /**
   * Called after each look with the names that changed or vanished; after a look at everything also with when that
   * began: whatever was written before then has been seen.
   */
  onLook: (changed: ReadonlySet<Key>, completeSince?: Mono) => void,
): Scanner {
  const tree = new Map<Key, Entry>()
  const facts = new Map<Key, Facts>()
  const unreadable = new Map<Key, string>()
  const directories = new Set<Key>()
  const hinted = new Set<Key>()
  const serial = createSerial()
  const hints = createHints(roots, onHint)
  let running = false
  let cancelHint: (() => void) | undefined
  let cancelScan: (() => void) | undefined

  function onHint(key: Key): void {
    if (!running) return
    hinted.add(key)
    cancelHint ??= clock.timer(COALESCE, () => {
      cancelHint = undefined
      void serial(lookAtHints)
    })
  }

  async function lookAtHints(): Promise<void> {
    const keys = [...hinted]
    hinted.clear()
    const pass = newPass(false)
    for (const key of keys) await look(key, pass, false)
    finish(pass)
  }

  async function lookAtAll(exact: boolean): Promise<void> {
    const started = clock.mono()
    const pass = newPass(exact)
    pass.directories = true
    const seen = new Set<Key>()
    for (let root = 0; root < roots.directories.length; root += 1) await walk(keyOf(root, ''), pass, seen)
    for (const key of [...tree.keys()]) if (!seen.has(key)) forget(key, pass)
    finish(pass, started)
  }

  interface Pass {
    readonly exact: boolean
    readonly changed: Set<Key>
    /** A directory came or went, or the watchers are not set up yet. */
    directories: boolean
    sliceFrom: number
  }
  const newPass = (exact: boolean): Pass => ({
    exact,
    changed: new Set(),
    directories: false,
    sliceFrom: clock.mono(),
  })

  function finish(pass: Pass, completeSince?: Mono): void {
    if (running && pass.directories) hints.watchOnly(directories)
    if (pass.changed.size > 0 || completeSince !== undefined) onLook(pass.changed, completeSince)
  }

  async function walk(key: Key, pass: Pass, seen: Set<Key>): Promise<void> {
    if (clock.mono() - pass.sliceFrom > SLICE) {
      await new Promise(setImmediate)
      pass.sliceFrom = clock.mono()
    }
    const kind = await look(key, pass, true)
    if (kind === undefined) return
    seen.add(key)
    if (kind !== 'dir') return
    for (const child of children(key)) await walk(child, pass, seen)
  }

  /** Names in a directory; one that cannot be read keeps what was known of it. */
  function children(key: Key): Key[] {
    const { root, path } = splitKey(key)
    const below = (name: string) => keyOf(root, path === '' ? name : `${path}/${name}`)
    try {
      const names = readNames(roots.pathOf(key)).map(below)
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
  async function look(key: Key, pass: Pass, fromWalk: boolean): Promise<Entry['kind'] | undefined> {
    try {
      const stat = statOf(roots.pathOf(key))
      if (!stat || stat.kind === 'other') return vanished(key, pass)
      const known = tree.get(key)
      if (known && known.kind !== stat.kind) forget(key, pass)
      if (stat.kind === 'file') await lookAtFile(key, stat, pass)
      else lookAtOther(key, stat, pass)
      // A directory that appears between two scans comes with everything in it.
      if (stat.kind === 'dir' && !known && !fromWalk)
        for (const child of children(key)) await look(child, pass, false)
      unreadable.delete(key)
      return stat.kind
    } catch (error) {
      if (GONE.has(systemCodeOf(error) ?? '')) return vanished(key, pass)
      unreadable.set(key, messageOf(error))
      return tree.get(key)?.kind
    }
  }

  function vanished(key: Key, pass: Pass): undefined {
    if (tree.has(key)) forget(key, pass)
  }

  function lookAtOther(key: Key, stat: Stat, pass: Pass): void {
    const known = tree.get(key)
    const entry: Entry =
      stat.kind === 'symlink'
        ? { kind: 'symlink', meta: stat.meta, target: readTarget(roots.pathOf(key)) }
        : { kind: 'dir', meta: stat.meta }
    if (known && known.kind !== 'file' && sameOther(known, entry)) return
    if (entry.kind === 'dir' && !directories.has(key)) {
      directories.add(key)
      pass.directories = true
    }
    tree.set(key, entry)
    pass.changed.add(key)
  }

  async function lookAtFile(key: Key, stat: Stat, pass: Pass): Promise<void> {
    const entry = tree.get(key)
    const known = entry?.kind === 'file' ? entry : undefined
    const before = facts.get(key)
    const plan = planRead(stat, known, before, pass.exact, clock.mono())
    if (plan === 'nothing') return
    const from = plan === 'tail' && known ? Math.floor(known.size / PAGE_BYTES) : 0
    const startedWall = BigInt(Math.round(clock.now())) * 1_000_000n
    const started = clock.mono()
    const hashed = await hashFile(roots.pathOf(key), from, from > 0 && known ? known.pages : NO_PAGES)
    const took = clock.mono() - started
    pass.sliceFrom = clock.mono()
    const next: FileEntry = {
      kind: 'file',
      meta: hashed.stat.meta,
      size: hashed.size,
      pages: hashed.pages,
    }
    tree.set(key, next)
    facts.set(key, {
      stat: hashed.stat,
      racy: hashed.stat.changedNs > startedWall - TICK_NS,
      complete: plan === 'whole',
      hashedAt: started,
      hashTook: plan === 'whole' ? took : (before?.hashTook ?? took),
    })
    pass.changed.add(key)
  }

  function forget(key: Key, pass: Pass): void {
    if (directories.delete(key)) {
      pass.directories = true
      const below = key.endsWith('/') ? key : `${key}/`
      for (const other of [...tree.keys()])
        if (other.startsWith(below) && other !== key) forgetOne(other, pass)
    }
    forgetOne(key, pass)
  }

  function forgetOne(key: Key, pass: Pass): void {
    pass.changed.add(key)
    directories.delete(key)
    tree.delete(key)
    facts.delete(key)
    unreadable.delete(key)
  }

  async function scanLoop(): Promise<void> {
    const started = clock.mono()
    await serial(() => lookAtAll(false))
    if (!running) return
    const took = clock.mono() - started
    const wait = Math.min(Math.max(took * SCAN_SHARE, SCAN_EVERY_MIN), SCAN_EVERY_MAX)
    cancelScan = clock.timer(millis(wait), () => void scanLoop())
  }

  return {
    tree,
    unreadable,
    get unwatched() {
      return hints.unwatched
    },
    start() {
      if (running) return
      running = true
      cancelScan = clock.timer(millis(0), () => void scanLoop())
    },
    full: () => serial(() => lookAtAll(false)),
    exact: () => serial(() => lookAtAll(true)),
    stop() {
      running = false
      cancelHint?.()
      cancelHint = undefined
      cancelScan?.()
      hinted.clear()
      hints.close()
    },
  }
}

const sameOther = (a: Exclude<Entry, FileEntry>, b: Exclude<Entry, FileEntry>): boolean =>
  a.kind === b.kind &&
  a.meta.mode === b.meta.mode &&
  a.meta.uid === b.meta.uid &&
  a.meta.gid === b.meta.gid &&
  (a.kind !== 'symlink' || (b.kind === 'symlink' && a.target === b.target))

/**
 * How much of a file has to be read again. Pure.
 * - `nothing`: no change can have happened, or reading it again now would cost more than its share.
 * - `tail`: it has grown; its old pages are taken on trust for now.
 * - `whole`: anything else.
 */
function planRead(
  stat: Stat,
  known: FileEntry | undefined,
  facts: Facts | undefined,
  exact: boolean,
  now: number,
): 'nothing' | 'tail' | 'whole' {
  if (!known || !facts || facts.stat.inode !== stat.inode) return 'whole'
  const same =
    facts.stat.changedNs === stat.changedNs &&
    facts.stat.modifiedNs === stat.modifiedNs &&
    facts.stat.size === stat.size &&
    known.size === stat.size
  const certain = same && !facts.racy && facts.complete
  if (certain) return 'nothing'
  if (exact) return 'whole'
  const affordable = now - facts.hashedAt >= facts.hashTook * HASH_SHARE
  if (!same && stat.size > known.size && known.size > 0 && !(affordable && !facts.complete)) return 'tail'
  return affordable ? 'whole' : 'nothing'
}
