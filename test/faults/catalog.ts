import { clocks } from './clocks.ts'
import { coordinatorFaults } from './coordinator.ts'
import { data } from './data.ts'
import { deaths } from './deaths.ts'
import { disks } from './disks.ts'
import type { Fault } from './fault.ts'
import { networkFaults } from './network-faults.ts'
import { notices } from './notices.ts'
import { peers } from './peers.ts'

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
