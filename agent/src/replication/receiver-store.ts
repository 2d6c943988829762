import { mkdir, readdir, rename, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import { decodeOps, FrameFlag, type FrameHeader } from '@understudy/shared/protocol/replication'
import { type Applier, createApplier } from './applier.ts'
import { openCopyMark } from './copy-mark.ts'
import { unpackBody } from './frames.ts'
import { diskFull, type Journal, type JournaledFrame, openJournal } from './journal.ts'
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

/** Opens the store and finishes what a crash left undone, before anything else may touch the state directories. */
export async function openReceiverStore(roots: StateRoots, dataDirectory: string): Promise<ReceiverStore> {
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
  const mark = openCopyMark(join(dataDirectory, 'copy.json'))
  const serial = createSerial()
  let applier: Applier = createApplier(roots, new Map())
  const apply = ({ frame, header }: JournaledFrame) => applier.apply(decodeOps(unpackBody(frame, header)))
  const journal: Journal = await openJournal(join(dataDirectory, 'journal'), async (frame) => apply(frame))
  let group: JournaledFrame[] = []
  let ready: JournaledFrame[][] = []
  let appended = 0
  let lastBulk = 0
  await checkpointNow()

  /** Batches of an unfinished group stay in the journal: they are durable and not in place. */
  async function checkpointNow(): Promise<void> {
    await applier.sync()
    if (group.length === 0 && journal.bytes > 0) await journal.clear()
  }

  async function applyReady(): Promise<void> {
    for (let frames = ready.shift(); frames; frames = ready.shift()) {
      for (const frame of frames) {
        apply(frame)
        await new Promise(setImmediate)
      }
    }
    if (journal.bytes > CHECKPOINT_BYTES) await checkpointNow()
  }

  return {
    get whole() {
      return mark.whole
    },
    adopt(tree) {
      applier = createApplier(roots, tree)
    },
    journal: (entry) =>
      serial(async () => {
        await assertSpace(roots.directories, entry.header.rawBytes + entry.frame.length)
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
        await journal.sync()
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
        await applyReady()
        await checkpointNow()
      }),
    digest: () => treeDigest(applier.tree),
    discard: (name) =>
      serial(async () => {
        group = []
        ready = []
        await journal.clear()
        await mark.set(false)
        for (const [root, directory] of roots.directories.entries())
          await moveAside(directory, join(dataDirectory, 'discarded', name, String(root)))
      }),
    close: () => serial(() => journal.close()),
  }
}

const isBulk = (header: FrameHeader): boolean => (header.flags & FrameFlag.bulk) !== 0

/** Room for the batch in the journal and in place, and the reserve. */
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
