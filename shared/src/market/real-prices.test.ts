import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { type Instant, instant, minutes } from '../core/time.ts'
import { testData } from '../testkit/test-data.ts'
import { bucketFrom, bucketsBetween } from './bucket.ts'
import { decimate } from './decimate.ts'
import { findGaps } from './gap.ts'
import { mergeChanges, type PriceChange, stepSeries } from './history.ts'
import { minus } from './interval.ts'
import { checkSample, isRefusal } from './sample.ts'
import { mergeSeries } from './series.ts'

/** Half a year of real spot prices of sa-east-1. Not part of the repository. */
const data = testData('prices/sa-east-1_2019-12-31_2020-06-23_linux.csv.gz')
const POOL = 'c5.xlarge@sa-east-1a'

const known = {
  now: instant(Date.parse('2020-07-01T00:00:00Z')),
  isKnownZone: () => true,
  onDemand: () => undefined,
}

function readFile(): { changes: PriceChange[]; times: Instant[]; rows: number; refused: number } {
  const lines = gunzipSync(readFileSync(data.path)).toString().trim().split('\n').slice(1)
  const changes: PriceChange[] = []
  const times: Instant[] = []
  let refused = 0
  for (const line of lines) {
    const [at, zone, type, price] = line.split(',')
    const sample = checkSample({ pool: `${type}@${zone}`, at, price }, known)
    if (isRefusal(sample)) refused++
    else {
      times.push(sample.at)
      if (sample.poolId === POOL) changes.push({ at: sample.at, price: sample.price })
    }
  }
  return { changes: mergeChanges([changes]), times: times.sort((a, b) => a - b), rows: lines.length, refused }
}

test('half a year of real prices is read, its seam is a gap, and its extremes are kept', ({ skip }) => {
  skip(data.missing !== undefined, data.missing)

  const { changes, times, rows, refused } = readFile()
  expect([rows, refused]).toEqual([103_340, 0])

  // Nobody collected between these two rows.
  const seam = times.findIndex((at, i) => at - (times[i - 1] ?? at) > minutes(12 * 60))
  const hole = { from: times[seam - 1] as Instant, to: times[seam] as Instant }
  expect(new Date(hole.from).toISOString()).toBe('2020-03-30T00:31:11.000Z')
  const range = { from: times[0] as Instant, to: times.at(-1) as Instant }
  const covered = minus([{ ...range, from: changes[0]?.at as Instant }], [hole])
  const history = stepSeries(changes, covered, range)
  const gaps = findGaps([], range, covered)
  expect(history.length + gaps.reduce((sum, gap) => sum + gap.buckets, 0)).toBe(
    bucketsBetween(range.from, range.to),
  )
  expect(gaps.find((gap) => gap.from === bucketFrom(hole.from))?.class).toBe('blackout')

  const series = mergeSeries({ samples: [], history, interpolated: [] }, range)
  const kept = decimate(series, 1000)
  const prices = history.map((point) => point.price)
  const left = kept.flatMap((point) => point.price ?? [])
  expect(kept.length).toBeLessThanOrEqual(1000)
  expect([Math.min(...left), Math.max(...left)]).toEqual([Math.min(...prices), Math.max(...prices)])
})
