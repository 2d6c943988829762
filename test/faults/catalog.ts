import { clocks } from './clocks.ts'
import { coordinatorFaults } from './coordinator.ts'
import { data } from './data.ts'
import { deaths } from './deaths.ts'
import { disks } from './disks.ts'
import type { Fault } from './fault.ts'
import { networkFaults } from './network-faults.ts'
import { notices } from './notices.ts'
import { peers } from './peers.ts'

const LAST_OF_FIRST_HALF = 20

/** Every fault of the design, in its order. */
export const catalog: readonly Fault[] = [
  ...deaths,
  ...notices,
  ...coordinatorFaults.map((fault) => ({ ...fault, alone: true })),
  ...networkFaults,
  ...clocks,
  ...disks,
  ...data,
  ...peers,
].sort((a, b) => a.id - b.id)

/** Two halves that take about as long as each other. */
export const catalogHalves: readonly [readonly Fault[], readonly Fault[]] = [
  catalog.filter(({ id }) => id <= LAST_OF_FIRST_HALF),
  catalog.filter(({ id }) => id > LAST_OF_FIRST_HALF),
]
