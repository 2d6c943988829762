import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './.ci/longest-first.ts'

/** Programs that tests start are compiled once, and not at each of hundreds of starts. */
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, 'node_modules/.cache/compiled')

/** How long `expect.poll` waits, a second if not said (as in dashboard/vite.config.ts). */
const patience = { expect: { poll: { timeout: 20_000 } } }

/**
 * A limit ends what hangs, and says nothing of how long a test takes: some take seconds alone, and other tests want the same
 * processors. Whole processes need time to start.
 */
const limits = { testTimeout: 60_000, hookTimeout: 60_000, ...patience }
const processLimits = { testTimeout: 180_000, hookTimeout: 180_000, ...patience }

/** Many tests wait for a timer or a process, so one more runs than there are cores (as in dashboard/vite.config.ts). */
const together = { maxWorkers: availableParallelism() + 1 }

/** Whole systems with leases of a second run beside each other, which leaves some of the cores, but not beside computing. */
const systems = { ...together, sequence: { groupOrder: 1 } }

/** Faults are waited for more than they compute, so that pages are looked at beside them: a file of the one and one of the other. */
const watched = { maxWorkers: 2, sequence: { groupOrder: 2 } }

/** What measures has the machine for itself: one file at a time, after everything else. */
const alone = { maxWorkers: 1, sequence: { groupOrder: 3 } }

const measured = 'test/browser/performance.test.ts'

/** Starts a real PostgreSQL for those tests that ask for one. */
const postgres = 'coordinator/src/storage/postgres-global-setup.ts'

/** One process for many schedules, on threads of its own. */
const simulation = 'shared/src/failover/failover.simulation.test.ts'

/** Starts processes, measures, or takes long: a process for each file. What is beside it in the coordinator shares some. */
const apart = 'coordinator/src/{commands,demo,models,storage}/**/*.test.ts'

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'agent/src/**/*.test.ts',
            apart,
            '.ci/**/*.test.ts',
            'models/**/*.test.ts',
            'test/{bench,traces}/**/*.test.ts',
            'test/faults/mutations.test.ts',
            simulation,
          ],
          globalSetup: [postgres],
          ...limits,
          ...together,
        },
      },
      {
        test: {
          name: 'coordinator',
          include: ['coordinator/src/**/*.test.ts'],
          exclude: [apart],
          globalSetup: [postgres],
          // As below: to start a process, and to load in it what all of them need, takes most of these files longer than their tests.
          isolate: false,
          ...limits,
          ...together,
        },
      },
      {
        test: {
          // Nothing there has a state that outlives a test, so that files may share a process.
          name: 'shared',
          include: ['shared/src/**/*.test.ts'],
          exclude: [simulation],
          isolate: false,
          ...limits,
          ...together,
        },
      },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          globalSetup: [postgres],
          ...limits,
          ...together,
        },
      },
      'dashboard/vite.config.ts',
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          ...processLimits,
          ...systems,
          // Real leases of a second on processors that others use too: what fails is told, and tried once more.
          retry: 1,
        },
      },
      {
        test: {
          name: 'faults',
          include: ['test/faults/{faults,judges}.test.ts'],
          ...processLimits,
          ...watched,
        },
      },
      {
        test: {
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          exclude: [measured],
          globalSetup: ['test/browser/global-setup.ts'],
          ...processLimits,
          ...watched,
        },
      },
      {
        test: {
          name: 'measured',
          include: [measured],
          globalSetup: ['test/browser/global-setup.ts'],
          ...processLimits,
          ...alone,
        },
      },
    ],
  },
})
