import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { measureCharts } from '../bench/dashboard-chart.ts'
import { countDecisionRows, measureLive } from '../bench/dashboard-live.ts'
import { type Bench, startBench } from '../contract/bench.ts'
import { launchBrowser } from './chromium.ts'

/** The quick form of `pnpm bench dashboard`: only what a busy machine does not change. */

let bench: Bench
let browser: Browser

beforeAll(async () => {
  bench = await startBench({ mode: 'demo' })
  browser = await launchBrowser(inject('chromium'))
})
afterAll(async () => {
  await browser?.close()
  await bench?.close()
})

test('an update of a chart costs no more than twice what uPlot alone takes for the same points', async () => {
  const [cost] = await measureCharts(browser, [{ series: 20, points: 1000, rounds: 3, updates: 6 }])
  expect(cost?.ratio).toBeGreaterThan(0)
  expect(cost?.ratio).toBeLessThan(2)
})

test('of 5,000 decisions 200 are in the page', async () => {
  expect(await countDecisionRows(browser, bench.url)).toBe(200)
})

test('a fleet that changes all the time keeps no memory', async () => {
  const { grownMb, heapMb } = await measureLive(browser, bench.url, { agents: 20, seconds: 3 })
  expect(grownMb).toBeLessThan(1)
  expect(heapMb).toBeLessThan(15)
})
