import { createHash, timingSafeEqual } from 'node:crypto'
import { inflateRawSync, zstdDecompressSync } from 'node:zlib'
import { AppError } from '@understudy/shared/core/app-error'
import {
  decodeHeader,
  encodeHeaderPrefix,
  FrameFlag,
  type FrameHeader,
  type FrameType,
  HEADER_BYTES,
} from '@understudy/shared/protocol/replication'
import type { Codec } from '@understudy/shared/protocol/replication-messages'
import { release } from './buffer-pool.ts'
import type { Compressor } from './compression.ts'

/** What every agent can decompress. */
export const knownCodecs: readonly Codec[] = ['zstd', 'deflate']

export interface FrameSpec {
  readonly type: FrameType
  readonly epoch: number
  readonly seq: number
  /** `FrameFlag.last` and `FrameFlag.bulk`. */
  readonly flags: number
  readonly body: Uint8Array
}

/**
 * Header, digest and body, compressed where that pays. `room` is what the body lies in, with space for a header before
 * it: then nothing else is allocated, and the body is gone.
 */
export function packFrame(
  { type, epoch, seq, flags, body }: FrameSpec,
  compressor: Compressor,
  room?: Buffer,
): Buffer {
  const { bytes, flag } = compressor.compress(body)
  const prefix = encodeHeaderPrefix({
    type,
    flags: flags | flag,
    epoch,
    seq,
    rawBytes: body.length,
    bodyBytes: bytes.length,
  })
  const frame = room?.subarray(0, HEADER_BYTES + bytes.length) ?? Buffer.alloc(HEADER_BYTES + bytes.length)
  frame.set(prefix)
  frame.set(digestOf(prefix, bytes), prefix.length)
  if (bytes !== body || !room) frame.set(bytes, HEADER_BYTES)
  if (bytes !== body) release(bytes)
  return frame
}

const digestOf = (prefix: Uint8Array, body: Uint8Array): Buffer =>
  createHash('sha256').update(prefix).update(body).digest()

/**
 * Checks the digest of a frame before anything else is done with it.
 * @throws AppError `protocol`
 */
export function checkFrame(frame: Uint8Array): FrameHeader {
  const header = decodeHeader(frame)
  const expected = digestOf(frame.subarray(0, 32), frame.subarray(HEADER_BYTES))
  if (!timingSafeEqual(expected, header.digest))
    throw new AppError('protocol', `batch ${header.seq} does not match its SHA-256`, {
      hint: 'It was damaged on the way or on disk; it is fetched again.',
      retryable: true,
    })
  return header
}

/**
 * The body of a frame that `checkFrame` has passed. Never takes more memory than the header names.
 * @throws AppError `protocol` when it does not decompress to exactly that length
 */
export function unpackBody(frame: Uint8Array, header: FrameHeader): Uint8Array {
  const body = frame.subarray(HEADER_BYTES)
  const { flags, rawBytes } = header
  try {
    const raw = unpack(body, flags, rawBytes)
    if (raw.length === rawBytes) return raw
  } catch (error) {
    throw wrongLength(header, error)
  }
  throw wrongLength(header)
}

function unpack(body: Uint8Array, flags: number, rawBytes: number): Uint8Array {
  const maxOutputLength = Math.max(rawBytes, 1)
  // fflate packs, but what comes in is unpacked by zlib, which stops at a length.
  if (flags & FrameFlag.deflate) return inflateRawSync(body, { maxOutputLength })
  if ((flags & FrameFlag.zstd) === 0) return body
  return zstdDecompressSync(body, { maxOutputLength, chunkSize: Math.max(rawBytes + 64, 64) })
}

const wrongLength = ({ seq, rawBytes }: FrameHeader, cause?: unknown): AppError =>
  new AppError('protocol', `the body of frame ${seq} does not decompress to ${rawBytes} bytes`, { cause })
