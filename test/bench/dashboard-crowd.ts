import type { Browser } from 'playwright-core'
import {
  sampleAgent,
  sampleIncident,
  sampleReplica,
  sampleSnapshot,
} from '../../dashboard/src/testkit/samples.ts'
import { tell } from '../browser/told.ts'

/** What a fleet of very many costs the page, in ms of its own processor time: what else runs on the machine is not in it. */
export interface CrowdCost {
  /** Rows of agents in the page. */
  readonly rows: number
  /** From nothing to the table. */
  readonly firstMs: number
  /** One letter in the filter. */
  readonly letterMs: number
  /** One frame in which 20 agents have changed. */
  readonly frameMs: number
  readonly heapMb: number
  /** The most that is read out of one thing. */
  readonly longestLabel: number
}

const SEARCH = 'web-77'
const FRAMES = 8

/** A few of them have failed, and names come in no order. */
const crowd = (count: number) =>
  Array.from({ length: count }, (_, i) =>
    sampleAgent({
      id: `agent-${i}`,
      name: `web-${(i * 7919) % count}`,
      pool_id: `m5.large@us-east-1${'abcdef'[i % 6]}`,
      state: i % 1000 === 500 ? 'failed' : 'healthy',
      replicas: [sampleReplica({ id: `9520f407-c68f-4767-9a36-${String(i).padStart(12, '0')}` })],
    }),
  )

export async function measureCrowd(browser: Browser, url: string, count: number): Promise<CrowdCost> {
  const agents = crowd(count)
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  context.setDefaultTimeout(60_000)
  try {
    const page = await context.newPage()
    const session = await context.newCDPSession(page)
    await session.send('Performance.enable', { timeDomain: 'threadTicks' })
    const cpu = async () => {
      const { metrics } = await session.send('Performance.getMetrics')
      return 1000 * (metrics.find(({ name }) => name === 'TaskDuration')?.value ?? Number.NaN)
    }
    const told = await tell(page, () => sampleSnapshot(1, agents, [sampleIncident()]))
    await page.goto(url)
    const rows = page.getByRole('rowheader').filter({ has: page.getByRole('link', { expanded: false }) })
    await rows.first().waitFor()
    const first = await cpu()

    const filter = page.getByLabel('Filter')
    const found = agents.filter(({ name }) => name.includes(SEARCH)).length
    const beforeTyping = await cpu()
    await filter.pressSequentially(SEARCH)
    await page.waitForFunction(`document.querySelectorAll('main tbody th a[data-walk]').length === ${found}`)
    const afterTyping = await cpu()
    await filter.fill('')
    await page.getByText(' agents, the worst first.').waitFor()

    const beforeFrames = await cpu()
    for (let frame = 1; frame <= FRAMES; frame += 1) {
      const changed = agents
        .slice(frame * 20, frame * 20 + 20)
        .map((agent) => ({ ...agent, lag_ms: frame * 1000 }))
      const content = { agents: Object.fromEntries(changed.map((agent) => [agent.id, agent])) }
      told.sendNext({ type: 'patch', at: Date.now(), content })
      // As often as numbers are shown.
      await page.waitForTimeout(550)
    }
    const afterFrames = await cpu()
    await session.send('HeapProfiler.enable')
    await session.send('HeapProfiler.collectGarbage')
    const { usedSize } = await session.send('Runtime.getHeapUsage')
    return {
      rows: await page.locator('main tbody th a[data-walk]').count(),
      firstMs: first,
      letterMs: (afterTyping - beforeTyping) / SEARCH.length,
      frameMs: (afterFrames - beforeFrames) / FRAMES,
      heapMb: usedSize / 1e6,
      longestLabel: await page.evaluate<number>(
        `Math.max(...[...document.querySelectorAll('[aria-label]')].map((one) => one.ariaLabel.length))`,
      ),
    }
  } finally {
    await context.close()
  }
}
