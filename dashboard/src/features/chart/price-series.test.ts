import type { PriceSeries } from '@understudy/shared/protocol/market'
import { describe, expect, it } from 'vitest'
import { coverageSentence, toPoints } from './price-series.ts'

const series = (buckets: Partial<PriceSeries['buckets']>, decimated = false): PriceSeries => ({
  pool_id: 'm5.large@us-east-1a',
  from: '2026-11-20T00:00:00Z',
  to: '2026-11-21T00:00:00Z',
  bucket_seconds: 300,
  buckets: { total: 288, primary: 0, replica: 0, history: 0, interpolated: 0, missing: 0, ...buckets },
  decimated,
  points: [
    { at: '2026-11-20T00:00:00Z', price: 0.04, data_source: 'replica', confidence: 0.95 },
    { at: '2026-11-20T00:05:00Z', price: null, data_source: null, confidence: null },
  ],
})

describe('a series of prices', () => {
  it('keeps gaps, and says how each price is known', () =>
    expect(toPoints(series({})).map(({ value, kind, confidence }) => [value, kind, confidence])).toEqual([
      [0.04, 'measured', 0.95],
      [null, null, null],
    ]))

  it('says what of it is known, and never all or nothing where it is only nearly so', () => {
    expect(coverageSentence(series({ primary: 100, replica: 44, history: 144 }))).toBe(
      '50% measured, 50% history.',
    )
    expect(coverageSentence(series({ primary: 1, missing: 287 }))).toBe(
      'under 1% measured, over 99% not known.',
    )
    expect(coverageSentence(series({ history: 288 }, true))).toBe(
      '100% history. 2 of 288 points are shown: the extremes of each stretch.',
    )
  })
})
