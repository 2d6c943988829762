import fc from 'fast-check'
import { expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { instant } from '../core/time.ts'
import { BUCKET, eachBucket } from './bucket.ts'
import { mergeSeries } from './series.ts'

const bucket = (i: number) => instant(i * BUCKET)

test('a sample goes before history, history before what was interpolated, and a gap stays one', () => {
  const series = mergeSeries(
    {
      samples: [
        { at: bucket(0), price: microUsd(1), confidence: 100 },
        { at: bucket(1), price: microUsd(2), confidence: 95 },
      ],
      history: [0, 1, 2].map((i) => ({ at: bucket(i), price: microUsd(3) })),
      interpolated: [0, 1, 2, 3].map((i) => ({ at: bucket(i), price: microUsd(4), confidence: 75 })),
    },
    { from: bucket(0), to: bucket(5) },
  )
  expect(series).toEqual([
    { at: bucket(0), price: 1, source: 'primary', confidence: 100 },
    { at: bucket(1), price: 2, source: 'replica', confidence: 95 },
    { at: bucket(2), price: 3, source: 'history', confidence: 100 },
    { at: bucket(3), price: 4, source: 'interpolated', confidence: 75 },
    { at: bucket(4), price: null, source: null, confidence: null },
  ])
})

test('there is one point for every bucket of the range, with the price of the best source that has it', () => {
  const buckets = fc
    .uniqueArray(fc.integer({ min: -2, max: 14 }), { maxLength: 10 })
    .map((some) => some.toSorted((a, b) => a - b).map(bucket))
  fc.assert(
    fc.property(buckets, buckets, buckets, (a, b, c) => {
      const range = { from: bucket(0), to: bucket(12) }
      const series = mergeSeries(
        {
          samples: a.map((at) => ({ at, price: microUsd(1), confidence: 100 })),
          history: b.map((at) => ({ at, price: microUsd(2) })),
          interpolated: c.map((at) => ({ at, price: microUsd(3), confidence: 85 })),
        },
        range,
      )
      const expected = [...eachBucket(range.from, range.to)].map((at) =>
        a.includes(at) ? 1 : b.includes(at) ? 2 : c.includes(at) ? 3 : null,
      )
      expect(series.map((point) => point.price)).toEqual(expected)
    }),
  )
})
