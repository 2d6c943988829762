import { between, type Clock, type Mono } from '@understudy/shared/core/time'
import { FrameFlag, FrameType } from '@understudy/shared/protocol/replication'
import type { PrimaryMessage } from '@understudy/shared/protocol/replication-messages'
import type { WebSocket } from 'ws'
import type { Batch } from './batches.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { Compressor } from './compression.ts'
import { packFrame } from './frames.ts'
import type { Gate } from './gate.ts'
import type { Pace } from './pace.ts'

/** Batches are packed this many at a time; packing uses other threads. */
const PACKED_AHEAD = 3
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
  onAck(durable: number, taken: number): void
  /** Takes a new connection; everything after `taken` is sent again. */
  attach(socket: WebSocket, taken: number): void
  detach(): void
  /** Whether what a replica says that it has taken can be gone on from. */
  canResume(taken: number): boolean
}

interface InFlight {
  readonly seq: number
  readonly bytes: number
  readonly since: Mono
  /** Packed; until then nothing after it is sent either. */
  frame: Buffer | undefined
  /** What the frame lies in. */
  room: Buffer | undefined
  taken: boolean
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
  readonly onFailure: (error: unknown) => void
}

export function createOutgoingFlow(surroundings: FlowSurroundings): OutgoingFlow {
  const { epoch, clock, gate, compressor, pool, pace, window, isUrgent, ended, onFailure } = surroundings
  const inFlight: InFlight[] = []
  let socket: WebSocket | undefined
  let seq = 0
  /** The next batch that this connection gets. */
  let next = 1
  let packing = 0
  let speed: number | undefined
  let run: { since: Mono; bytes: number } | undefined

  const notTaken = () => inFlight.reduce((sum, batch) => sum + (batch.taken ? 0 : batch.bytes), 0)

  /** Sends what is packed, in order. */
  function push(): void {
    if (socket?.readyState !== socket?.OPEN) return
    for (const batch of [...inFlight]) {
      if (batch.seq < next) continue
      if (!batch.frame) return
      next = batch.seq + 1
      socket?.send(batch.frame, { binary: true }, () => gate.wake())
    }
  }

  async function pack(batch: InFlight, { body, buffer }: Batch, flags: number): Promise<void> {
    packing += 1
    try {
      const { seq: number } = batch
      const spec = { type: FrameType.batch, epoch, seq: number, flags, body }
      const frame = await packFrame(spec, compressor, buffer)
      // A small one would keep a large buffer for as long as it is under way.
      const small = frame.length < buffer.length / 16
      batch.frame = small ? Buffer.from(frame) : frame
      if (small) pool.give(buffer)
      else batch.room = buffer
      push()
    } finally {
      packing -= 1
      gate.wake()
    }
  }

  /** The replica has it: it will never be sent again. */
  function drop(batch: InFlight): void {
    batch.taken = true
    batch.frame = undefined
    if (batch.room) pool.give(batch.room)
    batch.room = undefined
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
      return (inFlight[0]?.seq ?? seq + 1) - 1
    },
    get bytesInFlight() {
      return inFlight.reduce((sum, batch) => sum + batch.bytes, 0)
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
    async send(made, since, flags) {
      const bytes = made.body.length
      await pace.take(bytes, isUrgent(), ended)
      await gate.until(() => {
        const waiting = notTaken()
        return (
          packing < PACKED_AHEAD &&
          (waiting === 0 || waiting + bytes <= window()) &&
          (socket?.bufferedAmount ?? 0) <= SOCKET_BYTES
        )
      })
      seq += 1
      const batch: InFlight = { seq, bytes, since, frame: undefined, room: undefined, taken: false }
      if (inFlight.length === 0) run = { since: clock.mono(), bytes: 0 }
      inFlight.push(batch)
      void pack(batch, made, flags & (FrameFlag.bulk | FrameFlag.last)).catch(onFailure)
    },
    say(message) {
      if (socket?.readyState === socket?.OPEN) socket?.send(JSON.stringify(message))
    },
    onAck(durable, taken) {
      let bytes = 0
      for (const batch of inFlight) {
        if (batch.seq > taken) break
        if (!batch.taken) bytes += batch.bytes
        drop(batch)
      }
      while (inFlight[0] && inFlight[0].seq <= durable && inFlight[0].taken) inFlight.shift()
      measure(bytes)
      gate.wake()
    },
    attach(connected, taken) {
      socket = connected
      next = taken + 1
      for (const batch of inFlight) if (batch.seq <= taken) drop(batch)
      push()
      gate.wake()
    },
    detach() {
      socket = undefined
    },
    canResume(taken) {
      const first = inFlight.find((batch) => !batch.taken)
      return taken <= seq && taken >= (first?.seq ?? seq + 1) - 1
    },
  }
}
