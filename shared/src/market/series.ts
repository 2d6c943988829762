import type { MicroUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET, bucketFrom } from './bucket.ts'
import type { PriceChange } from './history.ts'
import type { Interval } from './interval.ts'
import { type SampleConfidence, sampleSource } from './settle.ts'

export const dataSources = ['primary', 'replica', 'history', 'interpolated'] as const
export type DataSource = (typeof dataSources)[number]

/** One bucket of a series. Where nothing is known, price, source and confidence are null: that is a gap. */
export type SeriesPoint =
  | {
      readonly at: Instant
      readonly price: MicroUsd
      readonly source: DataSource
      /** In hundredths. */
      readonly confidence: number
    }
  | { readonly at: Instant; readonly price: null; readonly source: null; readonly confidence: null }

/** What is known of one pool by bucket, each list in order. */
export interface SeriesSources {
  readonly samples: readonly (PriceChange & { readonly confidence: SampleConfidence })[]
  /** As `stepSeries` gives it. */
  readonly history: readonly PriceChange[]
  readonly interpolated: readonly (PriceChange & { readonly confidence: number })[]
}

/** One point for every bucket of `range`: a sample before history, history before what was interpolated, else a gap. */
export function mergeSeries(sources: SeriesSources, range: Interval): SeriesPoint[] {
  const sampleAt = cursor(sources.samples)
  const historyAt = cursor(sources.history)
  const interpolatedAt = cursor(sources.interpolated)
  const points: SeriesPoint[] = []
  for (let at = bucketFrom(range.from); at < range.to; at = instant(at + BUCKET)) {
    const sample = sampleAt(at)
    const history = historyAt(at)
    const interpolated = interpolatedAt(at)
    if (sample)
      points.push({
        at,
        price: sample.price,
        source: sampleSource(sample.confidence),
        confidence: sample.confidence,
      })
    else if (history) points.push({ at, price: history.price, source: 'history', confidence: 100 })
    else if (interpolated)
      points.push({
        at,
        price: interpolated.price,
        source: 'interpolated',
        confidence: interpolated.confidence,
      })
    else points.push({ at, price: null, source: null, confidence: null })
  }
  return points
}

/** Finds the entry of a moment, when asked for moments in order. */
function cursor<T extends PriceChange>(list: readonly T[]): (at: Instant) => T | undefined {
  let next = 0
  return (at) => {
    while (next < list.length && (list[next] as T).at < at) next++
    const entry = list[next]
    return entry?.at === at ? entry : undefined
  }
}
