import { constants, inflateRawSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { deflateSync } from 'fflate'
import type { Bench, BenchResult } from './bench.ts'
import { formatTable } from './bench.ts'
import { byteSource, databasePages, MIB, PAGE } from './replication-tree.ts'

/** The codecs of the state stream beside each other, on bodies of the size of a batch. */

const zstd = (level: number) => (body: Uint8Array) =>
  zstdCompressSync(body, {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    chunkSize: body.length + 1024,
  })
const fflate = (level: 1 | 6) => (body: Uint8Array) => deflateSync(body, { level })

const codecs = {
  'zstd 1': { pack: zstd(1), unpack: zstdDecompressSync },
  'zstd 3': { pack: zstd(3), unpack: zstdDecompressSync },
  'fflate 1': { pack: fflate(1), unpack: inflateRawSync },
  'fflate 6': { pack: fflate(6), unpack: inflateRawSync },
} as const

interface Measured {
  readonly codec: string
  readonly body: string
  readonly pack_mib_s: number
  readonly unpack_mib_s: number
  /** Packed bytes per byte. */
  readonly ratio: number
  /** Until 100 MB/s of network have brought a GiB over, packing and unpacking included, in seconds. */
  readonly seconds_per_gib_at_100_mb_s: number
}

function bodies(bytes: number, seed: number): Readonly<Record<string, Buffer>> {
  const source = byteSource(`codecs ${seed}`)
  const lines: string[] = []
  for (let length = 0; length < bytes; length += lines.at(-1)?.length ?? 0)
    lines.push(
      `{"at":"2026-01-01T00:00:${source.below(60)}Z","level":30,"request":${source.below(1e9)},"ok":true}\n`,
    )
  return {
    log: Buffer.from(lines.join('')).subarray(0, bytes),
    pages: databasePages(source, bytes / PAGE),
    random: source.bytes(bytes),
  }
}

function measure(codec: keyof typeof codecs, name: string, body: Buffer, rounds: number): Measured {
  const { pack, unpack } = codecs[codec]
  const packed = pack(body)
  if (!unpack(packed).equals(body)) throw new Error(`${codec} does not give back what it got (${name})`)
  const speed = (run: () => unknown) => {
    const started = performance.now()
    for (let round = 0; round < rounds; round += 1) run()
    return (body.length * rounds) / MIB / ((performance.now() - started) / 1000)
  }
  const packMibS = speed(() => pack(body))
  const unpackMibS = speed(() => unpack(packed))
  const ratio = packed.length / body.length
  return {
    codec,
    body: name,
    pack_mib_s: packMibS,
    unpack_mib_s: unpackMibS,
    ratio,
    seconds_per_gib_at_100_mb_s: 1024 / packMibS + 1024 / unpackMibS + (ratio * 1024 * MIB) / 100e6,
  }
}

async function run(options: Readonly<Record<string, number>>): Promise<BenchResult> {
  const { kib = 1024, rounds = 20, seed = 1 } = options
  const results: Measured[] = []
  for (const [name, body] of Object.entries(bodies(kib * 1024, seed)))
    for (const codec of Object.keys(codecs) as (keyof typeof codecs)[])
      results.push(measure(codec, name, body, rounds))
  const table = formatTable(
    ['body, codec', 'pack MiB/s', 'unpack MiB/s', 'ratio', 's/GiB at 100 MB/s'],
    results.map((one) => [
      `${one.body}, ${one.codec}`,
      one.pack_mib_s.toFixed(0),
      one.unpack_mib_s.toFixed(0),
      one.ratio.toFixed(3),
      one.seconds_per_gib_at_100_mb_s.toFixed(1),
    ]),
  )
  return { table, json: { results }, ok: true }
}

export const bench: Bench = {
  summary: 'How fast the codecs of the state stream pack and unpack, and how small they make it',
  options: {
    kib: { value: 1024, doc: 'KiB of one body' },
    rounds: { value: 20, doc: 'times that each body is packed and unpacked' },
    seed: { value: 1, doc: 'seed of what is in the bodies' },
  },
  run,
}
