import { expect, test } from 'vitest'
import { catalog, catalogHalves } from './catalog.ts'
import { playAll } from './suite.ts'

/**
 * Each fault of the design on real processes: a coordinator, agents, workloads, and judges that are no part of the
 * product. `pnpm faults` writes what was seen into docs/failover.md. The other half is in faults-further.test.ts: the two
 * wait beside each other.
 */

test('every fault of the design is here, but those for which there is nothing to break', () => {
  const elsewhere = [16, 17, 54, 56, 60].filter((id) => id !== 17)
  const design = Array.from({ length: 60 }, (_, index) => index + 1)
  const here = new Set(catalog.map(({ id }) => id))
  expect(design.filter((id) => !here.has(id) && !elsewhere.includes(id))).toEqual([])
})

playAll(catalogHalves[0])
