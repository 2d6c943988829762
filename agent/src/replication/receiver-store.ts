import { mkdir, readdir, rename, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import { decodeOps, FrameFlag, type FrameHeader } from '@understudy/shared/protocol/replication'
import type { Logger } from 'pino'
import { type Applier, createApplier } from './applier.ts'
import { openCopyMark } from './copy-mark.ts'
import { unpackBody } from './frames.ts'
import { diskFull, type JournaledFrame, openJournal } from './journal.ts'
import { createReplay, type Replay } from './replay.ts'
import type { StateRoots } from './state-files.ts'
import { type Entry, type Key, treeDigest } from './state-tree.ts'

/** The journal is emptied once it is this long, and whenever nothing comes in. */
const CHECKPOINT_BYTES = 32 * 1024 * 1024
/** Always left free on the disk, so that the workload can start. */
const RESERVE_BYTES = 16 * 1024 * 1024

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
  adopt(tree: Map<Key, Entry>): void
  /** Writes a frame to the journal. @throws AppError `disk_full`, with everything as it was before */
  journal(frame: JournaledFrame): Promise<void>
  /** Makes the journal durable, then puts whole groups in place. Returns the last batch that is durable. */
  commit(): Promise<number>
  /** The copy is whole with everything up to `seq` in place, unless a bulk batch has come in since. */
  markWhole(seq?: number): Promise<void>
  /** Everything whole is in place and synced. */
  checkpoint(): Promise<void>
  /** Drops a group that will never be complete, because its connection has ended. */
  dropPartial(): Promise<void>
  digest(): string
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
  log: Logger,
): Promise<ReceiverStore> {
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
  const mark = openCopyMark(join(dataDirectory, 'copy.json'))
  const serial = createSerial()
  let applier: Applier = createApplier(roots, new Map())
  const { journal, groups } = await openJournal(join(dataDirectory, 'journal'))
  let group: JournaledFrame[] = []
  let ready = groups
  /** There as long as what is put in place may have been before; until it is, the tree is a mixture. */
  let replay: Replay | undefined = ready.length > 0 ? createReplay(applier) : undefined
  /** Why nothing more can be taken before the next connection. */
  let broken: unknown
  let appended = 0
  let lastBulk = 0
  await applyReady().catch((error: unknown) =>
    log.warn({ event: 'replication.replay_failed', why: messageOf(error) }),
  )
  await checkpointNow()

  /** Batches that are not in place stay in the journal. */
  async function checkpointNow(): Promise<void> {
    await applier.sync()
    if (group.length === 0 && ready.length === 0 && journal.bytes > 0) await journal.clear()
  }

  async function applyReady(): Promise<void> {
    try {
      await journal.sync()
      for (let frames = ready[0]; frames; frames = ready[0]) {
        for (const { frame, header } of frames) {
          const ops = decodeOps(unpackBody(frame, header))
          if (replay) replay.apply(ops)
          else applier.apply(ops)
          await new Promise(setImmediate)
        }
        ready.shift()
      }
      if (replay?.refused) throw replay.refused
      replay = undefined
    } catch (error) {
      broken = error
      if (isAppError(error, 'disk_full')) replay ??= createReplay(applier)
      else await setAside(error)
      throw error
    }
    if (journal.bytes > CHECKPOINT_BYTES) await checkpointNow()
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
        hint: 'Nothing is started on a part of it: promote another replica, or bring back an instance that has it whole.',
      })
    },
    adopt(tree) {
      applier = createApplier(roots, tree)
    },
    journal: (entry) =>
      serial(async () => {
        if (broken) throw broken
        const unplaced = [...ready.flat(), ...group, entry].reduce(
          (sum, { header }) => sum + header.rawBytes,
          0,
        )
        await assertSpace(roots.directories, unplaced + entry.frame.length)
        // A batch that is put in place by itself leaves a mixture of old and new until the transfer is complete.
        // Said before it is in the journal, so that what is replayed after a crash never has to be looked at again.
        if (isBulk(entry.header)) await mark.set(false)
        await journal.append(entry.frame)
        appended = entry.header.seq
        if (isBulk(entry.header)) lastBulk = appended
        group.push(entry)
        if (!isBulk(entry.header) && (entry.header.flags & FrameFlag.last) === 0) return
        ready.push(group)
        group = []
      }),
    commit: () =>
      serial(async () => {
        const durable = appended
        await applyReady()
        return durable
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
        appended = 0
        lastBulk = 0
        broken = undefined
        await applyReady()
        await checkpointNow()
      }),
    digest: () => treeDigest(applier.tree),
    discard: (name) =>
      serial(async () => {
        group = []
        ready = []
        replay = undefined
        await journal.clear()
        await mark.set(false)
        for (const [root, directory] of roots.directories.entries())
          await moveAside(directory, join(dataDirectory, 'discarded', name, String(root)))
      }),
    close: () => serial(() => journal.close()),
  }
}

const isBulk = (header: FrameHeader): boolean => (header.flags & FrameFlag.bulk) !== 0

/** Room for the batch in the journal, for all that is not in place yet, and the reserve. */
async function assertSpace(directories: readonly string[], bytes: number): Promise<void> {
  for (const directory of directories) {
    const { bavail, bsize } = await statfs(directory)
    if (bavail * bsize < bytes + RESERVE_BYTES) throw diskFull(directory)
  }
}

async function moveAside(from: string, to: string): Promise<void> {
  const names = await readdir(from, { encoding: 'buffer' })
  if (names.length === 0) return
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const name of names) {
    const source = Buffer.concat([Buffer.from(`${from}/`), name])
    const target = Buffer.concat([Buffer.from(`${to}/`), name])
    await rename(source, target).catch((error: unknown) => {
      throw new AppError('state_unreadable', `what is in ${from} could not be moved aside to ${to}`, {
        hint: 'data_dir must be on the same file system as the state directories.',
        cause: error,
      })
    })
  }
}
