import uPlot from 'uplot'
import type { ChartKind, Grid, Line } from './chart-data.ts'
import 'uplot/dist/uPlot.min.css'

/** The one place that knows uPlot. */
export interface Plot {
  readonly canvas: HTMLCanvasElement
  show(grid: Grid): void
  /** Reads the colours anew. */
  repaint(): void
  resize(width: number): void
  /** In CSS pixels of the plotting area; undefined where it is not in it. */
  positionOf(at: number, value: number | null): { left: number; top: number } | undefined
  end(): void
}

export interface PlotPorts {
  readonly height: number
  readonly width: number
  /** A colour of the theme by the name of its token. */
  readonly colour: (token: string) => string
  /** @param step from one label to the next, in ms */
  readonly formatTime: (at: number, step: number) => string
  readonly formatValue: (value: number) => string
  /** The pointer is at this moment and value; undefined when it has left. */
  readonly onpoint: (at: { readonly moment: number; readonly value: number } | undefined) => void
}

const DASHES: Readonly<Record<ChartKind, number[] | undefined>> = {
  measured: undefined,
  history: undefined,
  interpolated: [4, 3],
}
/** In pixels of the device: a wider line costs a software renderer several times as much. */
const WIDTHS: Readonly<Record<ChartKind, number>> = { measured: 2, history: 1, interpolated: 1 }
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'

const tokenOf = ({ series }: Line): string =>
  series.colour === undefined ? '--ctrl' : `--series-${series.colour}`

export function createPlot(element: HTMLElement, first: Grid, ports: PlotPorts): Plot {
  let size = { width: ports.width, height: ports.height }
  let key = ''
  let plot: uPlot

  const keyOf = ({ lines }: Grid) =>
    JSON.stringify(lines.map(({ series, kind }) => [series.id, kind, series.colour, series.strong]))

  function build(grid: Grid): uPlot {
    key = keyOf(grid)
    return new uPlot(optionsOf(grid, ports, size), dataOf(grid), element)
  }
  plot = build(first)

  return {
    get canvas() {
      return plot.ctx.canvas
    },
    show(grid) {
      if (keyOf(grid) === key) return plot.setData(dataOf(grid))
      plot.destroy()
      plot = build(grid)
    },
    repaint: () => plot.redraw(false, true),
    resize(width) {
      if (width === size.width || width < 50) return
      size = { ...size, width }
      plot.setSize(size)
    },
    positionOf(at, value) {
      const left = plot.valToPos(at / 1000, 'x')
      if (!Number.isFinite(left) || left < 0 || left > plot.over.clientWidth) return undefined
      const top = value === null ? plot.over.clientHeight : plot.valToPos(value, 'y')
      return { left: left + plot.over.offsetLeft, top: top + plot.over.offsetTop }
    },
    end: () => plot.destroy(),
  }
}

const dataOf = ({ at, lines }: Grid): uPlot.AlignedData => [
  at.map((moment) => moment / 1000),
  // It reads them and changes nothing.
  ...lines.map(({ values }) => values as (number | null | undefined)[]),
]

function optionsOf(grid: Grid, ports: PlotPorts, size: { width: number; height: number }): uPlot.Options {
  const { colour, formatTime, formatValue, onpoint } = ports
  const axis = {
    stroke: () => colour('--muted'),
    font: FONT,
    grid: { stroke: () => colour('--line'), width: 1 },
    ticks: { show: false },
  }
  const stepped = uPlot.paths.stepped?.({ align: 1 })
  return {
    ...size,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
    scales: { y: { range: (_, low, high) => rangeOf(low, high) } },
    axes: [
      {
        ...axis,
        space: 70,
        size: 30,
        values: (_, splits) => {
          const step = ((splits[1] ?? Number.POSITIVE_INFINITY) - (splits[0] ?? 0)) * 1000
          return splits.map((seconds) => formatTime(seconds * 1000, step))
        },
      },
      { ...axis, size: 64, values: (_, splits) => splits.map(formatValue) },
    ],
    series: [
      {},
      ...grid.lines.map((line): uPlot.Series => {
        const dash = DASHES[line.kind]
        return {
          scale: 'y',
          stroke: () => colour(tokenOf(line)),
          width: (line.series.strong ? 2 : WIDTHS[line.kind]) / devicePixelRatio,
          ...(stepped ? { paths: stepped } : {}),
          ...(dash ? { dash } : {}),
          points: { show: false },
        }
      }),
    ],
    hooks: {
      setCursor: [
        ({ cursor, posToVal }) => {
          const { left = -1, top = -1 } = cursor
          if (left < 0 || top < 0) return onpoint(undefined)
          onpoint({ moment: posToVal(left, 'x') * 1000, value: posToVal(top, 'y') })
        },
      ],
    },
  }
}

/** A tenth of room above and below; a line that never moves stands in the middle. */
function rangeOf(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1]
  const room = high > low ? (high - low) * 0.1 : Math.max(Math.abs(high) * 0.1, 1e-6)
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room]
}
