import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { measureCharts } from '../bench/dashboard-chart.ts'
import { measureCrowd } from '../bench/dashboard-crowd.ts'
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

// Without what its pixels can show it would be nearly three times as much; without other work it is 0.8 times.
test('an update of a chart of 20 lines and 10,000 points costs no more than twice what uPlot alone takes', async () => {
  const [cost] = await measureCharts(browser, [{ series: 20, points: 10_000, rounds: 3, updates: 6 }])
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

test('of 10,000 agents the 200 worst are in the page, which can be typed in and keeps little', async () => {
  const cost = await measureCrowd(browser, bench.url, 10_000)
  expect(cost.rows).toBe(200)
  expect(cost.firstMs).toBeLessThan(3000)
  expect(cost.letterMs).toBeLessThan(250)
  expect(cost.frameMs).toBeLessThan(200)
  expect(cost.heapMb).toBeLessThan(50)
  expect(cost.longestLabel).toBeLessThan(300)
})
