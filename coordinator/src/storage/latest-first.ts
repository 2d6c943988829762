import { type RawBuilder, type SqlBool, sql } from 'kysely'

/** A place in a list in time, the latest first: two rows of the same time are told apart by their ids. */
export interface Position {
  readonly at: number
  readonly id: string
}

/** What comes after `position` in a list that is ordered by both columns, descending; everything where there is none. */
export const comesAfter = (
  position: Position | undefined,
  columns: { readonly at: string; readonly id: string },
): RawBuilder<SqlBool> =>
  position === undefined
    ? sql`true`
    : sql`(${sql.ref(columns.at)}, ${sql.ref(columns.id)}) < (${position.at}, ${position.id})`
