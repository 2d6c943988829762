import type { Refusal } from '@understudy/shared/market/sample'

export interface RefusalExample {
  readonly code: string
  readonly reason: string
  /** Where it stands: a line, or a part of a fetch. */
  readonly where: string
}

export interface RefusalSummary {
  readonly total: number
  readonly byCode: Readonly<Record<string, number>>
  /** The first ones; there may be many more. */
  readonly examples: readonly RefusalExample[]
}

export interface Refusals {
  add(refusal: Refusal | { readonly code: string; readonly reason: string }, where: string): void
  summary(): RefusalSummary
}

const MOST_EXAMPLES = 20
/** Per code, so that one kind of mistake does not hide the others. */
const EXAMPLES_PER_CODE = 5

/** Counts refused rows by reason, and keeps a few of each, however many there are. */
export function createRefusals(): Refusals {
  const byCode = new Map<string, number>()
  const examples: RefusalExample[] = []
  return {
    add({ code, reason }, where) {
      const count = (byCode.get(code) ?? 0) + 1
      byCode.set(code, count)
      if (count <= EXAMPLES_PER_CODE && examples.length < MOST_EXAMPLES)
        examples.push({ code, reason, where })
    },
    summary: () => ({
      total: [...byCode.values()].reduce((sum, count) => sum + count, 0),
      byCode: Object.fromEntries(byCode),
      examples: [...examples],
    }),
  }
}
