import { buildDashboard, dashboardFolder } from '../../.ci/dashboard-build.ts'
import { dashboardWeights } from '../../.ci/dashboard-weight.ts'
import { launchBrowser, removeChromium, unpackChromium } from '../browser/chromium.ts'
import { startBench } from '../contract/bench.ts'
import { type Bench, type BenchResult, formatTable } from './bench.ts'
import { measureCharts } from './dashboard-chart.ts'
import { countDecisionRows, measureFirstLoad, measureLive } from './dashboard-live.ts'

/** What the dashboard costs whoever looks at it: a real Chromium without a GPU, the built page, a real coordinator. */
export const bench: Bench = {
  summary:
    'Dashboard: first load on a slow line, charts, a live fleet, memory, and how much it keeps in the page',
  options: {
    runs: { value: 3, doc: 'first loads, of which the median counts' },
    rounds: { value: 5, doc: 'rounds of a chart, by turns with the reference' },
    updates: { value: 15, doc: 'updates of a chart in one round' },
    agents: { value: 20, doc: 'agents of the live fleet' },
    seconds: { value: 60, doc: 'seconds of the live fleet' },
  },
  switches: { quick: 'one first load, three rounds of a chart, ten seconds of the fleet' },
  async run(numbers, progress, { switches }) {
    const asked: Readonly<Record<string, number>> = {
      ...numbers,
      ...(switches.quick ? { runs: 1, rounds: 3, seconds: 10 } : {}),
    }
    const { runs = 1, rounds = 1, updates = 1, agents = 1, seconds = 1 } = asked
    await buildDashboard()
    const weights = await dashboardWeights(dashboardFolder)
    const chromium = await unpackChromium()
    const coordinator = await startBench({ mode: 'demo' })
    const browser = await launchBrowser(chromium)
    try {
      progress(`${runs} first loads at a quarter of the speed and 1.6 Mbit/s`)
      const first = await measureFirstLoad(browser, coordinator.url, runs)
      progress(`charts of 20 pools, ${rounds} rounds`)
      const loads = [1000, 10_000].map((points) => ({ series: 20, points, rounds, updates }))
      const charts = await measureCharts(browser, loads)
      progress(`${seconds} s of ${agents} agents that change five times a second`)
      const live = await measureLive(browser, coordinator.url, { agents, seconds })
      const rows = await countDecisionRows(browser, coordinator.url)
      return report({ weights, first, charts, live, agents, rows })
    } finally {
      await browser.close()
      await coordinator.close()
      await removeChromium(chromium)
    }
  },
}

interface Measured {
  readonly weights: Awaited<ReturnType<typeof dashboardWeights>>
  readonly first: Awaited<ReturnType<typeof measureFirstLoad>>
  readonly charts: Awaited<ReturnType<typeof measureCharts>>
  readonly live: Awaited<ReturnType<typeof measureLive>>
  readonly agents: number
  readonly rows: number
}

interface Aim {
  readonly name: string
  readonly what: string
  readonly value: number
  readonly unit: string
  readonly limit: { readonly most: number } | { readonly least: number }
}

const isMet = ({ value, limit }: Aim): boolean =>
  'most' in limit ? value <= limit.most : value >= limit.least

function report({ weights, first, charts, live, agents, rows }: Measured): BenchResult {
  const weightOf = (what: string) => weights.find((one) => one.what === what)?.bytes ?? Number.NaN
  const later = weights.filter(({ what }) => what.endsWith('.js')).map(({ bytes }) => bytes)
  const large = charts.at(-1)
  const aims: readonly Aim[] = [
    aim(
      'first_route_kb',
      'scripts of the first page, compressed',
      weightOf('dashboard: first page') / 1000,
      'KB',
      60,
    ),
    aim('lazy_route_kb', 'the heaviest part that is loaded later', Math.max(...later) / 1000, 'KB', 25),
    aim('styles_kb', 'all styles', weightOf('dashboard: all styles') / 1000, 'KB', 10),
    aim('lcp_ms', 'largest contentful paint, slow', first.lcpMs, 'ms', 2000),
    aim('cls', 'cumulative layout shift, slow', first.cls, '', 0.02),
    aim(
      'chart_script_ms',
      'script of one update, 20 x 10,000 points',
      large?.scriptMs ?? Number.NaN,
      'ms',
      25,
    ),
    aim(
      'longest_task_ms',
      `longest task, ${agents} agents live for ${Math.round(live.seconds)} s`,
      live.longestMs,
      'ms',
      100,
    ),
    {
      name: 'fps',
      what: 'frames a second, live',
      value: live.framesPerSecond,
      unit: '',
      limit: { least: 55 },
    },
    aim('heap_mb', 'heap after it', live.heapMb, 'MB', 15),
    aim('heap_growth_mb', 'of which it has grown', live.grownMb, 'MB', 1),
    aim('decision_rows', 'lines in the page of 5,000 decisions', rows, '', 200),
  ]
  const table = [
    formatTable(
      ['dashboard', 'measured', 'aim', 'met'],
      aims.map((one) => [one.what, shown(one.value, one.unit), limitOf(one), isMet(one) ? 'yes' : 'NO']),
    ),
    formatTable(
      ['one update of a chart, script ms', 'ours', 'bare uPlot', 'ratio'],
      charts.map(({ series, points, scriptMs, bareMs, ratio }) => [
        `${series} x ${points}`,
        scriptMs.toFixed(1),
        bareMs.toFixed(1),
        ratio.toFixed(2),
      ]),
    ),
    `first load: ${first.kilobytes.toFixed(0)} KB over the line; live: ${live.longTasks} tasks of 50 ms or more, ${live.scriptMsPerSecond.toFixed(1)} ms of script a second`,
  ].join('\n\n')
  return {
    table,
    json: {
      schema: 'understudy.bench.dashboard/v1',
      ...{ first, charts, live, agents, decision_rows: rows, weights },
      aims: Object.fromEntries(aims.map(({ name, value, limit }) => [name, { value, ...limit }])),
      missed: aims.filter((one) => !isMet(one)).map(({ name }) => name),
    },
    // Slow is told; wrong is what was not measured at all.
    ok: aims.every(({ value }) => Number.isFinite(value)),
  }
}

const aim = (name: string, what: string, value: number, unit: string, most: number): Aim => ({
  ...{ name, what, value, unit },
  limit: { most },
})
const shown = (value: number, unit: string): string =>
  `${value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(3)} ${unit}`.trim()
const limitOf = ({ limit, unit }: Aim): string =>
  'most' in limit ? `<= ${limit.most} ${unit}`.trim() : `>= ${limit.least} ${unit}`.trim()
