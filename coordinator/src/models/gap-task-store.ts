import { AppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import {
  comesAfter,
  type Kysely,
  type ModelGapFillRow,
  type Position,
  type Schema,
} from '../storage/database.ts'
import type { FillRequest, TypeInRegion } from './data-gap.ts'

/** One fetch of a fill: its own, or one that was under way already. */
export interface TaskFetch {
  readonly request: FillRequest | null
  /** Null before it was started. */
  readonly id: string | null
}

/** Fills by their time. A row is written by one coordinator. */
export interface GapTaskStore {
  add(row: ModelGapFillRow): Promise<void>
  find(id: string): Promise<ModelGapFillRow | undefined>
  /** The latest first. */
  list(before: Position | undefined, limit: number): Promise<readonly ModelGapFillRow[]>
  underWay(): Promise<ModelGapFillRow | undefined>
  /** False when it has ended meanwhile; then nothing is changed. */
  change(id: string, values: Partial<ModelGapFillRow>): Promise<boolean>
}

export function createGapTaskStore(db: Kysely<Schema>): GapTaskStore {
  const rows = () => db.selectFrom('model_gap_fills').selectAll()
  return {
    async add(row) {
      await db.insertInto('model_gap_fills').values(row).execute()
    },
    find: (id) => rows().where('id', '=', id).executeTakeFirst(),
    list: (before, limit) =>
      rows()
        .where(comesAfter(before, { at: 'created_at', id: 'id' }))
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute(),
    underWay: () =>
      rows().where('status', '=', 'in_progress').orderBy('created_at').limit(1).executeTakeFirst(),
    async change(id, values) {
      const { numUpdatedRows } = await db
        .updateTable('model_gap_fills')
        .set(values)
        .where('id', '=', id)
        .where('status', '=', 'in_progress')
        .executeTakeFirst()
      return numUpdatedRows > 0n
    },
  }
}

export const fetchesOf = (row: ModelGapFillRow): readonly TaskFetch[] =>
  JSON.parse(row.fetches) as TaskFetch[]
export const scopeOf = (row: ModelGapFillRow): readonly TypeInRegion[] =>
  JSON.parse(row.scope) as TypeInRegion[]

/** @throws AppError `not_found` */
export async function mustFindTask(store: GapTaskStore, id: string): Promise<ModelGapFillRow> {
  const row = await store.find(id)
  if (row) return row
  throw new AppError('not_found', `there is no fill ${id.slice(0, 80)}`, {
    hint: 'GET /api/v1/ml/gap-filler/history lists them.',
  })
}

/** By the speed so far; null while that is not known. In seconds. */
export function etaOf(row: ModelGapFillRow, now: Instant): number | null {
  if (row.status !== 'in_progress' || row.done === 0) return null
  return Math.round((((now - row.created_at) / row.done) * (row.total - row.done)) / 1000)
}
