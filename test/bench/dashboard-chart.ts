import { fileURLToPath } from 'node:url'
import type { Browser } from 'playwright-core'
import { servePage } from '../../.ci/page-serve.ts'
import { percentile } from './bench.ts'

const folder = fileURLToPath(new URL('dashboard-page', import.meta.url))

/** What one update of a chart costs the page, milliseconds of its own processor time; the median of the rounds. */
export interface ChartCost {
  readonly series: number
  readonly points: number
  readonly scriptMs: number
  /** The same lines given to uPlot as they are, in the same run. */
  readonly bareMs: number
  readonly ratio: number
}

export interface ChartLoad {
  readonly series: number
  readonly points: number
  readonly rounds: number
  /** Of one round. */
  readonly updates: number
}

/** The dashboard's chart and a bare one by turns, so that whatever else goes on on the machine is in both. */
export async function measureCharts(browser: Browser, loads: readonly ChartLoad[]): Promise<ChartCost[]> {
  const served = await servePage(folder)
  const context = await browser.newContext({ viewport: { width: 1200, height: 500 }, locale: 'en-US' })
  try {
    const opened = await context.newPage()
    const session = await context.newCDPSession(opened)
    await session.send('Performance.enable', { timeDomain: 'threadTicks' })
    const script = async () => {
      const { metrics } = await session.send('Performance.getMetrics')
      return 1000 * (metrics.find(({ name }) => name === 'ScriptDuration')?.value ?? Number.NaN)
    }
    await opened.goto(served.url)
    await opened.waitForFunction('window.chart')
    const costs: ChartCost[] = []
    for (const { series, points, rounds, updates } of loads) {
      const times = { ours: [] as number[], bare: [] as number[] }
      for (let round = 0; round < rounds; round += 1)
        for (const kind of ['bare', 'ours'] as const) {
          await opened.evaluate(`chart.open('${kind}', ${series}, ${points})`)
          // The first ones are compiled on the way.
          await opened.evaluate('chart.update(2)')
          const before = await script()
          await opened.evaluate(`chart.update(${updates})`)
          times[kind].push(((await script()) - before) / updates)
          await opened.evaluate('chart.close()')
        }
      const [scriptMs, bareMs] = [percentile(times.ours, 50), percentile(times.bare, 50)]
      const ratio = percentile(
        times.ours.map((own, i) => own / (times.bare[i] ?? Number.NaN)),
        50,
      )
      costs.push({ series, points, scriptMs, bareMs, ratio })
    }
    return costs
  } finally {
    await context.close()
    await served.close()
  }
}
