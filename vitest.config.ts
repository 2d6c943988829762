import { defineConfig } from 'vitest/config'

/** Whole processes share two cores with each other: one file at a time, and time to start. */
const processes = { fileParallelism: false, testTimeout: 120_000, hookTimeout: 120_000 }

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
          testTimeout: 20_000,
        },
      },
      {
        test: { name: 'contract', include: ['test/contract/**/*.test.ts'], testTimeout: 20_000 },
      },
      'dashboard/vite.config.ts',
      {
        test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], ...processes },
      },
      {
        test: { name: 'faults', include: ['test/faults/**/*.test.ts'], ...processes },
      },
      {
        test: {
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          globalSetup: ['test/browser/global-setup.ts'],
          ...processes,
        },
      },
    ],
  },
})
