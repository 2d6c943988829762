import { createHash } from 'node:crypto'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { AppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import { regionOf } from '@understudy/shared/market/pool'
import type { PipelineInput } from '@understudy/shared/pipeline/context'
import type { Kysely, Schema } from '../storage/database.ts'

/** What many decisions have in common: the offers of a region are the same for a thousand agents. */
const SHARED = ['offers', 'interruptions', 'policy'] as const
type SharedField = (typeof SHARED)[number]

/** Below this many characters the reference would be longer than what it saves. */
const WORTH = 200

export interface SplitInput {
  /** JSON without the parts. */
  readonly input: string
  /** JSON: field to SHA-256. */
  readonly parts: string
}

/** Takes inputs apart, each part once however many decisions have it. */
export interface PartSplitter {
  split(input: PipelineInput): SplitInput
  /** Writes the parts of all that was split: before the decisions, which are nothing without them. */
  save(db: Kysely<Schema>, now: Instant): Promise<void>
}

interface Part {
  readonly sha256: string
  readonly text: string
  /** What it is like: parts of the same kind are stored by what they differ in. */
  readonly kind: string
}

/** Offers of one cycle differ from those of the one before in a few numbers. */
export interface PartBases {
  /** The stored form of a part, by a base if that is worth it. */
  store(part: Part): { readonly bytes: Uint8Array; readonly base: string | null }
  /** It is not stored any more. */
  drop(kind: string): void
}

/** Each is the text of the offers of a region. */
const MOST_BASES = 16
/** A part that is less like its base than this is the next base. */
const MUCH = 0.6
/** Shorter ones are not worth a second look-up. */
const LONG = 10_000

/** To be kept as long as the store is: the first part of a kind after a start is stored whole. */
export function createPartBases(): PartBases {
  const bases = new Map<string, { readonly sha256: string; readonly text: Buffer; readonly length: number }>()
  return {
    store({ sha256, text, kind }) {
      const content = Buffer.from(text)
      const base = bases.get(kind)
      if (base) {
        const delta = compress(content, base.text)
        if (delta.length < MUCH * base.length) return { bytes: delta, base: base.sha256 }
      }
      const bytes = compress(content)
      if (content.length < LONG) return { bytes, base: null }
      if (bases.size >= MOST_BASES && !base) bases.delete([...bases.keys()][0] ?? '')
      bases.set(kind, { sha256, text: content, length: bytes.length })
      return { bytes, base: null }
    },
    drop: (kind) => void bases.delete(kind),
  }
}

export function createPartSplitter(bases: PartBases = createPartBases()): PartSplitter {
  /** By identity: decisions of one cycle are made from the same objects. */
  const known = new Map<unknown, Part | undefined>()

  function partOf(field: SharedField, value: PipelineInput[SharedField]): Part | undefined {
    if (known.has(value)) return known.get(value)
    const text = JSON.stringify(value)
    const part =
      text.length < WORTH ? undefined : { sha256: sha256Of(text), text, kind: kindOf(field, value) }
    known.set(value, part)
    return part
  }

  async function write(db: Kysely<Schema>, part: Part, now: Instant): Promise<void> {
    const { sha256, kind } = part
    if (await use(db, sha256, now)) return
    let stored = bases.store(part)
    if (stored.base !== null && !(await use(db, stored.base, now))) {
      bases.drop(kind)
      stored = bases.store(part)
    }
    await db
      .insertInto('decision_parts')
      .values({ sha256, body: '', ...stored, last_used_at: now })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  return {
    split(input) {
      const rest: Record<string, unknown> = { ...input }
      const parts: Partial<Record<SharedField, string>> = {}
      for (const field of SHARED) {
        const part = partOf(field, input[field])
        if (!part) continue
        parts[field] = part.sha256
        delete rest[field]
      }
      return { input: JSON.stringify(rest), parts: JSON.stringify(parts) }
    },
    async save(db, now) {
      for (const part of new Set(known.values())) if (part) await write(db, part, now)
    },
  }
}

/** Marks a part as used, and with it the one that it cannot be read without. False when it is not there. */
async function use(db: Kysely<Schema>, sha256: string, now: Instant): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('decision_parts')
    .set({ last_used_at: now })
    .where((eb) =>
      eb.or([
        eb('sha256', '=', sha256),
        eb(
          'sha256',
          '=',
          eb.selectFrom('decision_parts as own').select('own.base').where('own.sha256', '=', sha256),
        ),
      ]),
    )
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

const kindOf = (field: SharedField, value: PipelineInput[SharedField]): string => {
  const first = Array.isArray(value) ? (value[0] as { availabilityZone?: string } | undefined) : undefined
  return `${field} ${first?.availabilityZone === undefined ? '' : regionOf(first.availabilityZone)}`
}

/** The window reaches over the whole dictionary, whatever its size; 2 to the 27th is what zstd reads without being told. */
function compress(content: Buffer, dictionary?: Buffer): Buffer {
  if (!dictionary) return zstdCompressSync(content)
  const windowLog = Math.min(27, Math.max(10, Math.ceil(Math.log2(content.length + dictionary.length))))
  return zstdCompressSync(content, { dictionary, params: { [constants.ZSTD_c_windowLog]: windowLog } })
}

/** The input as it was. @throws AppError `state_unreadable` when a part is missing or is not what it was */
export async function joinInput(
  db: Kysely<Schema>,
  stored: { readonly input: string; readonly parts: string | null },
): Promise<PipelineInput> {
  const rest = JSON.parse(stored.input) as PipelineInput
  if (stored.parts === null) return rest
  const parts = Object.entries(JSON.parse(stored.parts) as Record<string, string>)
  const found: Record<string, unknown> = {}
  for (const [field, sha256] of parts) {
    const text = await textOf(db, sha256)
    if (text === undefined)
      throw new AppError('state_unreadable', `the ${field} of this decision are not there any more`, {
        hint: 'The database was changed by hand, or restored from a backup in part.',
      })
    found[field] = JSON.parse(text)
  }
  return { ...rest, ...found }
}

/** Undefined when it is not there, or is not what its name says. */
async function textOf(db: Kysely<Schema>, sha256: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('decision_parts')
    .select(['body', 'bytes', 'base'])
    .where('sha256', '=', sha256)
    .executeTakeFirst()
  if (!row) return undefined
  const base = row.base === null ? undefined : await textOf(db, row.base)
  if (row.base !== null && base === undefined) return undefined
  const bytes = row.bytes ?? Buffer.from(row.body, 'base64')
  const text = decompress(bytes, base)
  return text !== undefined && sha256Of(text) === sha256 ? text : undefined
}

function decompress(bytes: Uint8Array, base: string | undefined): string | undefined {
  try {
    const options = base === undefined ? {} : { dictionary: Buffer.from(base) }
    return zstdDecompressSync(bytes, options).toString('utf8')
  } catch {
    return undefined
  }
}

export const sha256Of = (text: string): string => createHash('sha256').update(text).digest('hex')
