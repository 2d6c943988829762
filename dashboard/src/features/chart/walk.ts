import { type ChartSeries, pointAt } from './chart-data.ts'

/** Where a reader stands: a series, and a point of it. */
export interface Place {
  readonly series: number
  readonly point: number
}

/** Left and Right: a point; Up and Down: a series, at the same moment; Home and End. Undefined for any other key. */
export function step(all: readonly ChartSeries[], from: Place, key: string): Place | undefined {
  const points = all[from.series]?.points ?? []
  switch (key) {
    case 'ArrowLeft':
      return { ...from, point: Math.max(0, from.point - 1) }
    case 'ArrowRight':
      return { ...from, point: Math.min(points.length - 1, from.point + 1) }
    case 'PageUp':
      return { ...from, point: Math.max(0, from.point - 12) }
    case 'PageDown':
      return { ...from, point: Math.min(points.length - 1, from.point + 12) }
    case 'Home':
      return { ...from, point: 0 }
    case 'End':
      return { ...from, point: points.length - 1 }
    case 'ArrowUp':
      return across(all, from, -1)
    case 'ArrowDown':
      return across(all, from, 1)
    default:
      return undefined
  }
}

function across(all: readonly ChartSeries[], from: Place, by: number): Place {
  const series = Math.min(all.length - 1, Math.max(0, from.series + by))
  const moment = all[from.series]?.points[from.point]?.at ?? 0
  return { series, point: pointAt(all[series]?.points ?? [], moment) ?? 0 }
}

/** The series whose value at a moment is the nearest one. */
export function nearest(all: readonly ChartSeries[], moment: number, value: number): Place | undefined {
  let best: { place: Place; away: number } | undefined
  for (const [series, { points }] of all.entries()) {
    const point = pointAt(points, moment)
    if (point === undefined) continue
    const own = points[point]?.value
    const away = own === null || own === undefined ? Number.MAX_VALUE : Math.abs(own - value)
    if (!best || away < best.away) best = { place: { series, point }, away }
  }
  return best?.place
}
