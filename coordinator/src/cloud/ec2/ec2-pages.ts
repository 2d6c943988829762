import { AppError } from '@understudy/shared/core/app-error'
import type { Pacer } from '../pacer.ts'
import { toAppError } from './ec2-errors.ts'

export interface Page<T> {
  readonly items: readonly T[]
  /** Empty or undefined on the last page. */
  readonly next: string | undefined
}

/** No question has that many pages; one that seems to have goes round in circles. */
const MOST_PAGES = 10_000

/**
 * All pages of one question. Ending without an error means that the last page was seen.
 * @throws AppError `unavailable`, `forbidden`, `input_invalid`; `protocol` when a page leads back to an earlier one
 */
export async function* eachPage<T>(
  pacer: Pacer,
  what: string,
  ask: (token: string | undefined, signal: AbortSignal) => Promise<Page<T>>,
  signal: AbortSignal,
): AsyncGenerator<readonly T[]> {
  const seen = new Set<string>()
  for (let token: string | undefined; ; ) {
    const from = token
    const page: Page<T> = await pacer.run(
      (until) =>
        ask(from, until).catch((error: unknown) => {
          throw error instanceof AppError ? error : toAppError(error, what)
        }),
      signal,
    )
    yield page.items
    if (!page.next) return
    if (seen.has(page.next) || seen.size >= MOST_PAGES)
      throw new AppError('protocol', `the pages of ${what} lead in a circle`, {
        hint: 'Nothing of this answer counts as complete. Try again later.',
      })
    seen.add(page.next)
    token = page.next
  }
}

/** All pages in one list. */
export async function allPages<T>(pages: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = []
  for await (const items of pages) all.push(...items)
  return all
}
