import { AppError, isAppError } from '@understudy/shared/core/app-error'
import {
  encodeManifest,
  FrameFlag,
  FrameType,
  type ManifestEntry,
  type PrimaryMessage,
  primaryMessageSchema,
  type ReplicaMessage,
} from '@understudy/shared/protocol/replication'
import type { WebSocket } from 'ws'
import { checkFrame, packFrame } from './frames.ts'
import type { ReceiverStore } from './receiver-store.ts'
import { type Entry, type Key, manifestOf } from './state-tree.ts'

const MANIFEST_BYTES = 1024 * 1024

export interface SyncProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly filesDone: number
  readonly filesTotal: number
  readonly seq: number
}

export interface SessionParts {
  readonly store: ReceiverStore
  readonly epoch: number
  readonly socket: WebSocket
  /** The copy may have become whole, or stopped being so. */
  readonly onCopy: () => void
  readonly onProgress: (progress: SyncProgress) => void
  /** Ends the connection; what is known of the disk still holds. */
  readonly end: (why: Error) => void
  /** Ends the connection; the disk has to be read again. */
  readonly reject: (error: unknown) => void
}

export interface ReceiverSession {
  say(message: ReplicaMessage): void
  /** Resolves once everything that has arrived is dealt with. */
  idle(): Promise<void>
  receive(data: Buffer, binary: boolean, manifest: ReadonlyMap<Key, Entry>): void
}

/** What a replica does with what comes over one connection: journals, acknowledges, and answers. */
export function createReceiverSession(parts: SessionParts): ReceiverSession {
  const { store, epoch, socket, onCopy, onProgress, end, reject } = parts
  let seq = 0
  let received = 0
  let total = { bytes: 0, files: 0 }
  let committing = false
  let wholeFrom: number | undefined
  let durable = 0
  const barriers: (PrimaryMessage & { type: 'barrier' })[] = []
  let tail: Promise<void> = Promise.resolve()
  let committed: Promise<void> = Promise.resolve()

  const say = (message: ReplicaMessage) => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message))
  }
  /** One thing after the other, in the order of arrival; the first failure ends the connection. */
  const inOrder = (task: () => Promise<void> | void) => {
    tail = tail.then(task).catch(reject)
  }

  const report = () =>
    onProgress({
      bytesDone: Math.min(received, total.bytes),
      bytesTotal: total.bytes,
      filesDone: store.whole ? total.files : 0,
      filesTotal: total.files,
      seq: durable,
    })

  /** Syncs what has come in; what comes meanwhile is synced together. */
  function startCommit(): void {
    if (committing) return
    committing = true
    committed = commit().catch(reject)
  }

  async function commit(): Promise<void> {
    try {
      do {
        durable = await store.commit()
        say({ type: 'ack', seq: durable })
        await settle()
        onCopy()
        report()
      } while (durable < seq || wholeFrom !== undefined || barriers.length > 0)
    } finally {
      committing = false
    }
  }

  /** What waited for a batch that is in place now. */
  async function settle(): Promise<void> {
    if (wholeFrom !== undefined && durable >= wholeFrom) {
      const upTo = wholeFrom
      wholeFrom = undefined
      await store.checkpoint()
      await store.markWhole(upTo)
    }
    for (let barrier = barriers[0]; barrier && barrier.seq <= durable; barrier = barriers[0]) {
      barriers.shift()
      await store.checkpoint()
      const equal = store.digest() === barrier.digest
      say({ type: 'barrier-reached', id: barrier.id, equal })
      if (!equal) throw new Error('the tree differs from the primary: reading it again from disk')
    }
  }

  async function onBatch(frame: Buffer): Promise<void> {
    const header = checkFrame(frame)
    if (header.type !== FrameType.batch) throw new Error('unexpected frame')
    if (header.epoch !== epoch) throw new Error(`a batch of epoch ${header.epoch} in epoch ${epoch}`)
    if (header.seq !== seq + 1) throw new Error(`batch ${header.seq} after ${seq}`)
    try {
      await store.journal({ header, frame })
    } catch (error) {
      if (isAppError(error, 'disk_full'))
        say({ type: 'nack', seq: header.seq, code: 'disk_full', message: error.message })
      throw error
    }
    seq = header.seq
    received += header.rawBytes
    onCopy()
    startCommit()
  }

  async function onControl(data: Buffer, manifest: ReadonlyMap<Key, Entry>): Promise<void> {
    const message = primaryMessageSchema.parse(JSON.parse(data.toString('utf8')))
    switch (message.type) {
      case 'accepted':
        return sendManifest(socket, epoch, manifest)
      case 'refused':
        return end(
          new AppError('unavailable', `the primary refuses this replica: ${message.message}`, {
            retryable: true,
          }),
        )
      case 'total':
        total = { bytes: message.bytes, files: message.files }
        return report()
      case 'whole':
        wholeFrom = message.seq
        return startCommit()
      case 'barrier':
        barriers.push(message)
        return startCommit()
    }
  }

  return {
    say,
    idle: async () => {
      await tail
      await committed
    },
    receive: (data: Buffer, binary: boolean, manifest: ReadonlyMap<Key, Entry>) =>
      inOrder(() => (binary ? onBatch(data) : onControl(data, manifest))),
  }
}

/** Shows the primary what is here, in frames that each fit into memory. */
async function sendManifest(socket: WebSocket, epoch: number, tree: ReadonlyMap<Key, Entry>): Promise<void> {
  let part: ManifestEntry[] = []
  let bytes = 0
  let seq = 0
  const flush = async (last: boolean) => {
    seq += 1
    const body = encodeManifest(part)
    socket.send(
      await packFrame({
        type: FrameType.manifest,
        epoch,
        seq,
        flags: last ? FrameFlag.last : 0,
        body,
      }),
    )
    part = []
    bytes = 0
  }
  for (const entry of manifestOf(tree)) {
    part.push(entry)
    bytes += 64 + entry.path.length + (entry.kind === 'file' ? entry.pages.length * 8 : 0)
    if (bytes >= MANIFEST_BYTES) await flush(false)
  }
  await flush(true)
}
