import { AppError } from '@understudy/shared/core/app-error'

/** Where a page of a list in time has ended: two rows of the same time are told apart by their ids. */
export interface Position {
  readonly at: number
  readonly id: string
}

/** @throws AppError `input_invalid` for what is no cursor */
export function positionOf(cursor: string | undefined): Position | undefined {
  if (cursor === undefined) return undefined
  const [, at, id] = /^(\d{1,15})_([\w.-]{1,80})$/.exec(cursor) ?? []
  if (at !== undefined && id !== undefined) return { at: Number(at), id }
  throw new AppError('input_invalid', 'the cursor is not one of this list')
}

/** The cursor of the next page; null after the last one. */
export function cursorAfter<T>(
  rows: readonly T[],
  limit: number,
  position: (row: T) => Position,
): string | null {
  const last = rows.at(-1)
  if (rows.length < limit || last === undefined) return null
  const { at, id } = position(last)
  return `${at}_${id}`
}
