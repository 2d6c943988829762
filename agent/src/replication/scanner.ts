import { createSerial } from '@understudy/shared/core/serial'
import { type Clock, type Mono, millis, mono } from '@understudy/shared/core/time'
import { createHints } from './hints.ts'
import { createMappings } from './mappings.ts'
import { type StateRoots, statOf } from './state-files.ts'
import type { Key, StateTree } from './state-tree.ts'
import { createTreeReader, type Pass, type WholeRead } from './tree-reader.ts'
import type { Xattrs } from './xattrs.ts'

/** Hints are gathered this long, so that a burst of writes becomes one look. */
const COALESCE = millis(5)
/** A scan may take one part in this many of the time. */
const SCAN_SHARE = 50
const SCAN_EVERY_MIN = 1000
const SCAN_EVERY_MAX = 60_000
/** Extended attributes take a process of their own to read. */
const ATTRIBUTES_EVERY = 10_000

/**
 * Knows what the state directories hold: an lstat of every name is the truth, watchers only say where to look first.
 * A file that has only grown is read from its old end; that its beginning is unchanged too is checked later, and
 * always before a hand-over (`exact`).
 */
export interface Scanner {
  readonly tree: StateTree
  /** Names that could not be read, with the reason. */
  readonly unreadable: ReadonlyMap<Key, string>
  readonly unwatched: number
  /**
   * Until when everything that was written has been read, by a look that began at `seen`: earlier than that where some name
   * could not be; undefined where that was so from the beginning.
   */
  knownUntil(seen: Mono): Mono | undefined
  /** Scans from time to time from now on, and watches once everything has been looked at. */
  start(): void
  /** Looks at everything once. */
  full(): Promise<void>
  /** The same, and reads every file that may have changed, however long that takes. */
  patient(): Promise<void>
  /** Looks at everything and trusts nothing that may have changed unseen. The workload must be frozen. */
  exact(): Promise<void>
  /**
   * The same while the workload still runs, so that `exact` has less to read: what is mapped is listed anew first, if
   * that costs less than what it may save.
   */
  almostExact(): Promise<void>
  /** Reads those of these files that were only seen. */
  read(keys: readonly Key[]): Promise<void>
  /** Somebody has read the whole file. */
  learn(key: Key, read: WholeRead): void
  /** The file holds something else than was read: if it shows no trace of that, it is read again. */
  suspect(key: Key): void
  /** A name could not be read, or holds something else than it seems: it is read in full at the next look. */
  distrust(key: Key, why?: string): void
  stop(): void
}

export interface ScannerSurroundings {
  readonly roots: StateRoots
  readonly clock: Clock
  readonly xattrs: Xattrs
  /** A file that is seen for the first time is only read when it is asked for, or changes. */
  readonly lazy?: boolean
  /**
   * Called after each look with the names that changed or vanished; after a look at everything also with when that
   * began: whatever was written before then, and could be read, has been seen.
   */
  readonly onLook: (changed: ReadonlySet<Key>, completeSince?: Mono) => void
}

export function createScanner(surroundings: ScannerSurroundings): Scanner {
  const { roots, clock, xattrs, onLook, lazy = false } = surroundings
  const mappings = createMappings(clock)
  const reader = createTreeReader(roots, clock, mappings, lazy)
  const hinted = new Set<Key>()
  const serial = createSerial()
  const hints = createHints(roots, onHint)
  let running = false
  let cancelHint: (() => void) | undefined
  let cancelScan: (() => void) | undefined
  let attributesAt: Mono | undefined
  let mappingsAt: Mono | undefined
  let mappingsTook = 0
  /** Something has changed lately, or may have without a trace. */
  let restless = true
  /** When the last look began that could read everything, and between which two of them that was not so. */
  let allReadSince: Mono | undefined
  let gap: { readonly from: Mono | undefined; readonly until: Mono } | undefined

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
    const pass = newPass()
    for (const key of keys) await reader.look(key, pass)
    finish(pass)
  }

  async function lookAtAll(how: { exact?: boolean; patient?: boolean } = {}): Promise<void> {
    const started = clock.mono()
    const pass = newPass({ ...how, complete: true })
    const hadUnreadable = reader.unreadable.size > 0
    await reader.everything(pass)
    await readAttributes(pass)
    restless = pass.changed.size > 0 || pass.knownSince < started
    // What was written before then is known, in every file that can be read.
    const since = mono(Math.min(started, pass.knownSince))
    if (reader.unreadable.size === 0) {
      if (hadUnreadable) gap = { from: allReadSince, until: since }
      allReadSince = since
    }
    finish(pass, since)
  }

  function knownUntil(seen: Mono): Mono | undefined {
    const before = (end: Mono | undefined) => (end === undefined ? undefined : mono(Math.min(seen, end)))
    if (reader.unreadable.size > 0) return before(allReadSince)
    return gap && seen < gap.until ? before(gap.from) : seen
  }

  const newPass = ({ exact = false, patient = false, complete = false } = {}): Pass => ({
    exact,
    patient,
    complete,
    knownSince: Number.POSITIVE_INFINITY,
    changed: new Set(),
    also: new Set(),
    directories: false,
    sliceFrom: clock.mono(),
    againTook: 0,
  })

  function finish(pass: Pass, completeSince?: Mono): void {
    restless ||= pass.changed.size > 0
    if (running && pass.directories) hints.watchOnly(reader.directories)
    if (pass.changed.size > 0 || completeSince !== undefined) onLook(pass.changed, completeSince)
  }

  /** Extended attributes of the names that have changed in any way since they were read last. */
  async function readAttributes(pass: Pass): Promise<void> {
    // The record changes with every move: it is not worth two processes while the workload stands still.
    for (const key of reader.attributesStale)
      if (!roots.hasAttributes(key)) reader.attributesStale.delete(key)
    const stale = [...reader.attributesStale]
    const due = attributesAt === undefined || clock.mono() - attributesAt >= ATTRIBUTES_EVERY
    if (!xattrs.available) return reader.attributesStale.clear()
    if (stale.length === 0 || !(due || pass.exact)) return
    attributesAt = clock.mono()
    reader.attributesStale.clear()
    const found = await xattrs.read(stale.map((key) => roots.pathOf(key)))
    for (const [index, key] of stale.entries()) {
      const answer = found[index]
      if (typeof answer === 'string') reader.setAttributes(key, answer, pass)
      else if (answer) attributesFailed(key, answer.message, pass)
    }
  }

  /** They are asked for again; what has to be exact is not so without them. */
  function attributesFailed(key: Key, why: string, pass: Pass): void {
    reader.attributesStale.add(key)
    // What is gone by now is told by the next look.
    if (pass.exact && statOf(roots.pathOf(key))) reader.unreadable.set(key, why)
  }

  /** Not in line with the looks: it does not touch the state, and somebody may wait for one of them. */
  async function readMappings(): Promise<void> {
    const started = clock.mono()
    const every = Math.min(Math.max(mappingsTook * SCAN_SHARE, SCAN_EVERY_MIN), SCAN_EVERY_MAX)
    if (!restless || (mappingsAt !== undefined && started - mappingsAt < every)) return
    await listMappings()
  }

  async function listMappings(): Promise<void> {
    const started = clock.mono()
    mappingsAt = started
    await mappings.refresh()
    mappingsTook = clock.mono() - started
  }

  async function scanLoop(): Promise<void> {
    await readMappings()
    if (!running) return
    const started = clock.mono()
    await serial(() => lookAtAll())
    if (!running) return
    const took = clock.mono() - started
    const wait = Math.min(Math.max(took * SCAN_SHARE, SCAN_EVERY_MIN), SCAN_EVERY_MAX)
    cancelScan = clock.timer(millis(wait), () => void scanLoop())
  }

  return {
    tree: reader.tree,
    unreadable: reader.unreadable,
    knownUntil,
    get unwatched() {
      return hints.unwatched
    },
    start() {
      if (running) return
      running = true
      void readMappings()
      cancelScan = clock.timer(millis(SCAN_EVERY_MIN), () => void scanLoop())
    },
    full: () => serial(() => lookAtAll()),
    patient: () => serial(() => lookAtAll({ patient: true })),
    exact: () => serial(() => lookAtAll({ exact: true })),
    almostExact: () =>
      serial(async () => {
        if (reader.doubtCost() > mappingsTook) await listMappings()
        await lookAtAll({ exact: true })
      }),
    read: (keys) => {
      const unread = keys.filter((key) => reader.tree.file(key)?.unread)
      if (unread.length === 0) return Promise.resolve()
      return serial(async () => {
        const pass = newPass()
        for (const key of unread) {
          if (!reader.tree.file(key)?.unread) continue
          reader.distrust(key)
          await reader.look(key, pass)
        }
        finish(pass)
      })
    },
    learn: reader.learn,
    suspect: reader.suspect,
    distrust: reader.distrust,
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
