import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { type Clock, hours, type Instant, instant, type Mono } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import {
  createScanner,
  type Key,
  type ReadonlyTree,
  type Scanner,
  StateTree,
  treeDigest,
} from '../replication/replication.ts'
import { AGENT_VERSION } from '../version.ts'
import { cutByName, reasonForBase, superfluous } from './chain.ts'
import { type Pack, type Snapshot, type SnapshotName, snapshotId } from './snapshot-format.ts'
import type { SnapshotStore } from './snapshot-store.ts'
import type { State } from './state.ts'
import { addManifest, type BuiltPack, manifestPacks, packsFor } from './state-stream.ts'
import { createUploads } from './uploads.ts'

const UPLOADS_AT_ONCE = 2
/**
 * Packs that no snapshot names are left this long: they may belong to one that is still being made. A pack is taken
 * over without sending it only while it is well younger than that, or named by the last snapshot.
 */
const UNNAMED_LIFE = hours(24)
const TAKE_OVER_UNTIL = hours(12)
/** An upload in parts that has not ended by then never will. */
const UNFINISHED_LIFE = hours(1)
const TIDY_EVERY = hours(1)

export interface SnapshotProgress {
  readonly step: 'looking' | 'sending' | 'publishing'
  readonly packs: number
  readonly bytes_sent: number
  /** Bytes that were in the store already. */
  readonly bytes_there: number
  readonly state_bytes: number
}

export interface SnapshotOrder {
  readonly epoch: number
  /** The workload stands still: look at everything exactly. */
  readonly frozen: boolean
  readonly signal: AbortSignal
  readonly onProgress?: (progress: SnapshotProgress) => void
}

export interface TakenSnapshot {
  readonly snapshot: Snapshot
  readonly bytesSent: number
  readonly bytesThere: number
  /** Why it began a new chain. */
  readonly base: string | undefined
}

/** Makes snapshots of the state directories, one after the other. A snapshot shows only once it is whole. */
export interface SnapshotWriter {
  /**
   * @throws AppError `stale_epoch` when there is a snapshot of a higher epoch; what the store throws; and rejects
   * with the signal's reason
   */
  take(order: SnapshotOrder): Promise<TakenSnapshot>
  /** Forgets the state, and with it the memory that it takes: it may change now without being looked at. */
  forget(): void
}

export interface WriterSurroundings {
  readonly store: SnapshotStore
  readonly agent: AgentId
  readonly instance: InstanceId
  readonly state: State
  /** Snapshots that are kept. */
  readonly keep: number
  readonly clock: Clock
  readonly log: Logger
}

/** The last snapshot, with the tree that it holds. */
interface Known {
  readonly snapshot: Snapshot
  readonly tree: StateTree
}

export function createSnapshotWriter(parts: WriterSurroundings): SnapshotWriter {
  const { store, agent, instance, state, clock, log } = parts
  const { directories, roots, xattrs } = state
  let scanner: Scanner | undefined
  /** Names that have changed since `known` was made; undefined when nobody has looked. */
  let changed: Set<Key> | undefined
  let known: Known | undefined
  let tidiedAt: Mono | undefined

  async function look(frozen: boolean): Promise<Scanner> {
    scanner ??= createScanner({
      roots,
      clock,
      xattrs,
      onLook: (names) => {
        for (const name of names) changed?.add(name)
      },
    })
    await (frozen ? scanner.exact() : scanner.full())
    return scanner
  }

  /** The newest snapshot with its tree; undefined when there is none that can be gone on from. */
  async function last(id: string | undefined, signal: AbortSignal): Promise<Known | undefined> {
    if (id === undefined) return undefined
    if (known?.snapshot.id === id) return known
    changed = undefined
    try {
      const snapshot = await store.read(id, signal)
      const tree = new StateTree()
      for (const part of snapshot.manifest) await addManifest(tree, await store.getPack(part, signal), part)
      if (treeDigest(tree) === snapshot.tree.digest) return { snapshot, tree }
      log.warn({ event: 'snapshot.manifest_differs', id })
    } catch (error) {
      if (!isAppError(error, 'state_unreadable') && !isAppError(error, 'not_found')) throw error
      log.warn({ event: 'snapshot.not_gone_on_from', id, why: error.message })
    }
    return undefined
  }

  /** The newest snapshot of the agent, and the number of the next one. */
  async function newest(
    epoch: number,
    signal: AbortSignal,
  ): Promise<{ id: string | undefined; seq: number }> {
    const [first] = await store.names(signal)
    if (first && first.epoch > epoch)
      throw new AppError(
        'stale_epoch',
        `${store.name} has a snapshot of epoch ${first.epoch}: epoch ${epoch} of this instance is over`,
        { hint: 'Another instance has taken over. Nothing has to be done if this one is no longer primary.' },
      )
    return { id: first?.id, seq: first?.epoch === epoch ? first.seq + 1 : 1 }
  }

  async function take(order: SnapshotOrder): Promise<TakenSnapshot> {
    const { epoch, frozen, signal } = order
    const { id, seq } = await newest(epoch, signal)
    const before = await last(id, signal)
    const there = await store.packs(signal)
    const report = createReport(order.onProgress)
    report.step('looking')
    const takenAt = clock.now()
    const { tree: ours, unreadable } = await look(frozen)
    signal.throwIfAborted()
    report.state(bytesOf(ours))
    const base = reasonFor(before?.snapshot, there, bytesOf(ours))
    const from = base === undefined ? before : undefined
    const theirs = from?.tree ?? new StateTree()
    const groups = from ? [namesIn(from, ours)] : groupsOf(ours)
    // Until this snapshot is there, nothing is known of the store.
    known = undefined
    changed = new Set()

    report.step('sending')
    const sender = createSender(there, objectsOf(before?.snapshot), report, signal)
    const { packs, manifest } = await sendAll(sender, groups, ours, theirs)
    report.step('publishing')
    const snapshot: Snapshot = {
      schema: 'understudy.snapshot/v1',
      id: snapshotId(new Date(takenAt), epoch, seq),
      agent_id: agent,
      instance_id: instance,
      agent_version: AGENT_VERSION,
      epoch,
      seq,
      taken_at: new Date(takenAt).toISOString(),
      workload: frozen ? 'frozen' : 'running',
      directories: [...directories],
      tree: { digest: treeDigest(theirs), names: theirs.size, bytes: bytesOf(theirs) },
      unreadable: unreadable.size,
      packs: [...(from?.snapshot.packs ?? []), ...packs],
      manifest,
    }
    // Another instance may have become primary while this was sent.
    await newest(epoch, signal)
    await store.publish(snapshot, signal)
    known = { snapshot, tree: theirs }
    await prune(takenAt, before && isSame(before.snapshot, snapshot) ? [before.snapshot.id] : [], signal)
    return { snapshot, bytesSent: report.sent, bytesThere: report.there, base }
  }

  /** What brings `theirs` to `ours`, and the manifest of that, all of it in the store. */
  async function sendAll(
    sender: ReturnType<typeof createSender>,
    groups: Iterable<readonly Key[]>,
    ours: ReadonlyTree,
    theirs: StateTree,
  ): Promise<{ packs: Pack[]; manifest: Pack[] }> {
    const packs: Pack[] = []
    const manifest: Pack[] = []
    try {
      for (const group of groups)
        for await (const pack of packsFor(group, ours, theirs, state, onUnreadable))
          packs.push(await sender.send(pack))
      for await (const part of manifestPacks(theirs)) manifest.push(await sender.send(part))
      await sender.done()
      return { packs, manifest }
    } finally {
      await sender.settle()
    }
  }

  /** Names that may differ from the last snapshot. */
  function namesIn(last: Known, ours: ReadonlyTree): Key[] {
    const names = known === last && changed ? changed : [...ours.keys(), ...last.tree.keys()]
    return [...new Set(names)]
  }

  /** What cannot be read stays as it is in the snapshot, and is looked at again next time with all its names. */
  function onUnreadable(key: Key, why: string): void {
    scanner?.distrust(key, why)
    for (const name of [key, ...(scanner?.tree.linksTo(key) ?? [])]) changed?.add(name)
  }

  /** Why a new chain begins; undefined when the last one goes on. */
  function reasonFor(
    before: Snapshot | undefined,
    there: ReadonlyMap<string, { bytes: number }>,
    stateBytes: number,
  ): string | undefined {
    const lost = before?.packs.find(({ sha256, bytes }) => there.get(sha256)?.bytes !== bytes)
    return lost
      ? `the pack ${lost.sha256.slice(0, 12)} of the last one is missing`
      : reasonForBase(before, directories.length, stateBytes)
  }

  function createSender(
    there: ReadonlyMap<string, { bytes: number; modified: Instant }>,
    last: readonly Pack[],
    report: Report,
    signal: AbortSignal,
  ) {
    const uploads = createUploads(UPLOADS_AT_ONCE)
    const sentNow = new Set<string>()
    const named = new Set(last.map(({ sha256 }) => sha256))
    const isThere = ({ sha256, bytes }: BuiltPack): boolean => {
      const object = there.get(sha256)
      if (object?.bytes !== bytes) return false
      return named.has(sha256) || clock.now() - object.modified < TAKE_OVER_UNTIL
    }
    return {
      async send(pack: BuiltPack): Promise<Pack> {
        signal.throwIfAborted()
        const { sha256, bytes, raw_bytes } = pack
        if (isThere(pack) || sentNow.has(sha256)) report.pack(0, bytes)
        else {
          sentNow.add(sha256)
          await uploads.add(async () => {
            await store.putPack(pack, signal)
            report.pack(bytes, 0)
          })
        }
        return { sha256, bytes, raw_bytes }
      },
      done: () => uploads.done(),
      settle: () => uploads.settle(),
    }
  }

  /** Removes old snapshots. Trouble with it is logged: the new one is there. */
  async function prune(now: Instant, replaced: readonly string[], signal: AbortSignal): Promise<void> {
    try {
      await store.removeSnapshots(replaced, signal)
      const names = await store.names(signal)
      const old = superfluous(names, parts.keep).map(({ id }) => id)
      await store.removeSnapshots(old, signal)
      const begun = clock.mono()
      if (tidiedAt !== undefined && begun - tidiedAt < TIDY_EVERY) return
      await tidy(
        names.filter(({ id }) => !old.includes(id)),
        now,
        signal,
      )
      tidiedAt = begun
    } catch (error) {
      log.warn({ event: 'snapshot.not_pruned', why: messageOf(error) })
    }
  }

  /** Removes what no snapshot names. One that cannot be read keeps every pack where it is. */
  async function tidy(names: readonly SnapshotName[], now: Instant, signal: AbortSignal): Promise<void> {
    const uploads = await store.sweep(instant(now - UNFINISHED_LIFE), signal)
    const named = new Set<string>()
    for (const { id } of names) {
      const snapshot = known?.snapshot.id === id ? known.snapshot : await store.read(id, signal)
      for (const { sha256 } of objectsOf(snapshot)) named.add(sha256)
    }
    const unnamed = [...(await store.packs(signal))].flatMap(([sha256, { modified }]) =>
      !named.has(sha256) && now - modified > UNNAMED_LIFE ? [sha256] : [],
    )
    await store.removePacks(unnamed, signal)
    log.debug({ event: 'snapshot.tidied', packs: unnamed.length, uploads })
  }

  return {
    take,
    forget() {
      scanner?.stop()
      scanner = undefined
      changed = undefined
      known = undefined
    },
  }
}

/** Further names of a file come after all files. */
function groupsOf(tree: ReadonlyTree): Key[][] {
  const names: Key[] = []
  const links: Key[] = []
  for (const [key, { kind }] of tree) (kind === 'link' ? links : names).push(key)
  return [...cutByName(names, (key) => tree.file(key)?.size ?? 0), links]
}

const objectsOf = (snapshot: Snapshot | undefined): Pack[] =>
  snapshot ? [...snapshot.packs, ...snapshot.manifest] : []

type Report = ReturnType<typeof createReport>

function createReport(onProgress: (progress: SnapshotProgress) => void = () => undefined) {
  let progress: SnapshotProgress = {
    step: 'looking',
    packs: 0,
    bytes_sent: 0,
    bytes_there: 0,
    state_bytes: 0,
  }
  const update = (patch: Partial<SnapshotProgress>) => {
    progress = { ...progress, ...patch }
    onProgress(progress)
  }
  return {
    step: (step: SnapshotProgress['step']) => update({ step }),
    state: (bytes: number) => update({ state_bytes: bytes }),
    pack: (sent: number, there: number) =>
      update({
        packs: progress.packs + 1,
        bytes_sent: progress.bytes_sent + sent,
        bytes_there: progress.bytes_there + there,
      }),
    get sent() {
      return progress.bytes_sent
    },
    get there() {
      return progress.bytes_there
    },
  }
}

function bytesOf(tree: ReadonlyTree): number {
  let bytes = 0
  for (const entry of tree.values()) if (entry.kind === 'file') bytes += entry.size
  return bytes
}

/** The newer one says the same of a later time. */
const isSame = (a: Snapshot, b: Snapshot): boolean =>
  a.tree.digest === b.tree.digest &&
  a.epoch === b.epoch &&
  a.packs.length === b.packs.length &&
  a.workload === b.workload
