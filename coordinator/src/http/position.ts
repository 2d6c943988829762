import { AppError } from '@understudy/shared/core/app-error'
import type { Position } from '../storage/database.ts'

/** Where the page before has ended. @throws AppError `input_invalid` for what is no cursor */
export function positionOf(cursor: string | undefined): Position | undefined {
  if (cursor === undefined) return undefined
  const [, at, id] = /^(\d{1,15})_([\w.-]{1,80})$/.exec(cursor) ?? []
  if (at !== undefined && id !== undefined) return { at: Number(at), id }
  throw noCursor()
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

/** The same for lists in order of a number of which each row has one of its own. @throws AppError `input_invalid` */
export function numberOf(cursor: string | undefined): number | undefined {
  if (cursor === undefined) return undefined
  if (/^\d{1,15}$/.test(cursor)) return Number(cursor)
  throw noCursor()
}

const noCursor = () =>
  new AppError('input_invalid', 'the cursor is not one of this list', {
    hint: 'Leave it out to begin with the latest; then take `next` of the answer.',
  })
