import { createHash } from 'node:crypto'
import type { Kysely, ModelActivationRow, Schema, Transaction } from '../storage/database.ts'

/** What stands before the first line. */
const NOTHING = '0'.repeat(64)

/** A change of what an alias points to. Null is nothing. */
export interface Change {
  readonly at: number
  readonly actor: string
  readonly alias: string
  readonly from: { readonly id: string; readonly sha: string } | null
  readonly to: { readonly id: string; readonly sha: string } | null
  readonly reason: string
}

type Line = Omit<ModelActivationRow, 'hash'>

/** SHA-256 of a line with the hash of the one before it: none can be changed or taken out without a trace. */
const hashOf = (line: Line): string =>
  createHash('sha256')
    .update(
      JSON.stringify([
        line.seq,
        line.at,
        line.actor,
        line.alias,
        line.from_id,
        line.to_id,
        line.from_sha,
        line.to_sha,
        line.reason,
        line.prev_hash,
      ]),
    )
    .digest('hex')

/** Adds a line. Within a transaction, with everything that follows from it. */
export async function append(trx: Transaction<Schema>, change: Change): Promise<ModelActivationRow> {
  const last = await trx
    .selectFrom('model_activations')
    .select(['seq', 'hash'])
    .orderBy('seq', 'desc')
    .limit(1)
    .executeTakeFirst()
  const line: Line = {
    seq: (last?.seq ?? 0) + 1,
    at: change.at,
    actor: change.actor,
    alias: change.alias,
    from_id: change.from?.id ?? null,
    to_id: change.to?.id ?? null,
    from_sha: change.from?.sha ?? null,
    to_sha: change.to?.sha ?? null,
    reason: change.reason,
    prev_hash: last?.hash ?? NOTHING,
  }
  const row = { ...line, hash: hashOf(line) }
  await trx.insertInto('model_activations').values(row).execute()
  return row
}

/** The first line that does not follow from the one before it. */
export function firstBroken(lines: readonly ModelActivationRow[]): number | undefined {
  let before = NOTHING
  for (const [i, line] of lines.entries()) {
    if (line.seq !== i + 1 || line.prev_hash !== before || line.hash !== hashOf(line)) return line.seq
    before = line.hash
  }
  return undefined
}

export const allLines = (db: Kysely<Schema>): Promise<ModelActivationRow[]> =>
  db.selectFrom('model_activations').selectAll().orderBy('seq').execute()

/** What each alias points to now. */
export function headsOf(lines: readonly ModelActivationRow[]): ReadonlyMap<string, string> {
  const heads = new Map<string, string>()
  for (const { alias, to_id: to } of lines)
    if (to === null) heads.delete(alias)
    else heads.set(alias, to)
  return heads
}

/** Versions that an alias has pointed to before the one of now, the latest first, each once. */
export function formerOf(lines: readonly ModelActivationRow[], alias: string): readonly string[] {
  const now = headsOf(lines).get(alias)
  const ids = lines
    .filter((line) => line.alias === alias)
    .toReversed()
    .flatMap(({ to_id: to, from_id: from }) => [to, from])
  // The one that the latest change came from goes first: going back twice ends where it began.
  return [...new Set(ids)].filter((id) => id !== null && id !== now) as string[]
}

/** Which version an alias pointed to at a time: what has decided then. */
export function pointedTo(
  lines: readonly ModelActivationRow[],
  alias: string,
  at: number,
): string | undefined {
  const line = lines.filter((candidate) => candidate.alias === alias && candidate.at <= at).at(-1)
  return line?.to_id ?? undefined
}
