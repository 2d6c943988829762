import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Fault } from './fault.ts'
import { type Field, startField } from './field.ts'
import { playFault } from './play.ts'

const all = process.env.FAULTS === 'all'

/** Plays each of these faults on a field of their own. The slow ones with FAULTS=all. */
export function playAll(faults: readonly Fault[]): void {
  let field: Field
  beforeAll(async () => {
    field = await startField()
  })
  afterAll(() => field.close())

  for (const fault of [...faults].sort((a, b) => Number(a.last ?? false) - Number(b.last ?? false))) {
    const name = `${fault.id}. ${fault.title}${fault.pending === undefined ? '' : ` (not yet: ${fault.pending})`}`
    test.skipIf(fault.pending !== undefined || (fault.slow && !all))(
      name,
      // A dozen processes share two processors with whatever else runs; what fails twice in a row is no accident.
      { timeout: fault.slow ? 500_000 : 300_000, retry: 1 },
      async () => {
        const { outcome, seen } = await playFault(field, fault)
        expect(`${outcome}: ${seen}`).toMatch(/^(ok|elsewhere): ./)
      },
    )
  }
}
