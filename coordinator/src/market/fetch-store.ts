import { AppError } from '@understudy/shared/core/app-error'
import { type Instant, instant } from '@understudy/shared/core/time'
import type { Kysely, Schema } from '../storage/database.ts'
import type { RefusalExample } from './refusals.ts'

export const fetchKinds = ['backfill', 'manual', 'import'] as const
export type FetchKind = (typeof fetchKinds)[number]
export type FetchState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled'

/** Where a fetch goes on after a crash, and what has come of it so far. */
export interface FetchCursor {
  /** The first part that is not done. */
  readonly next: number
  readonly refused: Readonly<Record<string, number>>
  readonly examples: readonly RefusalExample[]
  /** Parts without a row: not offered there. The first ones. */
  readonly notOffered: readonly string[]
  /** Parts that failed and were passed over. The first ones. */
  readonly failures: readonly { readonly part: string; readonly code: string; readonly message: string }[]
  readonly failed: number
}

export const emptyCursor: FetchCursor = {
  next: 0,
  refused: {},
  examples: [],
  notOffered: [],
  failures: [],
  failed: 0,
}

export interface StoredFetch {
  readonly id: string
  readonly kind: FetchKind
  /** What was asked for, as JSON. */
  readonly request: unknown
  readonly status: FetchState
  readonly done: number
  readonly total: number
  readonly rows: number
  readonly error: string | null
  readonly cursor: FetchCursor
  readonly createdAt: Instant
  readonly startedAt: Instant | null
  readonly endedAt: Instant | null
}

export interface FetchStore {
  add(fetch: StoredFetch): Promise<void>
  find(id: string): Promise<StoredFetch | undefined>
  /** The newest first. */
  list(limit: number): Promise<readonly StoredFetch[]>
  /** Queued ones and those that a crash has left running, the oldest first. Imports are not resumed. */
  unfinished(): Promise<readonly StoredFetch[]>
  start(id: string, at: Instant): Promise<boolean>
  /** False when it is no longer running: it was cancelled. */
  advance(id: string, rows: number, cursor: FetchCursor): Promise<boolean>
  /** Ends it unless it has ended. False when it had. */
  end(
    id: string,
    status: 'done' | 'failed' | 'cancelled',
    at: Instant,
    error: string | null,
  ): Promise<boolean>
}

export function createFetchStore(db: Kysely<Schema>): FetchStore {
  return {
    async add(fetch) {
      await db
        .insertInto('price_fetches')
        .values({
          id: fetch.id,
          kind: fetch.kind,
          request: JSON.stringify(fetch.request),
          status: fetch.status,
          done: fetch.done,
          total: fetch.total,
          rows_written: fetch.rows,
          error: fetch.error,
          cursor: JSON.stringify(fetch.cursor),
          created_at: fetch.createdAt,
          started_at: fetch.startedAt,
          ended_at: fetch.endedAt,
        })
        .execute()
    },
    async find(id) {
      const row = await db.selectFrom('price_fetches').selectAll().where('id', '=', id).executeTakeFirst()
      return row && fromRow(row)
    },
    async list(limit) {
      const rows = await db
        .selectFrom('price_fetches')
        .selectAll()
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute()
      return rows.map(fromRow)
    },
    async unfinished() {
      const rows = await db
        .selectFrom('price_fetches')
        .selectAll()
        .where('status', 'in', ['queued', 'running'])
        .where('kind', '!=', 'import')
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(fromRow)
    },
    async start(id, at) {
      const { numUpdatedRows } = await db
        .updateTable('price_fetches')
        .set((eb) => ({
          status: 'running',
          started_at: eb.fn.coalesce('started_at', eb.val<number | null>(at)),
        }))
        .where('id', '=', id)
        .where('status', 'in', ['queued', 'running'])
        .executeTakeFirst()
      return numUpdatedRows > 0n
    },
    async advance(id, rows, cursor) {
      const { numUpdatedRows } = await db
        .updateTable('price_fetches')
        .set({ done: cursor.next, rows_written: rows, cursor: JSON.stringify(cursor) })
        .where('id', '=', id)
        .where('status', '=', 'running')
        .executeTakeFirst()
      return numUpdatedRows > 0n
    },
    async end(id, status, at, error) {
      const { numUpdatedRows } = await db
        .updateTable('price_fetches')
        .set({ status, error, ended_at: at })
        .where('id', '=', id)
        .where('status', 'in', ['queued', 'running'])
        .executeTakeFirst()
      return numUpdatedRows > 0n
    },
  }
}

interface FetchRow {
  id: string
  kind: string
  request: string
  status: string
  done: number
  total: number
  rows_written: number
  error: string | null
  cursor: string | null
  created_at: number
  started_at: number | null
  ended_at: number | null
}

const fromRow = (row: FetchRow): StoredFetch => ({
  id: row.id,
  kind: row.kind as FetchKind,
  request: JSON.parse(row.request),
  status: row.status as FetchState,
  done: row.done,
  total: row.total,
  rows: row.rows_written,
  error: row.error,
  cursor: row.cursor === null ? emptyCursor : { ...emptyCursor, ...(JSON.parse(row.cursor) as FetchCursor) },
  createdAt: instant(row.created_at),
  startedAt: row.started_at === null ? null : instant(row.started_at),
  endedAt: row.ended_at === null ? null : instant(row.ended_at),
})

/** @throws AppError `not_found` */
export async function mustFetch(store: FetchStore, id: string): Promise<StoredFetch> {
  const found = await store.find(id)
  if (found) return found
  throw new AppError('not_found', `there is no fetch ${id.slice(0, 80)}`)
}
