import { createHash } from 'node:crypto'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { AppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
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

export function createPartSplitter(): PartSplitter {
  /** By identity: decisions of one cycle are made from the same objects. */
  const known = new Map<unknown, { readonly sha256: string; readonly text: string } | undefined>()

  function partOf(value: unknown) {
    if (known.has(value)) return known.get(value)
    const text = JSON.stringify(value)
    const part = text.length < WORTH ? undefined : { sha256: sha256Of(text), text }
    known.set(value, part)
    return part
  }

  return {
    split(input) {
      const rest: Record<string, unknown> = { ...input }
      const parts: Partial<Record<SharedField, string>> = {}
      for (const field of SHARED) {
        const part = partOf(input[field])
        if (!part) continue
        parts[field] = part.sha256
        delete rest[field]
      }
      return { input: JSON.stringify(rest), parts: JSON.stringify(parts) }
    },
    async save(db, now) {
      for (const part of new Set(known.values())) {
        if (!part) continue
        const { sha256, text } = part
        const { numUpdatedRows } = await db
          .updateTable('decision_parts')
          .set({ last_used_at: now })
          .where('sha256', '=', sha256)
          .executeTakeFirst()
        if (numUpdatedRows > 0n) continue
        await db
          .insertInto('decision_parts')
          .values({ sha256, body: zstdCompressSync(text).toString('base64'), last_used_at: now })
          .onConflict((conflict) => conflict.doNothing())
          .execute()
      }
    },
  }
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
    const row = await db
      .selectFrom('decision_parts')
      .select('body')
      .where('sha256', '=', sha256)
      .executeTakeFirst()
    const text = row && zstdDecompressSync(Buffer.from(row.body, 'base64')).toString('utf8')
    if (text === undefined || sha256Of(text) !== sha256)
      throw new AppError('state_unreadable', `the ${field} of this decision are not there any more`, {
        hint: 'The database was changed by hand, or restored from a backup in part.',
      })
    found[field] = JSON.parse(text)
  }
  return { ...rest, ...found }
}

export const sha256Of = (text: string): string => createHash('sha256').update(text).digest('hex')
