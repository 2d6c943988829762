import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import { decodeOps, FrameFlag, type FrameHeader } from '@understudy/shared/protocol/replication'
import type { Logger } from 'pino'
import { type Applier, createApplier } from './applier.ts'
import { openCopyMark } from './copy-mark.ts'
import { assertSpace, moveAside } from './discard.ts'
import { hashFile } from './file-content.ts'
import { unpackBody } from './frames.ts'
import { type JournaledFrame, openJournal } from './journal.ts'
import { createReplay, type Replay } from './replay.ts'
import { parentsAreDirectories, type StateRoots, statOf } from './state-files.ts'
import { type DigestOptions, type Entry, type Key, StateTree, treeDigest } from './state-tree.ts'
import type { Xattrs } from './xattrs.ts'

/** The journal is emptied once it is this long, and whenever nothing comes in. */
const CHECKPOINT_BYTES = 32 * 1024 * 1024
/** The space on the disk is looked at again after this much. */
const SPACE_BYTES = 16 * 1024 * 1024
/** The event loop is given back after a batch of this size. */
const YIELD_BYTES = 64 * 1024

/** Numbers of batches. */
export interface Taken {
  /** Everything up to here survives a crash of the machine. */
  readonly durable: number
  /** Everything up to here is in the journal or in place. */
  readonly taken: number
}

/**
 * What a replica has on disk: the state directories, and a journal of batches that are durable but perhaps not yet in
 * place. Survives a crash at any byte.
 */
export interface ReceiverStore {
  readonly whole: boolean
  /** A copy comes in: until it is whole, nothing may be started on what is there. */
  begin(): Promise<void>
  /** @throws AppError `state_unreadable` when what is there is a part of a copy */
  assertComplete(): void
  /** Forgets what was known of the tree and takes `tree`, which was just read from disk. */
  adopt(tree: StateTree): void
  /** What is in place, as far as it is known. */
  readonly tree: StateTree
  /** The last batch that is in the journal or in place. */
  readonly taken: number
  /** Goes on with batch `taken` + 1 where the same stream goes on. */
  readonly canGoOn: boolean
  /** Writes a frame to the journal. @throws AppError `disk_full`, with everything as it was before */
  journal(header: FrameHeader, frame: Uint8Array): Promise<void>
  /** Puts a bulk batch in place at once: the copy is a mixture until it is whole. @throws AppError `disk_full` */
  place(header: FrameHeader, body: Uint8Array): Promise<void>
  /** Makes the journal durable, then puts whole groups in place. What is not from the journal is synced with `all`. */
  commit(all: boolean): Promise<Taken>
  /** The copy is whole with everything up to `seq` in place, unless a bulk batch has come in since. */
  markWhole(seq?: number): Promise<void>
  /** Everything whole is in place and synced. */
  checkpoint(): Promise<void>
  /** Drops a group that will never be complete, because its connection has ended. */
  dropPartial(): Promise<void>
  digest(options: DigestOptions): string
  /** Reads these files from disk. Returns what is there, and takes it for what is known. */
  reread(keys: readonly Key[]): Promise<ReadonlyMap<Key, Entry>>
  /** Runs `task` while nothing is being put in place. */
  still<T>(task: () => Promise<T>): Promise<T>
  /** Moves what is in the state directories aside, into `discarded/`. */
  discard(name: string): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the store and finishes what a crash left undone, before anything else may touch the state directories. What
 * is in the journal never keeps it from opening: without space it waits there, and what does not fit is set aside.
 */
export async function openReceiverStore(
  roots: StateRoots,
  dataDirectory: string,
  xattrs: Xattrs,
  log: Logger,
): Promise<ReceiverStore> {
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
  const mark = openCopyMark(join(dataDirectory, 'copy.json'))
  const serial = createSerial()
  let applier: Applier = createApplier(roots, new StateTree(), xattrs)
  const { journal, groups } = await openJournal(join(dataDirectory, 'journal'))
  let group: JournaledFrame[] = []
  let ready = groups
  /** There as long as what is put in place may have been before; until it is, the tree is a mixture. */
  let replay: Replay | undefined = ready.length > 0 ? createReplay(applier) : undefined
  /** Why nothing more can be taken before the next connection. */
  let broken: unknown
  let taken = 0
  let durable = 0
  let lastBulk = 0
  /** Bytes that are in place without having been in the journal, and are not synced. */
  let unsyncedBulk = 0
  let spaceFor = 0
  await applyReady().catch((error: unknown) =>
    log.warn({ event: 'replication.replay_failed', why: messageOf(error) }),
  )
  await checkpointNow()

  /** Batches that are not in place stay in the journal. */
  async function checkpointNow(): Promise<void> {
    await applier.sync()
    unsyncedBulk = 0
    if (group.length === 0 && ready.length === 0 && journal.bytes > 0) await journal.clear()
  }

  async function applyReady(): Promise<void> {
    try {
      await journal.sync()
      for (let entries = ready[0]; entries; entries = ready[0]) {
        for (const entry of entries) await applyOne(entry, entries[0] ?? entry)
        ready.shift()
      }
      if (replay?.refused) throw replay.refused
      replay = undefined
      await settleAttributes()
    } catch (error) {
      broken = error
      if (isAppError(error, 'disk_full')) replay ??= createReplay(applier)
      else await setAside(error)
      throw error
    }
    if (journal.bytes > CHECKPOINT_BYTES) await checkpointNow()
  }

  async function applyOne(entry: JournaledFrame, first: JournaledFrame): Promise<void> {
    const ops = decodeOps(unpackBody(await journal.read(entry), entry.header))
    // What was written into two files before they became one must not be replayed over the one.
    if (!replay && ops.some(({ kind }) => kind === 'link')) {
      await applier.sync()
      await journal.dropBefore(first)
    }
    if (replay) replay.apply(ops)
    else applier.apply(ops)
    journal.placed(entry)
    if (entry.bytes > YIELD_BYTES) await new Promise(setImmediate)
  }

  /** Asks the system only once in a while. */
  async function ensureSpace(bytes: number): Promise<void> {
    spaceFor -= bytes
    if (spaceFor > 0) return
    const unplaced = [...ready.flat(), ...group].reduce((sum, { header }) => sum + header.rawBytes, 0)
    // Others write on the same disk: only a part of what is left is counted on.
    spaceFor = Math.min(SPACE_BYTES, (await assertSpace(roots.directories, unplaced + bytes)) / 4)
  }

  async function settleAttributes(): Promise<void> {
    const failed = await applier.settleAttributes()
    if (failed.length > 0)
      log.error({ event: 'replication.xattrs_failed', count: failed.length, why: failed[0]?.message })
  }

  async function readEntry(key: Key): Promise<Entry | undefined> {
    const path = roots.pathOf(key)
    if (!parentsAreDirectories(roots, key) || statOf(path)?.kind !== 'file') return undefined
    const { stat, size, pages } = await hashFile(path, 0, new BigUint64Array(0))
    const xattrsOf = applier.tree.file(key)?.meta.xattrs ?? ''
    return { kind: 'file', meta: { ...stat.meta, xattrs: xattrsOf }, size, pages }
  }

  /** Nothing is forced into place: the primary compares again and sends what is missing. */
  async function setAside(error: unknown): Promise<void> {
    await mark.set(false)
    group = []
    ready = []
    replay = undefined
    const journalAt = await journal.setAside()
    log.warn({ event: 'replication.journal_set_aside', why: messageOf(error), journal: journalAt })
  }

  return {
    get whole() {
      return mark.whole && !replay
    },
    begin: () => serial(() => (mark.whole ? undefined : mark.set(false))),
    assertComplete() {
      if (!mark.partial && !replay) return
      throw new AppError('state_unreadable', 'the copy of the state on this instance is not complete', {
        facts: { incomplete: true },
        hint: 'Nothing is started on a part of it: promote another replica, or bring back an instance that has it whole.',
      })
    },
    adopt(tree) {
      applier = createApplier(roots, tree, xattrs)
    },
    get tree() {
      return applier.tree
    },
    get taken() {
      return taken
    },
    get canGoOn() {
      return broken === undefined && taken > 0
    },
    journal: (header, frame) =>
      serial(async () => {
        if (broken) throw broken
        await ensureSpace(header.rawBytes + frame.length)
        group.push(await journal.append(frame, header))
        taken = header.seq
        if ((header.flags & FrameFlag.last) === 0) return
        ready.push(group)
        group = []
      }),
    place: (header, body) =>
      serial(async () => {
        if (broken) throw broken
        await ensureSpace(header.rawBytes)
        // A batch that is put in place by itself leaves a mixture of old and new until the transfer is complete.
        await mark.set(false)
        lastBulk = header.seq
        if (group.length > 0) ready.push(group)
        group = []
        // Nothing older may be replayed over it.
        if (journal.bytes > 0) {
          await applyReady()
          await checkpointNow()
        }
        try {
          applier.apply(decodeOps(body))
        } catch (error) {
          broken = error
          throw error
        }
        taken = header.seq
        unsyncedBulk += header.rawBytes
      }),
    commit: (all) =>
      serial(async () => {
        const upTo = taken
        await applyReady()
        if (all && unsyncedBulk > 0) await checkpointNow()
        if (unsyncedBulk === 0) durable = upTo
        return { durable, taken: upTo }
      }),
    markWhole: (seq = Number.POSITIVE_INFINITY) =>
      serial(() => (lastBulk <= seq ? mark.set(true) : undefined)),
    checkpoint: () =>
      serial(async () => {
        await applyReady()
        await checkpointNow()
      }),
    dropPartial: () =>
      serial(async () => {
        group = []
        taken = 0
        durable = 0
        lastBulk = 0
        broken = undefined
        await applyReady()
        await checkpointNow()
      }),
    digest: (options) => treeDigest(applier.tree, options),
    reread: (keys) =>
      serial(async () => {
        // What has come and is not in place yet would be missing from what is read.
        await applyReady()
        const found = new Map<Key, Entry>()
        for (const key of keys) {
          const entry = await readEntry(key)
          if (!entry) applier.tree.remove(key)
          else {
            applier.tree.set(key, entry)
            found.set(key, entry)
          }
        }
        return found
      }),
    still: (task) => serial(task),
    discard: (name) =>
      serial(async () => {
        group = []
        ready = []
        replay = undefined
        await journal.clear()
        await mark.set(false)
        for (const [root, directory] of roots.stateDirectories.entries())
          await moveAside(directory, join(dataDirectory, 'discarded', name, String(root)))
      }),
    close: () => serial(() => journal.close()),
  }
}
