// The page that `pnpm bench dashboard` measures charts in: the dashboard's own chart, and the same lines given to uPlot as they are.
import uPlot from '../../../dashboard/node_modules/uplot/dist/uPlot.esm.js'
import { fitGrid } from '../../../dashboard/src/features/chart/pixel-grid.ts'
import { createPlot } from '../../../dashboard/src/features/chart/plot.ts'

const MINUTE = 60_000
const SIZE = { width: 1100, height: 380 }
const START = Date.UTC(2026, 10, 1)

/** Prices that change now and then, as Spot prices do. */
function prices(series, points) {
  let seed = series + 1
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return seed / 2_147_483_648
  }
  let value = 0.03 + series * 0.002
  return Array.from({ length: points }, (_, i) => {
    if (random() < 0.2) value = Math.max(0.01, value * (0.98 + random() * 0.04))
    return { at: START + i * MINUTE, value, kind: 'history', confidence: 1 }
  })
}

/** One point more at the end, one less at the beginning. */
function move(points) {
  const last = points.at(-1)
  return [...points.slice(1), { ...last, at: last.at + MINUTE, value: last.value * 1.001 }]
}

const colours = ['#0A3587', '#E06618', '#369D89', '#994EE4', '#685514', '#7A0838']

/** As the dashboard draws it: a grid of steps and gaps, a line for each kind, as far as its pixels can show. */
function ours(all, element) {
  const grid = (some) => fitGrid(some, MINUTE, Math.round(SIZE.width * devicePixelRatio))
  const plot = createPlot(element, grid(all), {
    ...SIZE,
    colour: (token) => colours[Number(token.at(-1)) - 1] ?? '#758190',
    formatTime: (at) => new Date(at).toISOString().slice(11, 16),
    formatValue: (value) => value.toFixed(4),
    onpoint: () => {},
  })
  return { show: (some) => plot.show(grid(some)), end: () => plot.end() }
}

/** The same values in uPlot and nothing else: straight lines of one pixel. */
function bare(all, element) {
  const data = (some) => [
    some[0].points.map(({ at }) => at / 1000),
    ...some.map(({ points }) => points.map(({ value }) => value)),
  ]
  const plot = new uPlot(
    {
      ...SIZE,
      legend: { show: false },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
      series: [
        {},
        ...all.map((_, i) => ({
          stroke: colours[i] ?? '#758190',
          width: 1 / devicePixelRatio,
          points: { show: false },
        })),
      ],
    },
    data(all),
    element,
  )
  return { show: (some) => plot.setData(data(some)), end: () => plot.destroy() }
}

const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))

window.chart = {
  async open(kind, series, points) {
    document.body.replaceChildren()
    this.all = Array.from({ length: series }, (_, i) => ({
      id: `pool-${i}`,
      name: `pool ${i}`,
      points: prices(i, points),
      colour: i < 6 ? i + 1 : undefined,
    }))
    this.plot = { ours, bare }[kind](this.all, document.body)
    await frame()
  },
  /** One after the other, each drawn before the next begins. */
  async update(times) {
    for (let i = 0; i < times; i += 1) {
      this.all = this.all.map((one) => ({ ...one, points: move(one.points) }))
      this.plot.show(this.all)
      await frame()
    }
  },
  close() {
    this.plot.end()
  },
}
