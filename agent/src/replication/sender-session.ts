import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { between, type Clock, type Millis, type Mono, millis } from '@understudy/shared/core/time'
import {
  decodeManifest,
  encodeOps,
  FrameFlag,
  FrameType,
  type Op,
  type PrimaryMessage,
  type ReplicaMessage,
} from '@understudy/shared/protocol/replication'
import type { Logger } from 'pino'
import type { WebSocket } from 'ws'
import { batchesFor } from './batches.ts'
import { checkFrame, packFrame, unpackBody } from './frames.ts'
import type { StateRoots } from './state-files.ts'
import { addToTree, bytesOfPages, differenceOf, type Entry, type Key } from './state-tree.ts'

/** More than this is not held back to be applied as a whole. */
const GROUP_BYTES = 64 * 1024 * 1024
/** Bytes that may be under way and not acknowledged. */
const WINDOW_BYTES = 16 * 1024 * 1024
const SOCKET_BYTES = 4 * 1024 * 1024
/** Close enough behind to take over: this much, or this long. */
const NEAR_BYTES = 1024 * 1024
const NEAR_MILLIS = millis(2000)
/** Differences are counted exactly up to this many names; more is an estimate by size. */
const COUNTED_NAMES = 1000

/**
 * One replica that receives from this primary. What it still has to get is a set of names, not a queue: a name that
 * changes ten times while the replica is slow is sent once.
 */
export interface SenderSession {
  readonly instance: InstanceId
  readonly lag: SessionLag
  /** The scanner has looked: at some names, or at everything as of `completeSince`. */
  looked(changed: ReadonlySet<Key>, completeSince?: Mono): void
  onMessage(message: ReplicaMessage): void
  onManifest(frame: Uint8Array): void
  /** Resolves once the replica has a whole copy and is close behind. */
  near(signal: AbortSignal): Promise<void>
  /** Resolves once nothing is left to send and everything sent is durable over there. */
  settled(signal: AbortSignal): Promise<{ seq: number }>
  /** Resolves once the replica says that its tree has this digest; throws AppError when it has not. */
  barrier(digest: string, signal: AbortSignal): Promise<void>
  close(why: string): void
}

export interface SessionLag {
  readonly attached: boolean
  readonly bytes: number
  readonly batches: number
  /** Age of the oldest change that is not durable over there. */
  readonly millis: Millis
  /** Everything that was written more than this long ago is durable over there; null before that can be said. */
  readonly safeMillis: Millis | null
}

interface InFlight {
  readonly seq: number
  readonly bytes: number
  readonly since: Mono
}

export interface SessionSurroundings {
  readonly socket: WebSocket
  readonly instance: InstanceId
  readonly epoch: number
  readonly tree: ReadonlyMap<Key, Entry>
  readonly roots: StateRoots
  readonly clock: Clock
  readonly log: Logger
}

export function createSenderSession(surroundings: SessionSurroundings): SenderSession {
  const { socket, instance, epoch, tree, roots, clock, log } = surroundings
  const theirs = new Map<Key, Entry>()
  const dirty = new Set<Key>()
  const inFlight: InFlight[] = []
  const waiters = new Set<() => void>()
  let dirtySince: Mono | undefined
  let manifestDone = false
  let seq = 0
  let pumping = false
  /** Up to here the replica has been told that its copy is whole; undefined during a transfer that it is not. */
  let wholeAt: number | undefined
  let failure: AppError | undefined
  /** A look at everything whose changes are not all sent yet, and those whose changes are and await their ack. */
  let lookedSince: Mono | undefined
  const awaited: { readonly seq: number; readonly since: Mono }[] = []
  let safeSince: Mono | undefined
  let barriers = 0
  const barrierAnswers = new Map<number, (equal: boolean) => void>()

  const say = (message: PrimaryMessage) => socket.send(JSON.stringify(message))

  /** Wakes everything that waits for progress. */
  const progressed = () => {
    for (const wake of [...waiters]) wake()
  }
  const until = async (holds: () => boolean, signal?: AbortSignal): Promise<void> => {
    while (!holds()) {
      if (failure) throw failure
      await new Promise<void>((resolve, reject) => {
        const onAbort = () => {
          waiters.delete(wake)
          reject(signal?.reason)
        }
        const wake = () => {
          waiters.delete(wake)
          signal?.removeEventListener('abort', onAbort)
          resolve()
        }
        if (signal?.aborted) return reject(signal.reason)
        waiters.add(wake)
        signal?.addEventListener('abort', onAbort, { once: true })
      })
    }
    if (failure) throw failure
  }
  /** The last batch that is on the replica's disk. */
  const durable = () => (inFlight[0]?.seq ?? seq + 1) - 1
  const isWhole = () => wholeAt !== undefined && durable() >= wholeAt
  const inFlightBytes = () => inFlight.reduce((sum, batch) => sum + batch.bytes, 0)

  function end(error: AppError): void {
    if (failure) return
    failure = error
    progressed()
    socket.close(1011, error.message.slice(0, 100))
  }

  function pump(): void {
    if (pumping || !manifestDone || failure) return
    pumping = true
    void pumpAll()
      .catch((error: unknown) =>
        end(error instanceof AppError ? error : new AppError('internal', messageOf(error), { cause: error })),
      )
      .finally(() => {
        pumping = false
        progressed()
      })
  }

  async function pumpAll(): Promise<void> {
    while (dirty.size > 0) {
      const { bulk } = await sendGroup()
      // A group that is put in place at once leaves a whole copy, even if more has changed meanwhile.
      if (!bulk) sayWhole()
    }
    if (lookedSince !== undefined) awaited.push({ seq, since: lookedSince })
    lookedSince = undefined
    noteSafe()
    sayWhole()
  }

  function sayWhole(): void {
    if (wholeAt !== undefined) return
    wholeAt = seq
    say({ type: 'whole', seq })
  }

  async function sendGroup(): Promise<{ bulk: boolean }> {
    const keys = [...dirty]
    const since = dirtySince ?? clock.mono()
    let bulk = pendingBytes() > GROUP_BYTES
    let bytes = 0
    dirty.clear()
    dirtySince = undefined
    const send = async (ops: readonly Op[], last: boolean) => {
      const body = encodeOps(ops)
      bytes += body.length
      // Files may grow between the count and their turn: the rest goes in bulk.
      bulk ||= bytes > GROUP_BYTES
      await sendBatch(body, since, bulk ? FrameFlag.bulk : last ? FrameFlag.last : 0)
    }
    let held: Op[] | undefined
    for (const ops of batchesFor(keys, tree, theirs, roots)) {
      if (held) await send(held, false)
      held = ops
    }
    if (held) await send(held, true)
    return { bulk }
  }

  /** What was seen before a batch is safe once the batch is durable. */
  function noteSafe(): void {
    while (awaited[0] && awaited[0].seq <= durable()) safeSince = awaited.shift()?.since
  }

  async function sendBatch(body: Uint8Array, since: Mono, flags: number): Promise<void> {
    await until(() => inFlight.length === 0 || inFlightBytes() + body.length <= WINDOW_BYTES)
    seq += 1
    if (flags & FrameFlag.bulk) wholeAt = undefined
    const batch = { seq, bytes: body.length, since }
    inFlight.push(batch)
    const frame = await packFrame({ type: FrameType.batch, epoch, seq, flags, body })
    if (socket.bufferedAmount <= SOCKET_BYTES) {
      socket.send(frame)
      return
    }
    await new Promise<void>((resolve) => socket.send(frame, () => resolve()))
  }

  /** Bytes of content that differ. */
  function pendingBytes(): number {
    let bytes = 0
    let counted = 0
    for (const key of dirty) {
      const entry = tree.get(key)
      if (entry?.kind !== 'file') continue
      counted += 1
      bytes +=
        counted > COUNTED_NAMES ? entry.size : bytesOfPages(entry, differenceOf(entry, theirs.get(key)).pages)
    }
    return bytes
  }

  function lag(): SessionLag {
    const oldest = inFlight[0]?.since ?? dirtySince
    const behind = oldest === undefined ? millis(0) : between(oldest, clock.mono())
    const bytes = manifestDone ? pendingBytes() + inFlightBytes() : totalBytes(tree)
    return {
      attached: isWhole() && !failure && (bytes <= NEAR_BYTES || behind <= NEAR_MILLIS),
      bytes,
      batches: inFlight.length,
      millis: behind,
      safeMillis: safeSince === undefined ? null : between(safeSince, clock.mono()),
    }
  }

  function begin(): void {
    manifestDone = true
    for (const key of tree.keys()) dirty.add(key)
    for (const key of theirs.keys()) dirty.add(key)
    dirtySince = clock.mono()
    say({ type: 'total', bytes: pendingBytes(), files: dirty.size })
    pump()
  }

  return {
    instance,
    get lag() {
      return lag()
    },
    looked(changed, completeSince) {
      for (const key of changed) dirty.add(key)
      if (changed.size > 0) dirtySince ??= clock.mono()
      lookedSince = completeSince ?? lookedSince
      pump()
    },
    onManifest(frame) {
      try {
        const header = checkFrame(frame)
        if (manifestDone || header.type !== FrameType.manifest || header.epoch !== epoch)
          throw new AppError('protocol', 'a manifest was not expected')
        for (const entry of decodeManifest(unpackBody(frame, header))) addToTree(theirs, entry)
        if (header.flags & FrameFlag.last) begin()
      } catch (error) {
        end(error instanceof AppError ? error : new AppError('protocol', messageOf(error), { cause: error }))
      }
    },
    onMessage(message) {
      switch (message.type) {
        case 'join':
          return
        case 'ack':
          while (inFlight[0] && inFlight[0].seq <= message.seq) inFlight.shift()
          noteSafe()
          return progressed()
        case 'nack':
          log.warn({ event: 'replication.refused', instance, seq: message.seq, code: message.code })
          return end(
            new AppError(message.code === 'disk_full' ? 'disk_full' : 'unavailable', message.message, {
              retryable: true,
            }),
          )
        case 'barrier-reached':
          barrierAnswers.get(message.id)?.(message.equal)
          barrierAnswers.delete(message.id)
          return
      }
    },
    near: (signal) => until(() => isWhole() && pendingBytes() + inFlightBytes() <= NEAR_BYTES, signal),
    async settled(signal) {
      await until(() => manifestDone && dirty.size === 0 && !pumping && inFlight.length === 0, signal)
      return { seq }
    },
    async barrier(digest, signal) {
      barriers += 1
      const id = barriers
      let answer: boolean | undefined
      barrierAnswers.set(id, (equal) => {
        answer = equal
        progressed()
      })
      say({ type: 'barrier', id, seq, digest })
      await until(() => answer !== undefined, signal)
      if (!answer)
        throw new AppError('conflict', `the tree on ${instance} differs although every batch arrived`, {
          hint: 'Something else writes into the state directories of the replica. It is compared again in full.',
          retryable: true,
        })
    },
    close: (why) => end(new AppError('unavailable', why, { retryable: true })),
  }
}

const totalBytes = (tree: ReadonlyMap<Key, Entry>): number => {
  let bytes = 0
  for (const entry of tree.values()) if (entry.kind === 'file') bytes += entry.size
  return bytes
}
