import { type Metadata, malformed, metaBytes, Reader, safeNumber, Writer } from './replication-bytes.ts'

export { type Metadata, Writer } from './replication-bytes.ts'

/**
 * The state stream between a primary and one replica: a WebSocket that the replica opens. Text frames are control
 * messages (replication-messages.ts); binary frames are batches (primary to replica) and manifests (replica to
 * primary).
 *
 * The replica first shows what it has, as a manifest of names, metadata and page hashes. From then on the primary
 * sends what differs. A batch is numbered, hashed and, unless it is marked `bulk`, part of a group that the replica
 * puts in place as a whole or not at all. After a short break the stream goes on with the next number.
 */

/** State is compared and sent in pages of this size. */
export const PAGE_BYTES = 4096
/** No batch body is larger than this before compression, so that a hostile one cannot take all memory. */
export const MAX_BODY_BYTES = 8 * 1024 * 1024
export const HEADER_BYTES = 64

const MAGIC = 0x5542
const MAX_PATH_BYTES = 4096

export const FrameType = { batch: 1, manifest: 2 } as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

export const FrameFlag = {
  /** The body is compressed with zstd. */
  zstd: 1,
  /** Last batch of its group, or last part of the manifest. */
  last: 2,
  /** Applied by itself: part of a transfer that is too large to hold back until it is complete. */
  bulk: 4,
  /** The body is compressed with deflate, without a header of its own. */
  deflate: 8,
} as const

export interface FrameHeader {
  readonly type: FrameType
  readonly flags: number
  readonly epoch: number
  readonly seq: number
  /** Length of the body before compression. */
  readonly rawBytes: number
  readonly bodyBytes: number
  /** SHA-256 over the first 32 bytes of the header and the body as sent. */
  readonly digest: Uint8Array
}

/** The first 32 bytes of a header: everything but the digest. */
export function encodeHeaderPrefix(header: Omit<FrameHeader, 'digest'>): Uint8Array {
  const bytes = new Uint8Array(32)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, MAGIC)
  view.setUint8(2, header.type)
  view.setUint8(3, header.flags)
  view.setBigUint64(4, BigInt(header.epoch))
  view.setBigUint64(12, BigInt(header.seq))
  view.setUint32(20, header.rawBytes)
  view.setUint32(24, header.bodyBytes)
  return bytes
}

/**
 * Reads the header of a frame and checks every length in it.
 * @throws AppError `protocol`
 */
export function decodeHeader(frame: Uint8Array): FrameHeader {
  if (frame.length < HEADER_BYTES) throw malformed(`${frame.length} bytes are too few for a header`)
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  if (view.getUint16(0) !== MAGIC) throw malformed('it does not begin with the magic number')
  const type = view.getUint8(2)
  if (type !== FrameType.batch && type !== FrameType.manifest) throw malformed(`unknown type ${type}`)
  const header: FrameHeader = {
    type,
    flags: view.getUint8(3),
    epoch: safeNumber(view.getBigUint64(4)),
    seq: safeNumber(view.getBigUint64(12)),
    rawBytes: view.getUint32(20),
    bodyBytes: view.getUint32(24),
    digest: frame.subarray(32, HEADER_BYTES),
  }
  if (header.rawBytes > MAX_BODY_BYTES) throw malformed(`a body of ${header.rawBytes} bytes is too large`)
  if (header.bodyBytes !== frame.length - HEADER_BYTES)
    throw malformed(`the body has ${frame.length - HEADER_BYTES} bytes instead of ${header.bodyBytes}`)
  return header
}

/**
 * One change of the tree. `root` is the number of the state directory, `path` the name below it in bytes, kept in a
 * latin1 string because names need not be valid UTF-8. The empty path is the directory itself.
 */
export type Op =
  | { readonly kind: 'dir'; readonly root: number; readonly path: string; readonly meta: Metadata }
  /**
   * The file exists with exactly this size and metadata once the batch is applied. A `fresh` one takes nothing over
   * from what has the name now: it is a new file of zeros, whatever other names that had.
   */
  | {
      readonly kind: 'file'
      readonly root: number
      readonly path: string
      readonly meta: Metadata
      readonly size: number
      readonly fresh: boolean
    }
  | {
      readonly kind: 'write'
      readonly root: number
      readonly path: string
      readonly offset: number
      readonly bytes: Uint8Array
    }
  | {
      readonly kind: 'symlink'
      readonly root: number
      readonly path: string
      readonly meta: Metadata
      readonly target: string
    }
  /** Another name of the file `target`: a hard link. */
  | { readonly kind: 'link'; readonly root: number; readonly path: string; readonly target: FileName }
  | { readonly kind: 'remove'; readonly root: number; readonly path: string }

export interface FileName {
  readonly root: number
  readonly path: string
}

const opCode = { dir: 1, file: 2, write: 3, symlink: 4, remove: 5, link: 6 } as const

/** Bytes that `op` takes in a body. */
export function opBytes(op: Op): number {
  const name = 1 + 1 + 2 + op.path.length
  switch (op.kind) {
    case 'dir':
      return name + metaBytes(op.meta)
    case 'file':
      return name + metaBytes(op.meta) + 9
    case 'write':
      return name + 12 + op.bytes.length
    case 'symlink':
      return name + metaBytes(op.meta) + 2 + op.target.length
    case 'link':
      return name + 3 + op.target.path.length
    case 'remove':
      return name
  }
}

export function encodeOps(ops: readonly Op[]): Uint8Array {
  const body = new Uint8Array(ops.reduce((sum, op) => sum + opBytes(op), 0))
  const out = new Writer(body)
  for (const op of ops) appendOp(out, op)
  return body
}

export function appendOp(out: Writer, op: Op): void {
  if (op.kind === 'write') {
    appendWrite(out, op, op.offset, op.bytes.length, (room) => {
      room.set(op.bytes)
      return op.bytes.length
    })
    return
  }
  out.u8(opCode[op.kind])
  out.name(op)
  if (op.kind === 'dir' || op.kind === 'file' || op.kind === 'symlink') out.meta(op.meta)
  if (op.kind === 'file') {
    out.u64(op.size)
    out.u8(op.fresh ? 1 : 0)
  }
  if (op.kind === 'symlink') out.text(op.target)
  if (op.kind === 'link') out.name(op.target)
}

/** A `write` whose bytes are put in place by `into`, which says how many there were. */
export function appendWrite(
  out: Writer,
  name: FileName,
  offset: number,
  length: number,
  into: (room: Uint8Array) => number,
): number {
  out.u8(opCode.write)
  out.name(name)
  out.u64(offset)
  return out.fill(length, into)
}

/**
 * Reads a body. `write` ops share memory with it.
 * @throws AppError `protocol` on anything that is not exactly a list of well-formed ops with confined names
 */
export function decodeOps(body: Uint8Array): Op[] {
  const input = new Reader(body)
  const ops: Op[] = []
  while (!input.done) ops.push(decodeOp(input))
  return ops
}

function decodeOp(input: Reader): Op {
  const code = input.u8()
  const root = input.u8()
  const path = input.text(MAX_PATH_BYTES)
  assertConfined(path, code === opCode.dir)
  switch (code) {
    case opCode.dir:
      return { kind: 'dir', root, path, meta: input.meta() }
    case opCode.file:
      return { kind: 'file', root, path, meta: input.meta(), size: input.u64(), fresh: input.u8() === 1 }
    case opCode.write: {
      const offset = input.u64()
      return { kind: 'write', root, path, offset, bytes: input.bytes(input.u32()) }
    }
    case opCode.symlink:
      return { kind: 'symlink', root, path, meta: input.meta(), target: input.text(MAX_PATH_BYTES) }
    case opCode.link: {
      const target = { root: input.u8(), path: input.text(MAX_PATH_BYTES) }
      assertConfined(target.path, false)
      return { kind: 'link', root, path, target }
    }
    case opCode.remove:
      return { kind: 'remove', root, path }
    default:
      throw malformed(`unknown operation ${code}`)
  }
}

function assertConfined(path: string, mayBeRoot: boolean): void {
  if ((path === '' && mayBeRoot) || isConfined(path)) return
  throw malformed(`the name ${JSON.stringify(path.slice(0, 200))} leads outside the state directory`)
}

/**
 * A name stays below its root: no empty, `.` or `..` component, no leading slash, no NUL. Nor is there anything in it
 * but bytes: of a character above 255 the file system would see the lowest eight bits, which may be a dot or a slash.
 */
export function isConfined(path: string): boolean {
  for (let index = 0; index < path.length; index += 1) {
    const code = path.charCodeAt(index)
    if (code === 0 || code > 255) return false
  }
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}

/** What the replica has under one name. A large file comes in several parts, in order of `pageFrom`. */
export type ManifestEntry =
  | { readonly kind: 'dir'; readonly root: number; readonly path: string; readonly meta: Metadata }
  | {
      readonly kind: 'file'
      readonly root: number
      readonly path: string
      readonly meta: Metadata
      readonly size: number
      readonly pageFrom: number
      readonly pages: BigUint64Array
    }
  | {
      readonly kind: 'symlink'
      readonly root: number
      readonly path: string
      readonly meta: Metadata
      readonly target: string
    }
  | { readonly kind: 'link'; readonly root: number; readonly path: string; readonly target: FileName }

const entryCode = { dir: 1, file: 2, symlink: 3, link: 4 } as const

function entryBytes(entry: ManifestEntry): number {
  const name = 1 + 1 + 2 + entry.path.length
  switch (entry.kind) {
    case 'dir':
      return name + metaBytes(entry.meta)
    case 'symlink':
      return name + metaBytes(entry.meta) + 2 + entry.target.length
    case 'file':
      return name + metaBytes(entry.meta) + 16 + 8 * entry.pages.length
    case 'link':
      return name + 3 + entry.target.path.length
  }
}

export function encodeManifest(entries: readonly ManifestEntry[]): Uint8Array {
  const body = new Uint8Array(entries.reduce((sum, entry) => sum + entryBytes(entry), 0))
  const out = new Writer(body)
  for (const entry of entries) {
    out.u8(entryCode[entry.kind])
    out.name(entry)
    if (entry.kind === 'link') {
      out.name(entry.target)
      continue
    }
    out.meta(entry.meta)
    if (entry.kind === 'symlink') out.text(entry.target)
    if (entry.kind !== 'file') continue
    out.u64(entry.size)
    out.u32(entry.pageFrom)
    out.u32(entry.pages.length)
    for (const page of entry.pages) out.big(page)
  }
  return body
}

/** @throws AppError `protocol` */
export function decodeManifest(body: Uint8Array): ManifestEntry[] {
  const input = new Reader(body)
  const entries: ManifestEntry[] = []
  while (!input.done) entries.push(decodeEntry(input))
  return entries
}

function decodeEntry(input: Reader): ManifestEntry {
  const code = input.u8()
  const root = input.u8()
  const path = input.text(MAX_PATH_BYTES)
  assertConfined(path, code === entryCode.dir)
  if (code === entryCode.link) {
    const target = { root: input.u8(), path: input.text(MAX_PATH_BYTES) }
    assertConfined(target.path, false)
    return { kind: 'link', root, path, target }
  }
  const meta = input.meta()
  if (code === entryCode.dir) return { kind: 'dir', root, path, meta }
  if (code === entryCode.symlink)
    return { kind: 'symlink', root, path, meta, target: input.text(MAX_PATH_BYTES) }
  if (code !== entryCode.file) throw malformed(`unknown entry ${code}`)
  const size = input.u64()
  const pageFrom = input.u32()
  const count = input.u32()
  if (pageFrom + count > Math.ceil(size / PAGE_BYTES)) throw malformed('more pages than the file has')
  return { kind: 'file', root, path, meta, size, pageFrom, pages: input.bigs(count) }
}
