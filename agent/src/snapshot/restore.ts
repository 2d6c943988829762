import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import {
  type Clock,
  formatMillis,
  type Instant,
  instant,
  type Millis,
  millis,
} from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import { createApplier, createScanner, StateTree, treeDigest } from '../replication/replication.ts'
import type { RestoreMark } from './restore-mark.ts'
import type { Pack, Snapshot, SnapshotName } from './snapshot-format.ts'
import type { SnapshotStore } from './snapshot-store.ts'
import type { State } from './state.ts'
import { empty, isEmpty, moveAside } from './state-directories.ts'
import { opsIn, refusing } from './state-stream.ts'

/** Packs that are fetched while one is put in place. */
const AHEAD = 2
/** What is in place is made durable, and noted, each time so much has come. */
const NOTE_BYTES = 64 * 1024 * 1024

export interface RestoreProgressReport {
  readonly snapshot: string
  readonly packs: number
  readonly packs_total: number
  readonly bytes: number
  readonly bytes_total: number
}

export interface RestoreOrder {
  /** The newest by default. */
  readonly at?: string | undefined
  /** Moves aside what is in the state directories; without it they must be empty. */
  readonly force: boolean
  readonly signal: AbortSignal
  readonly onProgress?: ((progress: RestoreProgressReport) => void) | undefined
}

export interface Restored {
  readonly snapshot: Snapshot
  /** How old the state is: what was written since is lost. */
  readonly age: Millis
  readonly took: Millis
  /** An earlier restore of the same snapshot had come so far. */
  readonly resumedAt: number
  /** Where what was in the state directories is now. */
  readonly movedTo: string | undefined
}

export interface RestoreSurroundings {
  readonly store: SnapshotStore
  readonly state: State
  readonly mark: RestoreMark
  /** What is moved aside goes below this. */
  readonly discarded: string
  /** Called before anything is changed. */
  readonly onBegin?: () => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Puts a snapshot into the state directories. A restore that was cut off goes on where it was; until it has ended the
 * mark says so.
 * @throws AppError `not_found` without such a snapshot, `conflict` when the directories are not empty,
 * `state_unreadable` when the snapshot is damaged, `disk_full`; what the store throws
 */
export async function restore(parts: RestoreSurroundings, order: RestoreOrder): Promise<Restored> {
  const { store, state, mark, clock, log } = parts
  const { directories } = state
  const { signal } = order
  const started = clock.mono()
  const { id } = await choose(store, order.at, mark.progress?.snapshot, signal)
  const snapshot = await store.read(id, signal)
  if (snapshot.directories.length !== directories.length)
    throw new AppError(
      'conflict',
      `the snapshot has ${snapshot.directories.length} state directories, this instance is set up for ${directories.length}`,
      {
        hint: `Set workload.state as it was where the snapshot was made: ${snapshot.directories.join(', ')}`,
      },
    )
  const begun = mark.progress?.snapshot === id ? mark.progress.packs : 0
  await parts.onBegin?.()
  const movedTo = begun > 0 ? undefined : await makeRoom(parts, order)
  await mark.set({ snapshot: id, packs: begun })
  let equal = await putInPlace(parts, snapshot, begun, order)
  if (!equal && begun > 0) {
    // What an earlier run has left is not what it noted.
    log.warn({ event: 'restore.begun_anew', snapshot: id })
    await mark.set({ snapshot: id, packs: 0 })
    for (const directory of directories) await empty(directory)
    equal = await putInPlace(parts, snapshot, 0, order)
  }
  if (!equal)
    throw new AppError('state_unreadable', `what snapshot ${id} leads to is not what it recorded`, {
      hint: 'Take an older one: understudy-agent restore --at <id> --force',
    })
  await mark.clear()
  return {
    snapshot,
    age: millis(Math.max(0, clock.now() - Date.parse(snapshot.taken_at))),
    took: millis(clock.mono() - started),
    resumedAt: begun,
    movedTo,
  }
}

/** The one that was asked for; else the one that was begun with, if it is still there; else the newest. */
async function choose(
  store: SnapshotStore,
  wanted: string | undefined,
  begun: string | null | undefined,
  signal: AbortSignal,
): Promise<SnapshotName> {
  const names = await store.names(signal)
  const called = (name: string) => names.find(({ id }) => id === name)
  const found = wanted === undefined ? (called(begun ?? '') ?? names[0]) : called(wanted)
  if (found) return found
  const what = wanted === undefined ? 'no snapshot of this agent' : `no snapshot ${wanted}`
  throw new AppError('not_found', `there is ${what} in ${store.name}`, {
    hint: names[0]
      ? `The newest one is ${names[0].id}; understudy-agent snapshots lists all.`
      : 'Check snapshot_store, and that the agent is the one that made it.',
    facts: { snapshots: names.length },
  })
}

/** Empty state directories. What is there of an earlier, other restore is removed; anything else is somebody's. */
async function makeRoom(parts: RestoreSurroundings, { force }: RestoreOrder): Promise<string | undefined> {
  const { state, mark, clock, discarded } = parts
  const { directories } = state
  const full: string[] = []
  for (const directory of directories) if (!(await isEmpty(directory))) full.push(directory)
  if (full.length === 0) return undefined
  if (mark.progress?.snapshot) {
    for (const directory of full) await empty(directory)
    return undefined
  }
  if (!force)
    throw new AppError('conflict', `${full.join(', ')} is not empty`, {
      hint: 'Add --force to move aside what is there; nothing is deleted.',
    })
  const to = join(discarded, new Date(clock.now()).toISOString().replaceAll(':', '-'))
  for (const [root, directory] of directories.entries()) await moveAside(directory, join(to, String(root)))
  return to
}

/** Whether the tree that the packs lead to is the recorded one. */
async function putInPlace(
  { store, state, mark, clock, log }: RestoreSurroundings,
  snapshot: Snapshot,
  begun: number,
  { signal, onProgress }: RestoreOrder,
): Promise<boolean> {
  const { roots, xattrs } = state
  const applier = createApplier(roots, begun > 0 ? await readTree() : new StateTree(), xattrs)
  const { packs } = snapshot
  const total = packs.reduce((sum, { bytes }) => sum + bytes, 0)
  let bytes = packs.slice(0, begun).reduce((sum, pack) => sum + pack.bytes, 0)
  let unnoted = 0
  let done = begun

  async function readTree(): Promise<StateTree> {
    const scanner = createScanner({ roots, clock, xattrs, onLook: () => undefined })
    await scanner.full()
    return scanner.tree
  }

  /** Makes durable what is in place, and notes it. */
  async function note(): Promise<void> {
    for (const failed of await applier.settleAttributes())
      log.warn({ event: 'restore.attributes_not_set', why: failed.message, hint: failed.hint })
    await applier.sync()
    await mark.set({ snapshot: snapshot.id, packs: done })
    unnoted = 0
  }

  for await (const { content, pack } of fetchAhead(store, packs.slice(begun), signal)) {
    for await (const ops of opsIn(content, pack)) {
      refusing(pack, () => applier.apply(ops))
      await new Promise(setImmediate)
      signal.throwIfAborted()
    }
    done += 1
    bytes += pack.bytes
    unnoted += pack.bytes
    onProgress?.({ snapshot: snapshot.id, packs: done, packs_total: packs.length, bytes, bytes_total: total })
    if (unnoted >= NOTE_BYTES) await note()
  }
  await note()
  return treeDigest(applier.tree) === snapshot.tree.digest
}

/** Packs in order, with the next ones on their way. */
async function* fetchAhead(store: SnapshotStore, packs: readonly Pack[], signal: AbortSignal) {
  const stop = new AbortController()
  const either = AbortSignal.any([signal, stop.signal])
  const coming: { pack: Pack; content: Promise<Buffer> }[] = []
  const more = (pack: Pack | undefined) => {
    if (!pack) return
    const content = store.getPack(pack, either)
    // Its error is thrown when it is its turn.
    content.catch(() => undefined)
    coming.push({ pack, content })
  }
  try {
    for (let at = 0; at < packs.length; at += 1) {
      while (coming.length <= AHEAD && at + coming.length < packs.length) more(packs[at + coming.length])
      const next = coming.shift()
      if (next) yield { pack: next.pack, content: await next.content }
    }
  } finally {
    stop.abort()
    await Promise.allSettled(coming.map(({ content }) => content))
  }
}

/** What was written before then is there. */
export const throughOf = ({ snapshot }: Restored): Instant => instant(Date.parse(snapshot.taken_at))

/** For the log, the incident and people. */
export const describeRestored = ({ snapshot, age, took }: Restored): string =>
  `snapshot ${snapshot.id}, ${snapshot.tree.bytes} bytes in ${formatMillis(took)}; it is ${Math.round(age / 1000)} s old, and what was written since ${snapshot.taken_at} is lost`
