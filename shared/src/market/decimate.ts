import type { SeriesPoint } from './series.ts'

/** The fewest points that can keep both ends, the extremes, the least certain point and the gaps between them. */
export const FEWEST_POINTS = 10

/**
 * At most `most` of the points, each as it was: both ends, and of every column the lowest, the highest and the least certain
 * one. Wherever points that were kept have a gap between them, one empty point of it is kept too, so that a
 * line drawn through the result never crosses a gap.
 * @throws RangeError below FEWEST_POINTS
 */
export function decimate(points: readonly SeriesPoint[], most: number): SeriesPoint[] {
  if (!(most >= FEWEST_POINTS)) throw new RangeError(`a series has at least ${FEWEST_POINTS} points: ${most}`)
  if (points.length <= most) return [...points]
  for (let columns = Math.floor(most / 2); ; ) {
    const kept = keep(points, columns)
    if (kept.length <= most) return kept.map((index) => points[index] as SeriesPoint)
    columns = Math.max(1, Math.min(columns - 1, Math.floor((columns * most) / kept.length)))
  }
}

/** The indexes that are kept when the points are divided into so many columns of the same width. */
function keep(points: readonly SeriesPoint[], columns: number): number[] {
  const chosen = [0]
  for (let column = 0; column < columns; column++) {
    const from = Math.floor((column * points.length) / columns)
    const to = Math.floor(((column + 1) * points.length) / columns)
    chosen.push(...notable(points, from, to))
  }
  chosen.push(points.length - 1)
  return withGaps(points, chosen)
}

/** The lowest, the highest and the least certain point of `[from, to)`, in order; none when all are empty. */
function notable(points: readonly SeriesPoint[], from: number, to: number): number[] {
  let low = -1
  let high = -1
  let doubtful = -1
  for (let i = from; i < to; i++) {
    const point = points[i] as SeriesPoint
    if (point.price === null) continue
    if (low < 0 || point.price < priceOf(points, low)) low = i
    if (high < 0 || point.price > priceOf(points, high)) high = i
    if (doubtful < 0 || point.confidence < confidenceOf(points, doubtful)) doubtful = i
  }
  if (low < 0) return []
  const worst = confidenceOf(points, doubtful)
  const shown = Math.min(confidenceOf(points, low), confidenceOf(points, high)) === worst
  return (shown ? [low, high] : [low, high, doubtful]).sort((a, b) => a - b)
}

/** Each index once, with the first empty point between two that are kept and that a gap parts. */
function withGaps(points: readonly SeriesPoint[], chosen: readonly number[]): number[] {
  const kept: number[] = []
  for (const index of chosen) {
    const last = kept.at(-1)
    if (last === index) continue
    if (last !== undefined && points[last]?.price !== null && points[index]?.price !== null) {
      const gap = firstEmpty(points, last + 1, index)
      if (gap !== undefined) kept.push(gap)
    }
    kept.push(index)
  }
  return kept
}

function firstEmpty(points: readonly SeriesPoint[], from: number, to: number): number | undefined {
  for (let i = from; i < to; i++) if (points[i]?.price === null) return i
  return undefined
}

const priceOf = (points: readonly SeriesPoint[], index: number): number => points[index]?.price ?? 0

const confidenceOf = (points: readonly SeriesPoint[], index: number): number => points[index]?.confidence ?? 0
