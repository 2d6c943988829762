import { AppError, messageOf } from '@understudy/shared/core/app-error'
import {
  agentIdSchema,
  countSchema,
  epochSchema,
  instanceIdSchema,
  timeSchema,
} from '@understudy/shared/protocol/primitives'
import { z } from 'zod'

/**
 * A snapshot is one small document: the packs of the state stream that lead from nothing to the state, in order, and
 * the manifest of that state, from which the next snapshot goes on. Packs and parts of the manifest are objects named
 * by their SHA-256, so that what is the same is stored once.
 *
 *     <store>/<agent>/packs/<sha256>
 *     <store>/<agent>/snapshots/<time>-<epoch>-<seq>.json
 */

/** No pack is larger: 16 MiB and one batch. */
export const MAX_PACK_BYTES = 32 * 1024 * 1024
/** A document names a pack per 16 MiB, in 200 bytes. */
export const MAX_DOCUMENT_BYTES = 128 * 1024 * 1024

const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/)

const packSchema = z.object({
  sha256: sha256Schema,
  bytes: z.int().min(1).max(MAX_PACK_BYTES),
  /** Before compression. */
  raw_bytes: countSchema,
})
export type Pack = z.infer<typeof packSchema>

export const snapshotSchema = z.object({
  schema: z.literal('understudy.snapshot/v1'),
  id: z.string(),
  agent_id: agentIdSchema,
  instance_id: instanceIdSchema,
  agent_version: z.string(),
  /** The epoch of the primary that made it: the fencing token among snapshots, too. */
  epoch: epochSchema,
  seq: countSchema,
  /** Everything that was written before then is in it. */
  taken_at: timeSchema,
  /** `running`: files as after a power cut. `frozen`: the workload stood still. */
  workload: z.enum(['running', 'frozen']),
  /** The state directories, in order, as they are called where it was made. */
  directories: z.array(z.string()).min(1).max(64),
  tree: z.object({ digest: sha256Schema, names: countSchema, bytes: countSchema }),
  /** Names that could not be read and are missing. */
  unreadable: countSchema,
  packs: z.array(packSchema),
  manifest: z.array(packSchema),
})
export type Snapshot = z.infer<typeof snapshotSchema>

/** Which snapshot it is, as far as its name says. */
export interface SnapshotName {
  readonly id: string
  readonly takenAt: Date
  readonly epoch: number
  readonly seq: number
}

/** `20261121T063000Z-5-12`. */
export function snapshotId(takenAt: Date, epoch: number, seq: number): string {
  const time = takenAt
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(/[-:]/g, '')
  return `${time}-${epoch}-${seq}`
}

/** undefined for what is not the name of a snapshot. */
function parseSnapshotId(id: string): SnapshotName | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-(\d{1,15})-(\d{1,15})$/.exec(id)
  if (!match) return undefined
  const [year, month, day, hour, minute, second, epoch, seq] = match.slice(1).map(Number)
  if (epoch === undefined || seq === undefined) return undefined
  const takenAt = new Date(Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second))
  return { id, takenAt, epoch, seq }
}

/**
 * The newest first. The epoch decides before anything else: what a primary writes that has lost its epoch without
 * knowing it never becomes the newest, whatever its clock says.
 */
export const newestFirst = (names: readonly SnapshotName[]): SnapshotName[] =>
  [...names].sort((a, b) => b.epoch - a.epoch || b.seq - a.seq || (a.id < b.id ? 1 : -1))

/** Names of an agent's objects. */
export interface Layout {
  readonly packs: string
  readonly snapshots: string
  packOf(sha256: string): string
  snapshotOf(id: string): string
  /** The snapshot that is kept under a key; undefined for anything else. */
  nameIn(key: string): SnapshotName | undefined
}

export function layoutOf(agent: string): Layout {
  const packs = `${agent}/packs/`
  const snapshots = `${agent}/snapshots/`
  return {
    packs,
    snapshots,
    packOf: (sha256) => `${packs}${sha256}`,
    snapshotOf: (id) => `${snapshots}${id}.json`,
    nameIn: (key) =>
      key.startsWith(snapshots) && key.endsWith('.json')
        ? parseSnapshotId(key.slice(snapshots.length, -'.json'.length))
        : undefined,
  }
}

/** @throws AppError `state_unreadable` when it is not the document of that snapshot */
export function parseSnapshot(id: string, bytes: Buffer): Snapshot {
  let why: string
  try {
    const parsed = snapshotSchema.safeParse(JSON.parse(bytes.toString('utf8')))
    if (parsed.success && parsed.data.id === id) return parsed.data
    why = parsed.success
      ? `it says that it is ${parsed.data.id}`
      : z.prettifyError(parsed.error).slice(0, 300)
  } catch (error) {
    why = messageOf(error)
  }
  throw new AppError('state_unreadable', `the document of snapshot ${id} cannot be understood: ${why}`, {
    hint: 'Take an older one: understudy-agent restore --at <id>; understudy-agent snapshots lists them.',
  })
}
