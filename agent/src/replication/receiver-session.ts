import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { type Clock, millis } from '@understudy/shared/core/time'
import {
  encodeManifest,
  FrameFlag,
  type FrameHeader,
  FrameType,
  type ManifestEntry,
} from '@understudy/shared/protocol/replication'
import {
  type PrimaryMessage,
  primaryMessageSchema,
  type ReplicaMessage,
} from '@understudy/shared/protocol/replication-messages'
import type { WebSocket } from 'ws'
import { release } from './buffer-pool.ts'
import { createCompressor } from './compression.ts'
import { checkFrame, packFrame, unpackBody } from './frames.ts'
import type { ReceiverStore } from './receiver-store.ts'
import type { StateRoots } from './state-files.ts'
import { type Entry, type Key, keyOf, manifestOf } from './state-tree.ts'
import { digestOfRanges } from './verification.ts'

const MANIFEST_BYTES = 1024 * 1024
/** What is in place and not synced yet is synced after this long, if nothing else makes it. */
const SYNC_AFTER = millis(1000)
/** Nothing more is read from the network while so much of it waits; a primary never has more under way. */
const WAITING_BYTES = 16 * 1024 * 1024
/** Questions of the primary that wait for a batch. */
const WAITING_QUESTIONS = 16

export interface SyncProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly filesDone: number
  readonly filesTotal: number
  readonly seq: number
}

/** The stream that a replica is in the middle of. */
export interface Resumable {
  readonly stream: string
  readonly total: { readonly bytes: number; readonly files: number }
  readonly received: number
}

export interface SessionParts {
  readonly store: ReceiverStore
  readonly roots: StateRoots
  readonly clock: Clock
  readonly epoch: number
  readonly socket: WebSocket
  readonly resume: Resumable | undefined
  /** The copy may have become whole, or stopped being so. */
  readonly onCopy: () => void
  readonly onProgress: (progress: SyncProgress) => void
  /** Ends the connection; what is known of the disk still holds. */
  readonly end: (why: Error) => void
  /** Ends the connection; the disk has to be read again. */
  readonly reject: (error: unknown) => void
}

export interface ReceiverSession {
  /** What a later connection may go on with; undefined before there is anything. */
  readonly resumable: Resumable | undefined
  say(message: ReplicaMessage): void
  /** Resolves once everything that has arrived is dealt with. */
  idle(): Promise<void>
  receive(data: Buffer, binary: boolean): void
}

/** What a replica does with what comes over one connection: journals, acknowledges, and answers. */
export function createReceiverSession(parts: SessionParts): ReceiverSession {
  const { store, roots, clock, epoch, socket, onCopy, onProgress, end, reject } = parts
  let stream: string | undefined
  let seq = 0
  let received = parts.resume?.received ?? 0
  let total = parts.resume?.total ?? { bytes: 0, files: 0 }
  let committing = false
  let failed = false
  let wholeFrom: number | undefined
  let durable = 0
  let cancelSync: (() => void) | undefined
  /** Bytes that have come over this connection and are not looked at yet. */
  let waiting = 0
  const barriers: (PrimaryMessage & { type: 'barrier' })[] = []
  const verifies: (PrimaryMessage & { type: 'verify' })[] = []
  let tail: Promise<void> = Promise.resolve()
  let committed: Promise<void> = Promise.resolve()

  const say = (message: ReplicaMessage) => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message))
  }
  const fail = (error: unknown) => {
    failed = true
    reject(error)
  }
  /** One thing after the other, in the order of arrival; the first failure ends the connection. */
  const inOrder = (task: () => Promise<void> | void) => {
    tail = tail.then(() => (failed ? undefined : task())).catch(fail)
  }

  const report = () =>
    onProgress({
      bytesDone: store.whole ? total.bytes : Math.min(received, total.bytes),
      bytesTotal: total.bytes,
      filesDone: store.whole ? total.files : 0,
      filesTotal: total.files,
      seq: durable,
    })

  /** Syncs what has come in; what comes meanwhile is synced together. */
  function startCommit(): void {
    if (committing) return
    committing = true
    committed = commit()
      .catch(fail)
      .finally(() => {
        committing = false
      })
  }

  async function commit(): Promise<void> {
    for (;;) {
      const upTo = seq
      const wants = (at = 0) => at > durable && at <= upTo
      const result = await store.commit(wants(wholeFrom) || wants(barriers[0]?.seq))
      durable = result.durable
      say({ type: 'ack', ...result })
      await settle(result.taken)
      onCopy()
      report()
      if (seq === upTo && !isDue()) break
    }
    if (durable < seq) syncLater()
  }

  /** Something waits for a batch that is here already. */
  const isDue = (): boolean =>
    (wholeFrom !== undefined && wholeFrom <= seq) ||
    [...barriers, ...verifies].some((asked) => asked.seq <= seq)

  /** Nothing asks for it, but what is in place should not stay unsynced. */
  function syncLater(): void {
    cancelSync?.()
    cancelSync = clock.timer(SYNC_AFTER, () => {
      cancelSync = undefined
      inOrder(async () => {
        durable = (await store.commit(true)).durable
        say({ type: 'ack', durable, taken: durable })
      })
    })
  }

  /** What waited for a batch that is in place now. */
  async function settle(taken: number): Promise<void> {
    if (wholeFrom !== undefined && durable >= wholeFrom) {
      const upTo = wholeFrom
      wholeFrom = undefined
      await store.checkpoint()
      await store.markWhole(upTo)
    }
    for (let barrier = barriers[0]; barrier && barrier.seq <= durable; barrier = barriers[0]) {
      barriers.shift()
      await store.checkpoint()
      const { except, xattrs, digest } = barrier
      const equal = store.digest({ except: new Set(except), xattrs }) === digest
      say({ type: 'barrier-reached', id: barrier.id, equal })
      if (!equal) throw new Error('the tree differs from the primary: reading it again from disk')
    }
    for (let verify = verifies[0]; verify && verify.seq <= taken; verify = verifies[0]) {
      verifies.shift()
      const { ranges, sha256, id } = verify
      const found = await store.still(() => digestOfRanges(ranges, roots))
      say({ type: 'verified', id, equal: found === sha256 })
    }
  }

  function assertNext(header: FrameHeader): void {
    if (stream === undefined) throw new Error('a batch before the primary has accepted')
    if (header.epoch !== epoch) throw new Error(`a batch of epoch ${header.epoch} in epoch ${epoch}`)
    if (header.seq !== seq + 1) throw new Error(`batch ${header.seq} after ${seq}`)
  }

  function onBatch(frame: Buffer): void {
    const header = checkFrame(frame)
    if (header.type !== FrameType.batch) throw new Error('unexpected frame')
    waiting += frame.length
    if (waiting > WAITING_BYTES) socket.pause()
    inOrder(async () => {
      waiting -= frame.length
      if (waiting <= WAITING_BYTES && socket.isPaused) socket.resume()
      assertNext(header)
      try {
        if (header.flags & FrameFlag.bulk) await place(header, frame)
        else await store.journal(header, frame)
      } catch (error) {
        if (isAppError(error, 'disk_full'))
          say({ type: 'nack', seq: header.seq, code: 'disk_full', message: error.message })
        throw error
      }
      seq = header.seq
      received += header.rawBytes
      onCopy()
      startCommit()
    })
  }

  async function place(header: FrameHeader, frame: Uint8Array): Promise<void> {
    const body = unpackBody(frame, header)
    await store.place(header, body)
    release(body)
    release(frame)
  }

  async function onControl(data: Buffer): Promise<void> {
    const message = primaryMessageSchema.parse(JSON.parse(data.toString('utf8')))
    switch (message.type) {
      case 'accepted':
        return onAccepted(message)
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
        return ask(barriers, message)
      case 'verify':
        return ask(verifies, message)
      case 'reread': {
        const found = await store.reread(message.files.map(([root, path]) => keyOf(root, path)))
        return sendManifest(socket, epoch, found)
      }
    }
  }

  function ask<T>(questions: T[], question: T): void {
    if (questions.length === WAITING_QUESTIONS) throw new Error('the primary asks too much at once')
    questions.push(question)
    startCommit()
  }

  async function onAccepted(message: PrimaryMessage & { type: 'accepted' }): Promise<void> {
    if (stream !== undefined) throw new Error('accepted twice')
    if (message.epoch !== epoch) throw new Error(`accepted in epoch ${message.epoch} instead of ${epoch}`)
    if (message.resumed) {
      if (message.stream !== parts.resume?.stream) throw new Error('another stream than was asked for')
      seq = store.taken
      durable = 0
      stream = message.stream
      report()
      return startCommit()
    }
    stream = message.stream
    received = 0
    total = { bytes: 0, files: 0 }
    // What came over another stream and is not complete never will be.
    await store.dropPartial()
    await sendManifest(socket, epoch, store.tree)
  }

  return {
    get resumable() {
      if (stream === undefined) return parts.resume
      return store.canGoOn ? { stream, total, received } : undefined
    },
    say,
    idle: async () => {
      await tail
      await committed
      cancelSync?.()
    },
    receive(data, binary) {
      try {
        if (binary) onBatch(data)
        else inOrder(() => onControl(data))
      } catch (error) {
        // What came before it is taken.
        inOrder(() => Promise.reject(error))
      }
    },
  }
}

/** Shows the primary what is here, in frames that each fit into memory. */
async function sendManifest(
  socket: WebSocket,
  epoch: number,
  tree: Iterable<readonly [Key, Entry]>,
): Promise<void> {
  const compressor = createCompressor(['zstd'], () => performance.now() / 1000)
  let part: ManifestEntry[] = []
  let bytes = 0
  let seq = 0
  const flush = (last: boolean) => {
    seq += 1
    const body = encodeManifest(part)
    const flags = last ? FrameFlag.last : 0
    socket.send(packFrame({ type: FrameType.manifest, epoch, seq, flags, body }, compressor))
    part = []
    bytes = 0
  }
  for (const entry of manifestOf(tree)) {
    part.push(entry)
    bytes += 64 + entry.path.length + (entry.kind === 'file' ? entry.pages.length * 8 : 0)
    if (bytes >= MANIFEST_BYTES) flush(false)
  }
  flush(true)
}
