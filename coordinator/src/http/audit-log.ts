import type { AuditEntry } from '@understudy/shared/protocol/settings'
import type { Kysely, Schema } from '../storage/database.ts'
import { numberOf } from './position.ts'

export interface AuditFilter {
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly object?: string | undefined
}

/** Reads what was audited. */
export interface AuditLog {
  /** The latest first; `cursor` is that of the page before. @throws AppError `input_invalid` for what is no cursor */
  list(
    filter: AuditFilter,
    cursor: string | undefined,
    limit: number,
  ): Promise<{ readonly items: readonly AuditEntry[]; readonly next: string | null }>
}

export const createAuditLog = (db: Kysely<Schema>): AuditLog => ({
  async list(filter, cursor, limit) {
    const before = numberOf(cursor)
    let query = db
      .selectFrom('audit_log')
      .selectAll()
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (before !== undefined) query = query.where('id', '<', before)
    for (const column of ['actor', 'action', 'object'] as const) {
      const wanted = filter[column]
      if (wanted !== undefined) query = query.where(column, '=', wanted)
    }
    const rows = await query.execute()
    const items = rows.slice(0, limit).map(({ at, before: was, after: is, ...row }) => ({
      ...row,
      at: new Date(at).toISOString(),
      before: parsed(was),
      after: parsed(is),
    }))
    return { items, next: rows.length > limit ? String(items.at(-1)?.id) : null }
  },
})

const parsed = (json: string | null): unknown => (json === null ? null : JSON.parse(json))
