import type { AgentView } from '@understudy/shared/protocol/agents'
import type { Browser, CDPSession, Page } from 'playwright-core'
import {
  sampleAgent,
  sampleDecision,
  sampleIncident,
  sampleReplica,
  sampleSnapshot,
} from '../../dashboard/src/testkit/samples.ts'
import { type Told, tell } from '../browser/told.ts'
import { percentile } from './bench.ts'

/** A slow laptop at the end of a slow line. */
const SLOW = { cpu: 4, latency: 150, bytesPerSecond: 1_600_000 / 8 }
const KB = 1000
const MB = 1_000_000

const fleet = (count: number): AgentView[] =>
  Array.from({ length: count }, (_, i) =>
    sampleAgent({
      id: `agent-${i}`,
      name: `web-${i}`,
      pool_id: `m5.large@us-east-1${'abcdef'[i % 6]}`,
      replicas: [sampleReplica({ id: `9520f407-c68f-4767-9a36-${String(i).padStart(12, '0')}` })],
    }),
  )
const incident = sampleIncident({ agent_id: 'agent-0', agent_name: 'web-0' })

export interface FirstLoad {
  readonly lcpMs: number
  readonly cls: number
  /** What has moved on the page after it was first drawn. */
  readonly moved: readonly string[]
  /** As it came over the line. */
  readonly kilobytes: number
}

/** The fleet of 20 agents, looked at for the first time; the median of the runs. */
export async function measureFirstLoad(browser: Browser, url: string, runs: number): Promise<FirstLoad> {
  const all: FirstLoad[] = []
  for (let run = 0; run < runs; run += 1) all.push(await loadOnce(browser, url))
  const median = (of: (one: FirstLoad) => number) => percentile(all.map(of), 50)
  return {
    lcpMs: median(({ lcpMs }) => lcpMs),
    cls: median(({ cls }) => cls),
    moved: [...new Set(all.flatMap(({ moved }) => moved))],
    kilobytes: median(({ kilobytes }) => kilobytes),
  }
}

async function loadOnce(browser: Browser, url: string): Promise<FirstLoad> {
  const { page, session } = await openPage(browser)
  await tell(page, () => sampleSnapshot(1, fleet(20), [incident]))
  await page.addInitScript(`
    window.seen = { lcp: 0, cls: 0, moved: [] }
    new PerformanceObserver((list) => list.getEntries().forEach((one) => { seen.lcp = one.startTime }))
      .observe({ type: 'largest-contentful-paint', buffered: true })
    new PerformanceObserver((list) => list.getEntries().forEach((one) => {
      seen.cls += one.value
      for (const { node } of one.sources) seen.moved.push(node?.closest?.('section, header, footer, main, div')?.className + ' ' + node?.nodeName)
    }))
      .observe({ type: 'layout-shift', buffered: true })`)
  let bytes = 0
  session.on('Network.loadingFinished', ({ encodedDataLength }) => {
    bytes += encodedDataLength
  })
  await session.send('Network.enable')
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: SLOW.latency,
    downloadThroughput: SLOW.bytesPerSecond,
    uploadThroughput: SLOW.bytesPerSecond,
  })
  await session.send('Emulation.setCPUThrottlingRate', { rate: SLOW.cpu })
  await page.goto(url)
  await page.getByRole('rowheader', { name: 'web-19' }).waitFor()
  // What comes after the first picture may still move it.
  await page.waitForTimeout(2000)
  const seen = await page.evaluate<{ lcp: number; cls: number; moved: string[] }>('window.seen')
  await page.context().close()
  return { lcpMs: seen.lcp, cls: seen.cls, moved: seen.moved, kilobytes: bytes / KB }
}

export interface LiveCost {
  readonly seconds: number
  /** Pieces of work that held the page for 50 ms or longer, and the longest. */
  readonly longTasks: number
  readonly longestMs: number
  readonly scriptMsPerSecond: number
  readonly framesPerSecond: number
  /** After everything was let go that nobody holds. */
  readonly heapMb: number
  readonly grownMb: number
}

/** The fleet for some seconds, five frames in each: every lag moves, and now and then a state. */
export async function measureLive(
  browser: Browser,
  url: string,
  { agents: count, seconds }: { agents: number; seconds: number },
): Promise<LiveCost> {
  const { page, session } = await openPage(browser)
  const agents = fleet(count)
  const told = await tell(page, () => sampleSnapshot(1, agents, [incident]))
  await page.goto(url)
  await page.getByRole('rowheader', { name: 'web-0' }).waitFor()
  let turn = 0
  const speak = setInterval(() => {
    turn += 1
    speakOf(told, agents, turn)
  }, 200)
  try {
    // The first second is that of loading.
    await page.waitForTimeout(2000)
    const before = await heapOf(session)
    await page.evaluate(`window.long = []; window.frames = 0; window.counting = true
      new PerformanceObserver((list) => list.getEntries().forEach((one) => long.push(one.duration))).observe({ type: 'longtask' })
      const count = () => { frames += 1; if (counting) requestAnimationFrame(count) }
      requestAnimationFrame(count)`)
    const script = await scriptOf(session)
    const began = performance.now()
    await page.waitForTimeout(seconds * 1000)
    const took = (performance.now() - began) / 1000
    const after = await scriptOf(session)
    const { long, frames } = await page.evaluate<{ long: number[]; frames: number }>('({ long, frames })')
    await page.evaluate('window.counting = false')
    const end = await heapOf(session)
    return {
      seconds: took,
      longTasks: long.length,
      longestMs: Math.max(0, ...long),
      scriptMsPerSecond: (after - script) / took,
      framesPerSecond: frames / took,
      heapMb: end,
      grownMb: end - before,
    }
  } finally {
    clearInterval(speak)
    await page.context().close()
  }
}

function speakOf(told: Told, agents: readonly AgentView[], turn: number): void {
  const changed = agents.map((agent, i) => ({
    ...agent,
    lag_ms: (turn * 7 + i * 13) % 400,
    ...(turn % 25 === i % 25 ? { state: turn % 2 === 0 ? ('at-risk' as const) : ('healthy' as const) } : {}),
  }))
  told.sendNext({
    type: 'patch',
    at: Date.now(),
    content: { agents: Object.fromEntries(changed.map((agent) => [agent.id, agent])) },
  })
}

/** How many lines of 5,000 decisions are in the page. */
export async function countDecisionRows(browser: Browser, url: string): Promise<number> {
  const { page } = await openPage(browser)
  await tell(page, () => sampleSnapshot(1, fleet(1)))
  await page.routeWebSocket('**/decisions/live', (socket) => {
    for (let i = 0; i < 50; i += 1)
      socket.send(JSON.stringify({ seq: i, type: 'decisions', at: '', items: decisions(i) }))
  })
  await page.route('**/api/v1/ml/decisions?*', (route) => route.fulfill({ json: { items: [], next: null } }))
  await page.goto(`${url}/#/decisions`)
  await page
    .getByText('5,000')
    .or(page.getByRole('button', { name: /^Show 200 more/ }))
    .first()
    .waitFor()
  const rows = await page.locator('main ol > li').count()
  await page.context().close()
  return rows
}

const decisions = (batch: number) =>
  Array.from({ length: 100 }, (_, i) =>
    sampleDecision({
      id: `5f0b3c4e-2f1d-4c58-9a2e-${String(batch * 100 + i).padStart(12, '0')}`,
      at: new Date(Date.UTC(2026, 10, 1) + (batch * 100 + i) * 1000).toISOString(),
    }),
  )

async function openPage(browser: Browser): Promise<{ page: Page; session: CDPSession }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  const page = await context.newPage()
  return { page, session: await context.newCDPSession(page) }
}

async function heapOf(session: CDPSession): Promise<number> {
  await session.send('HeapProfiler.enable')
  await session.send('HeapProfiler.collectGarbage')
  const { usedSize } = await session.send('Runtime.getHeapUsage')
  return usedSize / MB
}

async function scriptOf(session: CDPSession): Promise<number> {
  await session.send('Performance.enable')
  const { metrics } = await session.send('Performance.getMetrics')
  return 1000 * (metrics.find(({ name }) => name === 'ScriptDuration')?.value ?? Number.NaN)
}
