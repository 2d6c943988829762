import { AppError } from '@understudy/shared/core/app-error'

/** The cursor of a list of models and what belongs to them: the time of its last item. */
export const before = (cursor: string | undefined): number | undefined => {
  if (cursor === undefined) return undefined
  if (/^\d{1,15}$/.test(cursor)) return Number(cursor)
  throw new AppError('input_invalid', 'the cursor is not one of this list')
}

export const nextOf = <T>(rows: readonly T[], limit: number, at: (row: T) => number): string | null => {
  const last = rows.at(-1)
  return rows.length < limit || last === undefined ? null : String(at(last))
}
