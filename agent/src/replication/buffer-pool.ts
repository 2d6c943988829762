import { HEADER_BYTES } from '@understudy/shared/protocol/replication'

/** Room for a frame: the header, a batch, and one more op of the largest kind: 256 KiB, a name and its attributes. */
const FRAME_BYTES = HEADER_BYTES + 512 * 1024 + 384 * 1024
/** Buffers that are kept for the next use while others are in use, and when none is. */
const KEPT = 8
const KEPT_AT_REST = 1

/**
 * Buffers that frames are built in, used again and again: fresh memory for each would cost more than what is done
 * with it.
 */
export interface BufferPool {
  take(): Buffer
  give(buffer: Buffer): void
}

export function createBufferPool(): BufferPool {
  const free: Buffer[] = []
  let inUse = 0
  return {
    take() {
      inUse += 1
      return free.pop() ?? Buffer.allocUnsafeSlow(FRAME_BYTES)
    },
    give(buffer) {
      inUse = Math.max(0, inUse - 1)
      if (buffer.length === FRAME_BYTES && free.length < KEPT) free.push(buffer)
      // What a copy of everything needed, an agent that only follows changes does not. Not released by force: a
      // connection that is being closed may still hold one.
      if (inUse === 0) free.length = Math.min(free.length, KEPT_AT_REST)
    },
  }
}

/** Memory that comes from a pool of Node's own is never larger than this. */
const SHARED_BYTES = 64 * 1024

/**
 * Gives memory back at once that nobody looks at any more, instead of at some later collection. `bytes` must be all
 * that is used of its ArrayBuffer.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (bytes.length > SHARED_BYTES && buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0)
}
