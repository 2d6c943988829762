import { AppError } from '@understudy/shared/core/app-error'
import { between, type Clock, type Mono } from '@understudy/shared/core/time'
import { FrameFlag, FrameType } from '@understudy/shared/protocol/replication'
import type { PrimaryMessage } from '@understudy/shared/protocol/replication-messages'
import type { WebSocket } from 'ws'
import type { Batch } from './batches.ts'
import type { BufferPool } from './buffer-pool.ts'
import { createBulkTrial } from './bulk-trial.ts'
import { asItIs, type Compressor } from './compression.ts'
import { packFrame } from './frames.ts'
import type { Gate } from './gate.ts'
import type { Pace } from './pace.ts'

/** The event loop is given back after a batch of this size. */
const YIELD_BYTES = 64 * 1024
const SOCKET_BYTES = 2 * 1024 * 1024
/** The speed is taken over runs of at least this, and renewed after so long. */
const SPEED_BYTES = 256 * 1024
const SPEED_RUN = 20
const SPEED_RENEWED = 1000

/**
 * The numbered batches on their way to one replica. What the replica has not taken yet is kept, so that after a short
 * break the stream goes on where it was; how much that may be is the window, so memory stays bounded.
 */
export interface OutgoingFlow {
  /** The last batch that was given a number. */
  readonly seq: number
  /** The last batch that is on the replica's disk. */
  readonly durable: number
  readonly bytesInFlight: number
  readonly batchesInFlight: number
  /** Since when the oldest change is under way that is not durable. */
  readonly oldest: Mono | undefined
  /** What the replica took lately, in bytes of content per second; undefined before that can be said. */
  readonly bytesPerSecond: number | undefined
  /** Resolves once the batch has its place in the window. Its buffer goes back to the pool. */
  send(batch: Batch, since: Mono, flags: number): Promise<void>
  say(message: PrimaryMessage): void
  /** @throws AppError `protocol` when it cannot be so */
  onAck(ack: { readonly durable: number; readonly taken: number }): void
  /** Takes a new connection; everything after `taken` is sent again. */
  attach(socket: WebSocket, taken: number): void
  detach(): void
  /** Whether what a replica says that it has taken can be gone on from. */
  canResume(taken: number): boolean
}

interface InFlight {
  readonly bytes: number
  readonly since: Mono
  /** Until it is taken. */
  frame: Buffer | undefined
  /** What the frame lies in, if it goes back to the pool. */
  room: Buffer | undefined
}

export interface FlowSurroundings {
  readonly epoch: number
  readonly clock: Clock
  readonly gate: Gate
  readonly compressor: Compressor
  readonly pool: BufferPool
  readonly pace: Pace
  /** Bytes that may be under way and not taken. */
  readonly window: () => number
  /** The last of the state before a hand-over: it does not wait for the bandwidth limit. */
  readonly isUrgent: () => boolean
  readonly ended: AbortSignal
}

export function createOutgoingFlow(surroundings: FlowSurroundings): OutgoingFlow {
  const { epoch, clock, gate, compressor, pool, pace, window, isUrgent, ended } = surroundings
  /** From the first that is not durable to the last, without a gap. */
  const inFlight: InFlight[] = []
  let socket: WebSocket | undefined
  let seq = 0
  let durable = 0
  let taken = 0
  /** The next batch that this connection gets. */
  let next = 1
  /** Bytes that are not taken, and bytes that are not durable. */
  let waiting = 0
  let flying = 0
  const trial = createBulkTrial(() => clock.mono())
  let speed: number | undefined
  let run: { since: Mono; bytes: number } | undefined

  const at = (number: number) => inFlight[number - durable - 1]

  /** Sends what this connection has not got yet, in order. */
  function push(): void {
    if (!socket || socket.readyState !== socket.OPEN) return
    for (let batch = at(next); batch?.frame; batch = at(next)) {
      next += 1
      socket.send(batch.frame, { binary: true }, () => gate.wake())
    }
  }

  function pack({ body, buffer }: Batch, flags: number): { frame: Buffer; room: Buffer | undefined } {
    const plain = (flags & FrameFlag.bulk) !== 0 && !trial.compresses
    const spec = { type: FrameType.batch, epoch, seq, flags, body }
    const frame = packFrame(spec, plain ? asItIs : compressor, buffer)
    if (frame.length >= buffer.length / 16) return { frame, room: buffer }
    // A small one would keep a large buffer for as long as it is under way.
    const copy = Buffer.from(frame)
    pool.give(buffer)
    return { frame: copy, room: undefined }
  }

  /** The replica has everything up to here: it will never be sent again. Returns its bytes. */
  function take(upTo: number): number {
    let bytes = 0
    for (; taken < upTo; taken += 1) {
      const batch = at(taken + 1)
      if (!batch) continue
      bytes += batch.bytes
      batch.frame = undefined
      if (batch.room) pool.give(batch.room)
      batch.room = undefined
    }
    waiting -= bytes
    return bytes
  }

  function measure(bytes: number): void {
    if (!run) return
    run.bytes += bytes
    const took = between(run.since, clock.mono())
    if (run.bytes < SPEED_BYTES || took < SPEED_RUN) return
    const now = (run.bytes * 1000) / took
    speed = speed === undefined ? now : speed * 0.7 + now * 0.3
    if (took > SPEED_RENEWED) run = { since: clock.mono(), bytes: 0 }
  }

  return {
    get seq() {
      return seq
    },
    get durable() {
      return durable
    },
    get bytesInFlight() {
      return flying
    },
    get batchesInFlight() {
      return inFlight.length
    },
    get oldest() {
      return inFlight[0]?.since
    },
    get bytesPerSecond() {
      return speed
    },
    async send(batch, since, flags) {
      const bytes = batch.body.length
      await pace.take(bytes, isUrgent, ended)
      await gate.until(
        () => (waiting === 0 || waiting + bytes <= window()) && (socket?.bufferedAmount ?? 0) <= SOCKET_BYTES,
      )
      if (inFlight.length === 0) run = { since: clock.mono(), bytes: 0 }
      seq += 1
      waiting += bytes
      flying += bytes
      inFlight.push({ bytes, since, ...pack(batch, flags) })
      push()
      // Packing a large one takes milliseconds: whoever waits for the event loop comes next.
      if (bytes > YIELD_BYTES) await new Promise(setImmediate)
    },
    say(message) {
      if (socket?.readyState === socket?.OPEN) socket?.send(JSON.stringify(message))
    },
    onAck(ack) {
      if (ack.taken > seq || ack.durable > ack.taken || ack.taken < taken || ack.durable < durable)
        throw new AppError('protocol', `acknowledged ${ack.durable} and ${ack.taken} of ${seq} batches`)
      const bytes = take(ack.taken)
      measure(bytes)
      trial.taken(bytes)
      for (const { bytes } of inFlight.splice(0, ack.durable - durable)) flying -= bytes
      durable = ack.durable
      gate.wake()
    },
    attach(connected, upTo) {
      socket = connected
      take(upTo)
      next = upTo + 1
      push()
      gate.wake()
    },
    detach() {
      socket = undefined
    },
    canResume: (upTo) => upTo >= taken && upTo < next,
  }
}
