import { constants, zstdCompressSync } from 'node:zlib'
import { FrameFlag } from '@understudy/shared/protocol/replication'
import type { Codec } from '@understudy/shared/protocol/replication-messages'
import { deflateSync } from 'fflate'

/**
 * Makes bodies smaller where that pays. Among the codecs that both ends know, the one is used that is measured to
 * bring bytes over soonest; what looks random is sent as it is.
 *
 * It is done by the event loop itself: the thread pool's way costs a stream object for each body, which live long
 * enough to keep the garbage collector busy for a quarter of all the time (docs/benchmarks.md).
 */
export interface Compressor {
  /** Never larger than `body`; `flag` says how it is packed, 0 for not at all. */
  compress(body: Uint8Array): { readonly bytes: Uint8Array; readonly flag: number }
}

/** For what arrives sooner without. */
export const asItIs: Compressor = { compress: (body) => ({ bytes: body, flag: 0 }) }

const ZSTD = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }
const DEFLATE_LEVEL = 1
/** Not worth compressing below this. */
const COMPRESS_FROM = 512

/** Every so many bodies the codecs are measured against each other, on this much of one. */
const TRIAL_EVERY = 64
const TRIAL_BYTES = 64 * 1024
/** The network that compression saves, in bytes per second: a Spot instance between two zones. */
const NETWORK_BYTES_PER_SECOND = 100e6
const WEIGHT = 0.3

const flags: Readonly<Record<Codec, number>> = { zstd: FrameFlag.zstd, deflate: FrameFlag.deflate }

/** How a codec did lately; undefined before its first trial. */
interface Measured {
  readonly secondsPerByte: number
  /** Packed bytes per byte. */
  readonly ratio: number
}

export function createCompressor(codecs: readonly Codec[], seconds: () => number): Compressor {
  const measured = new Map<Codec, Measured>()
  let bodies = 0

  const trial = (body: Uint8Array) => {
    const sample = body.subarray(0, TRIAL_BYTES)
    for (const codec of codecs) {
      const started = seconds()
      const packed = codec === 'zstd' ? zstd(sample) : deflate(sample)
      const now = {
        secondsPerByte: (seconds() - started) / sample.length,
        ratio: packed.length / sample.length,
      }
      measured.set(codec, blend(measured.get(codec), now))
    }
  }

  return {
    compress(body) {
      const plain = { bytes: body, flag: 0 }
      if (codecs.length === 0 || body.length < COMPRESS_FROM || looksRandom(body)) return plain
      // The first few bodies are small and say little; with one codec there is nothing to choose.
      if (codecs.length > 1 && bodies % TRIAL_EVERY === 1) trial(body)
      bodies += 1
      const codec = chooseCodec(codecs, measured)
      const bytes = codec === 'zstd' ? zstd(body) : deflate(body)
      return bytes.length < body.length ? { bytes, flag: flags[codec] } : plain
    },
  }
}

/** Into one buffer, which is never too small. */
const zstd = (body: Uint8Array): Buffer => zstdCompressSync(body, { ...ZSTD, chunkSize: body.length + 1024 })

const deflate = (body: Uint8Array): Uint8Array => deflateSync(body, { level: DEFLATE_LEVEL })

const blend = (before: Measured | undefined, now: Measured): Measured =>
  before
    ? {
        secondsPerByte: before.secondsPerByte * (1 - WEIGHT) + now.secondsPerByte * WEIGHT,
        ratio: before.ratio * (1 - WEIGHT) + now.ratio * WEIGHT,
      }
    : now

/** The codec that packs and sends a byte soonest; the first before anything is known. Pure. */
export function chooseCodec(codecs: readonly Codec[], measured: ReadonlyMap<Codec, Measured>): Codec {
  let best: { codec: Codec; seconds: number } | undefined
  for (const codec of codecs) {
    const known = measured.get(codec)
    if (!known) continue
    const seconds = known.secondsPerByte + known.ratio / NETWORK_BYTES_PER_SECOND
    if (!best || seconds < best.seconds) best = { codec, seconds }
  }
  return best?.codec ?? codecs[0] ?? 'zstd'
}

const SAMPLES = 8
const SAMPLE_BYTES = 1024
/** Above this many bits per byte nothing is gained. */
const RANDOM_BITS = 7.6
/** A sample of 8 KiB of random bytes has about 7.97 bits per byte; less than this much says nothing. */
const SAMPLED_FROM = 16 * 1024

/** Shannon entropy of a few samples, in bits per byte. */
function looksRandom(body: Uint8Array): boolean {
  if (body.length < SAMPLED_FROM) return false
  const counts = new Uint32Array(256)
  const step = Math.floor((body.length - SAMPLE_BYTES) / (SAMPLES - 1))
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const from = sample * step
    for (let at = from; at < from + SAMPLE_BYTES; at += 1) {
      const byte = body[at] ?? 0
      counts[byte] = (counts[byte] ?? 0) + 1
    }
  }
  const total = SAMPLES * SAMPLE_BYTES
  let bits = 0
  for (const count of counts) if (count > 0) bits -= (count / total) * Math.log2(count / total)
  return bits > RANDOM_BITS
}
