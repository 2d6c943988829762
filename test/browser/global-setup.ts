import type { TestProject } from 'vitest/node'
import { buildDashboard } from '../../.ci/dashboard-build.ts'
import { removeChromium, type UnpackedChromium, unpackChromium } from './chromium.ts'

declare module 'vitest' {
  interface ProvidedContext {
    chromium: UnpackedChromium
  }
}

/** Once for all browser tests: the page as it is shipped, and a browser to look at it. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await buildDashboard()
  const chromium = await unpackChromium()
  project.provide('chromium', chromium)
  return () => removeChromium(chromium)
}
