import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

/** Programs that tests start are compiled once, and not at each of hundreds of starts. */
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, 'node_modules/.cache/compiled')

/** Whole processes need time to start. */
const processes = { testTimeout: 120_000, hookTimeout: 120_000 }

/** Vitest leaves one core free, which on a machine with two would be half of it. */
const together = { maxWorkers: '100%' }

/** What measures times has the machine for itself: one file at a time, after everything else. */
const alone = { maxWorkers: 1, sequence: { groupOrder: 2 } }

/** Starts a real PostgreSQL for those tests that ask for one. */
const postgres = 'coordinator/src/storage/postgres-global-setup.ts'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{shared,agent,coordinator}/src/**/*.test.ts',
            '.ci/**/*.test.ts',
            'models/**/*.test.ts',
            'test/bench/**/*.test.ts',
            'test/faults/mutations.test.ts',
          ],
          globalSetup: [postgres],
          testTimeout: 20_000,
          ...together,
        },
      },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          globalSetup: [postgres],
          testTimeout: 20_000,
          ...together,
        },
      },
      'dashboard/vite.config.ts',
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          ...processes,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: { name: 'faults', include: ['test/faults/{faults,judges}.test.ts'], ...processes, ...alone },
      },
      {
        test: {
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          globalSetup: ['test/browser/global-setup.ts'],
          ...processes,
          ...alone,
        },
      },
    ],
  },
})
