import { afterAll, beforeAll, expect, test } from 'vitest'
import { catalog } from './catalog.ts'
import { type Field, startField } from './field.ts'
import { playFault } from './play.ts'

/**
 * Each fault of the design on real processes: a coordinator, agents, workloads, and judges that are no part of the
 * product. The slow ones with FAULTS=all; `pnpm faults` writes what was seen into docs/failover.md.
 */

const all = process.env.FAULTS === 'all'

let field: Field
beforeAll(async () => {
  field = await startField()
})
afterAll(() => field.close())

test('every fault of the design is here, but those for which there is nothing to break', () => {
  const elsewhere = [16, 17, 54, 56, 60].filter((id) => id !== 17)
  const design = Array.from({ length: 60 }, (_, index) => index + 1)
  const here = new Set(catalog.map(({ id }) => id))
  expect(design.filter((id) => !here.has(id) && !elsewhere.includes(id))).toEqual([])
})

for (const fault of [...catalog].sort((a, b) => Number(a.last ?? false) - Number(b.last ?? false))) {
  const name = `${fault.id}. ${fault.title}${fault.pending === undefined ? '' : ` (not yet: ${fault.pending})`}`
  test.skipIf(fault.pending !== undefined || (fault.slow && !all))(
    name,
    // A dozen processes share two processors with whatever else runs; what fails twice in a row is no accident.
    { timeout: fault.slow ? 500_000 : 300_000, retry: 1 },
    async () => {
      const { outcome, seen } = await playFault(field, fault)
      // A second try may succeed, and why it was needed is told all the same.
      if (outcome === 'failed') process.stderr.write(`fault ${fault.id}: ${seen}\n`)
      expect(`${outcome}: ${seen}`).toMatch(/^(ok|elsewhere): ./)
    },
  )
}
