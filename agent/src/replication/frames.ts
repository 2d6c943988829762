import { createHash, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { constants, zstdCompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { AppError } from '@understudy/shared/core/app-error'
import {
  decodeHeader,
  encodeHeaderPrefix,
  FrameFlag,
  type FrameHeader,
  type FrameType,
  HEADER_BYTES,
} from '@understudy/shared/protocol/replication'

const FAST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }
/** Not worth compressing below this, and compressed by the event loop itself below the second. */
const COMPRESS_FROM = 512
const INLINE_BELOW = 32 * 1024
const compressLarge = promisify(zstdCompress)

export interface FrameSpec {
  readonly type: FrameType
  readonly epoch: number
  readonly seq: number
  /** `FrameFlag.last` and `FrameFlag.bulk`. */
  readonly flags: number
  readonly body: Uint8Array
}

/** Header, digest and body, compressed where that makes it smaller. */
export async function packFrame({ type, epoch, seq, flags, body }: FrameSpec): Promise<Buffer> {
  const packed = await compress(body)
  const smaller = packed.length < body.length
  const sent = smaller ? packed : body
  const prefix = encodeHeaderPrefix({
    type,
    flags: flags | (smaller ? FrameFlag.zstd : 0),
    epoch,
    seq,
    rawBytes: body.length,
    bodyBytes: sent.length,
  })
  return Buffer.concat([prefix, digestOf(prefix, sent), sent])
}

async function compress(body: Uint8Array): Promise<Uint8Array> {
  if (body.length < COMPRESS_FROM) return body
  return body.length < INLINE_BELOW ? zstdCompressSync(body, FAST) : await compressLarge(body, FAST)
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
 * The body of a frame that `checkFrame` has passed.
 * @throws AppError `protocol` when it does not decompress to exactly the length that its header names
 */
export function unpackBody(frame: Uint8Array, header: FrameHeader): Uint8Array {
  const body = frame.subarray(HEADER_BYTES)
  if ((header.flags & FrameFlag.zstd) === 0) {
    if (body.length !== header.rawBytes) throw wrongLength(header)
    return body
  }
  try {
    const raw = zstdDecompressSync(body, { maxOutputLength: Math.max(header.rawBytes, 1) })
    if (raw.length !== header.rawBytes) throw wrongLength(header)
    return raw
  } catch (error) {
    if (error instanceof AppError) throw error
    throw wrongLength(header, error)
  }
}

const wrongLength = ({ seq, rawBytes }: FrameHeader, cause?: unknown): AppError =>
  new AppError('protocol', `the body of frame ${seq} does not decompress to ${rawBytes} bytes`, { cause })
