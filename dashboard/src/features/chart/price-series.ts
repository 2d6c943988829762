import type { PriceSeries } from '@understudy/shared/protocol/market'
import type { ChartKind, ChartPoint } from './chart-data.ts'

/** Kinds of price, in words. */
export const priceWords: Readonly<Record<ChartKind, string>> = {
  measured: 'measured by an agent',
  history: 'history of AWS',
  interpolated: 'interpolated, not measured',
}

const kindOf = {
  primary: 'measured',
  replica: 'measured',
  history: 'history',
  interpolated: 'interpolated',
} as const

/** A series of the API as a chart takes it: the same points, none left out and none added. */
export const toPoints = ({ points }: PriceSeries): readonly ChartPoint[] =>
  points.map(({ at, price, data_source: source, confidence }) => ({
    at: Date.parse(at),
    value: price,
    kind: source === null ? null : kindOf[source],
    confidence,
  }))

/** What of the range is known, and how. */
export function coverageSentence({ buckets, decimated, points }: PriceSeries): string {
  const part = (count: number) => shareOf(count, buckets.total)
  const parts = [
    [buckets.primary + buckets.replica, 'measured'],
    [buckets.history, 'history'],
    [buckets.interpolated, 'interpolated'],
    [buckets.missing, 'not known'],
  ] as const
  const said = parts.filter(([count]) => count > 0).map(([count, word]) => `${part(count)} ${word}`)
  const shown = decimated
    ? ` ${points.length} of ${buckets.total} points are shown: the extremes of each stretch.`
    : ''
  return `${said.join(', ')}.${shown}`
}

/** In whole per cent; neither none nor all where it is only nearly so. */
function shareOf(count: number, total: number): string {
  const percent = (100 * count) / Math.max(1, total)
  if (count > 0 && percent < 1) return 'under 1%'
  if (count < total && percent > 99) return 'over 99%'
  return `${Math.round(percent)}%`
}
