import { availableParallelism } from 'node:os'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { svelteTesting } from '@testing-library/svelte/vite'
import { defineConfig } from 'vitest/config'

/** Where `pnpm demo` listens; `vite dev` passes everything but the page on to it. */
const COORDINATOR = 'http://127.0.0.1:8000'

export default defineConfig(({ mode }) => ({
  plugins: [svelte({ compilerOptions: { runes: true } }), mode === 'test' && svelteTesting()],
  build: {
    // The first versions that know light-dark(), so that it is not rewritten for older ones.
    target: ['chrome123', 'firefox120', 'safari17.5'],
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': { target: COORDINATOR, ws: true } } },
  test: {
    name: 'dashboard',
    maxWorkers: availableParallelism() + 1,
    environment: 'jsdom',
    include: ['src/**/*.test.ts'],
    setupFiles: ['src/testkit/setup.ts'],
    // As in vitest.config.ts: a limit ends what hangs.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
  },
}))
