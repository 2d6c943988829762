import { createHash } from 'node:crypto'
import { AppError, isAppError } from '@understudy/shared/core/app-error'
import {
  decodeManifest,
  decodeOps,
  encodeManifest,
  FrameType,
  HEADER_BYTES,
  type ManifestEntry,
  type Op,
} from '@understudy/shared/protocol/replication'
import {
  addToTree,
  batchesFor,
  checkFrame,
  createCompressor,
  type Key,
  manifestOf,
  packFrame,
  type ReadonlyTree,
  type StateTree,
  unpackBody,
} from '../replication/replication.ts'
import { createCutter } from './chain.ts'
import type { Pack } from './snapshot-format.ts'
import type { State } from './state.ts'

/**
 * The state stream as it is kept in packs: the very frames that a replica gets, one after the other. A pack belongs
 * to no epoch and numbers its frames from 1, so that the same content is the same pack whoever writes it, and when.
 */

/** A pack is closed once it is this large. */
const PACK_BYTES = 16 * 1024 * 1024
/** Parts of a manifest: small, so that few bytes are sent for few changes. A frame takes 8 MiB. */
const MANIFEST_FROM = 128 * 1024
const MANIFEST_AT = 1024 * 1024

export interface BuiltPack extends Pack {
  readonly content: Buffer
}

/** One codec, so that it never depends on measurements what a pack is. */
const compressor = createCompressor(['zstd'], () => 0)

/** Collects frames, and closes a pack when it is full or told to. */
function createPacker(type: FrameType) {
  let frames: Buffer[] = []
  let bytes = 0
  let raw = 0
  return {
    get full() {
      return bytes >= PACK_BYTES
    },
    async add(body: Uint8Array) {
      const frame = packFrame({ type, epoch: 0, seq: frames.length + 1, flags: 0, body }, compressor)
      frames.push(frame)
      bytes += frame.length
      raw += body.length
    },
    take(): BuiltPack | undefined {
      if (frames.length === 0) return undefined
      const content = Buffer.concat(frames)
      const pack = { sha256: sha256(content), bytes, raw_bytes: raw, content }
      frames = []
      bytes = 0
      raw = 0
      return pack
    },
  }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/**
 * Packs that bring `theirs` to `ours` for these names; `theirs` follows as they are made. `onUnreadable` is told what
 * is left as it was.
 */
export async function* packsFor(
  keys: readonly Key[],
  ours: ReadonlyTree,
  theirs: StateTree,
  { roots, xattrs }: State,
  onUnreadable: (key: Key, why: string) => void,
): AsyncGenerator<BuiltPack> {
  const packer = createPacker(FrameType.batch)
  const source = { ours, theirs, roots, xattrs: xattrs.available, onUnreadable }
  for (const { body } of batchesFor(keys, source)) {
    await packer.add(body)
    const pack = packer.full ? packer.take() : undefined
    if (pack) yield pack
  }
  const last = packer.take()
  if (last) yield last
}

/** The manifest of `tree` in packs; those of names that have not changed are the same as before. */
export async function* manifestPacks(tree: ReadonlyTree): AsyncGenerator<BuiltPack> {
  const packer = createPacker(FrameType.manifest)
  const endsHere = createCutter(MANIFEST_FROM, MANIFEST_AT)
  let part: ManifestEntry[] = []
  for (const entry of [...manifestOf(tree)].sort(byName)) {
    part.push(entry)
    const bytes = 64 + entry.path.length + ('pages' in entry ? entry.pages.length * 8 : 0)
    if (!endsHere(nameOf(entry), bytes)) continue
    await packer.add(encodeManifest(part))
    part = []
    const pack = packer.take()
    if (pack) yield pack
  }
  if (part.length > 0) await packer.add(encodeManifest(part))
  const last = packer.take()
  if (last) yield last
}

const nameOf = ({ root, path }: ManifestEntry): string => `${String(root).padStart(2, '0')}/${path}`

/** Parts of a large file stay in order. */
const byName = (a: ManifestEntry, b: ManifestEntry): number => {
  const [x, y] = [nameOf(a), nameOf(b)]
  if (x !== y) return x < y ? -1 : 1
  return 'pages' in a && 'pages' in b ? a.pageFrom - b.pageFrom : 0
}

/** @throws AppError `state_unreadable` for a pack that is not what its name says */
export async function* opsIn(content: Buffer, pack: Pack): AsyncGenerator<Op[]> {
  for await (const body of bodiesIn(content, pack, FrameType.batch))
    yield refusing(pack, () => decodeOps(body))
}

/** Adds what a part of a manifest names to `tree`. @throws AppError `state_unreadable` */
export async function addManifest(tree: StateTree, content: Buffer, pack: Pack): Promise<void> {
  for await (const body of bodiesIn(content, pack, FrameType.manifest))
    for (const entry of refusing(pack, () => decodeManifest(body))) addToTree(tree, entry)
}

/** Nothing of a pack is looked at before its SHA-256 has been checked; then each frame by its own. */
async function* bodiesIn(content: Buffer, pack: Pack, type: FrameType): AsyncGenerator<Uint8Array> {
  if (content.length !== pack.bytes)
    throw damaged(pack, `it has ${content.length} bytes instead of ${pack.bytes}`)
  if (sha256(content) !== pack.sha256) throw damaged(pack, 'its content is not what its name says')
  for (let at = 0; at < content.length; ) {
    const end = at + HEADER_BYTES + (at + HEADER_BYTES <= content.length ? content.readUInt32BE(at + 24) : 0)
    if (end > content.length) throw damaged(pack, 'it ends in the middle of a frame')
    const frame = content.subarray(at, end)
    yield bodyOf(frame, pack, type)
    at = end
  }
}

function bodyOf(frame: Buffer, pack: Pack, type: FrameType): Uint8Array {
  const header = refusing(pack, () => checkFrame(frame))
  if (header.type !== type) throw damaged(pack, `it has a frame of type ${header.type}`)
  return refusing(pack, () => unpackBody(frame, header))
}

/** What a stream would refuse is damage here: nobody sends it again. */
export function refusing<T>(pack: Pack, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw isAppError(error, 'protocol') ? damaged(pack, error.message, error) : error
  }
}

const damaged = ({ sha256 }: Pack, why: string, cause?: unknown): AppError =>
  new AppError('state_unreadable', `the pack ${sha256.slice(0, 12)} of the snapshot is damaged: ${why}`, {
    hint: OLDER,
    cause,
  })

export const missing = ({ sha256 }: Pack, cause?: unknown): AppError =>
  new AppError('state_unreadable', `the pack ${sha256.slice(0, 12)} of the snapshot is missing`, {
    hint: OLDER,
    cause,
  })

const OLDER =
  'Take an older snapshot: understudy-agent snapshots lists them, understudy-agent restore --at <id> takes one.'
