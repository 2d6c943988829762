import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { type Clock, millis, sleep } from '@understudy/shared/core/time'
import type { Upstream } from '@understudy/shared/protocol/link'
import {
  encodeManifest,
  FrameFlag,
  FrameType,
  HEADER_BYTES,
  MAX_BODY_BYTES,
  type ManifestEntry,
  type PrimaryMessage,
  primaryMessageSchema,
  type ReplicaMessage,
} from '@understudy/shared/protocol/replication'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import type { Logger } from 'pino'
import { WebSocket } from 'ws'
import { checkFrame, packFrame } from './frames.ts'
import type { ReceiverStore } from './receiver-store.ts'
import { createScanner } from './scanner.ts'
import type { StateRoots } from './state-files.ts'
import { type Entry, type Key, manifestOf } from './state-tree.ts'

const BACKOFF: BackoffPolicy = { base: millis(100), cap: millis(5000) }
const CONNECT_TIMEOUT = millis(5000)
const MANIFEST_BYTES = 1024 * 1024

export interface SyncProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly filesDone: number
  readonly filesTotal: number
  readonly seq: number
}

/** The replica's end: keeps one connection to the primary open and puts what comes over it on disk. */
export interface Receiver {
  readonly progress: SyncProgress | null
  /** Why nothing comes in at the moment; undefined while it does. */
  readonly trouble: AppError | undefined
  follow(epoch: number, self: InstanceId, upstream: Upstream): void
  /** Ends the connection and puts everything whole in place; or moves what is there aside. */
  finish(discard: boolean): Promise<void>
  stop(): Promise<void>
}

export interface ReceiverSurroundings {
  readonly roots: StateRoots
  readonly store: ReceiverStore
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Called when the copy becomes whole or stops being so. */
  readonly onCopy: () => void
}

export function createReceiver(surroundings: ReceiverSurroundings): Receiver {
  const { store, clock, random, log } = surroundings
  let stopping: AbortController | undefined
  let running: Promise<void> = Promise.resolve()
  let progress: SyncProgress | null = null
  let trouble: AppError | undefined
  let following: Following | undefined

  /** What is on disk, as long as nothing but us has written there; undefined when it has to be read again. */
  let known: Map<Key, Entry> | undefined

  async function readDisk(): Promise<Map<Key, Entry>> {
    const scanner = createScanner(surroundings.roots, clock, () => undefined)
    await scanner.full()
    return new Map(scanner.tree)
  }

  async function receive(epoch: number, self: InstanceId, upstream: Upstream, signal: AbortSignal) {
    await store.dropPartial()
    const tree = known ?? (await readDisk())
    known = undefined
    store.adopt(tree)
    const ended = await receiveOnce({ ...surroundings, epoch, self, upstream, signal, tree }, (next) => {
      progress = next
      trouble = undefined
      if (following && !signal.aborted) following.up = true
    })
    known = tree
    throw ended
  }

  async function loop(target: Following, self: InstanceId, signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        const before = progress
        await receive(target.epoch, self, target.upstream, signal).finally(() => {
          target.up = false
          if (progress !== before) attempt = 0
        })
      } catch (error) {
        if (signal.aborted) break
        if (isAppError(error)) trouble = error
        log.info({
          event: 'replication.disconnected',
          primary: target.upstream.instanceId,
          attempt,
          why: messageOf(error),
        })
      }
      await sleep(clock, fullJitter(BACKOFF, attempt, random), signal).catch(() => undefined)
    }
  }

  const stop = async () => {
    stopping?.abort()
    stopping = undefined
    following = undefined
    await running
  }

  return {
    get progress() {
      return progress
    },
    get trouble() {
      return trouble
    },
    follow(epoch, self, upstream) {
      // A coordinator that has come back says what is so already: only the next connection needs the new token.
      if (following?.up && following.epoch === epoch && isSameEndpoint(following.upstream, upstream)) {
        following.upstream = upstream
        return
      }
      stopping?.abort()
      const mine = new AbortController()
      stopping = mine
      const target: Following = { epoch, upstream, up: false }
      following = target
      running = running.then(() => {
        // Since it last followed anybody, anything may have been written here.
        known = undefined
        return mine.signal.aborted ? undefined : loop(target, self, mine.signal)
      })
    },
    async finish(discard) {
      await stop()
      if (discard) await store.discard(new Date(clock.now()).toISOString().replaceAll(':', '-'))
      else await store.dropPartial()
      await store.markWhole()
    },
    stop,
  }
}

/** Whom this replica follows, and whether something has come over the present connection. */
interface Following {
  readonly epoch: number
  upstream: Upstream
  up: boolean
}

const isSameEndpoint = (a: Upstream, b: Upstream): boolean =>
  a.instanceId === b.instanceId && a.host === b.host && a.port === b.port

interface Connection extends ReceiverSurroundings {
  readonly epoch: number
  readonly self: InstanceId
  readonly upstream: Upstream
  readonly signal: AbortSignal
  readonly tree: Map<Key, Entry>
}

/**
 * One connection from beginning to end. Returns why the network ended it; throws what went wrong here, after which
 * the disk has to be read again.
 */
async function receiveOnce(
  connection: Connection,
  onProgress: (progress: SyncProgress) => void,
): Promise<Error> {
  const { roots, store, signal, epoch, self, upstream, onCopy, tree } = connection
  const socket = new WebSocket(`ws://${hostOf(upstream.host)}:${upstream.port}/replication`, {
    headers: { authorization: `Bearer ${upstream.token}`, 'x-understudy-instance': self },
    perMessageDeflate: false,
    handshakeTimeout: CONNECT_TIMEOUT,
    maxPayload: MAX_BODY_BYTES + HEADER_BYTES,
  })
  const abort = () => socket.terminate()
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await new Promise<Error>((resolve, reject) => {
      const session = createReceiverSession({
        store,
        epoch,
        socket,
        onCopy,
        onProgress,
        end: resolve,
        reject,
      })
      const { length } = roots.directories
      socket.on('open', () =>
        session.say({ type: 'join', protocol: PROTOCOL_VERSION, epoch, instanceId: self, roots: length }),
      )
      socket.on('message', (data: Buffer, binary) => session.receive(data, binary, tree))
      socket.on('error', (error) => void session.idle().then(() => resolve(error)))
      socket.on('close', (code, reason) => {
        const why = new Error(`the primary closed the stream (${code} ${reason.toString('utf8')})`)
        void session.idle().then(() => resolve(why))
      })
    })
  } finally {
    signal.removeEventListener('abort', abort)
    socket.terminate()
  }
}

const hostOf = (host: string): string => (host.includes(':') ? `[${host}]` : host)

interface SessionParts {
  readonly store: ReceiverStore
  readonly epoch: number
  readonly socket: WebSocket
  readonly onCopy: () => void
  readonly onProgress: (progress: SyncProgress) => void
  /** Ends the connection; what is known of the disk still holds. */
  readonly end: (why: Error) => void
  /** Ends the connection; the disk has to be read again. */
  readonly reject: (error: unknown) => void
}

function createReceiverSession(parts: SessionParts) {
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
        const { whole } = store
        durable = await store.commit()
        say({ type: 'ack', seq: durable })
        if (store.whole !== whole) onCopy()
        await settle()
        report()
      } while (durable < seq || wholeFrom !== undefined || barriers.length > 0)
    } finally {
      committing = false
    }
  }

  /** What waited for a batch that is in place now. */
  async function settle(): Promise<void> {
    if (wholeFrom !== undefined && durable >= wholeFrom) {
      wholeFrom = undefined
      await store.checkpoint()
      await store.markWhole()
      onCopy()
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
    /** Resolves once everything that has arrived is dealt with. */
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
