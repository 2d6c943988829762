import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ChartPoint, type ChartSeries, chartKinds, pointAt, toGrid } from './chart-data.ts'

const BUCKET = 300_000
const point = (i: number, value: number | null, kind: ChartPoint['kind'] = 'measured'): ChartPoint => ({
  at: i * BUCKET,
  value,
  kind: value === null ? null : kind,
  confidence: value === null ? null : 1,
})
const series = (points: readonly ChartPoint[], id = 'a'): ChartSeries => ({ id, name: id, points })

/** What a line shows at a moment: the value it holds, or undefined where it is not drawn. */
function shownAt(at: readonly number[], values: readonly (number | null | undefined)[], moment: number) {
  let held: number | null | undefined
  for (const [i, x] of at.entries()) {
    if (x > moment) break
    if (values[i] !== undefined) held = values[i]
  }
  return held ?? undefined
}

describe('lines of a chart', () => {
  it('a value holds until the next one, and the last one for a bucket', () => {
    const { at, lines } = toGrid([series([point(0, 4), point(3, 5)])], BUCKET)
    expect(lines).toHaveLength(1)
    expect(at).toEqual([0, 3 * BUCKET, 4 * BUCKET, 4 * BUCKET + 1])
    expect(lines[0]?.values).toEqual([4, 5, 5, null])
  })

  it('the time in which nothing is known is in the chart too', () => {
    const { at, lines } = toGrid(
      [series([point(0, null), point(3, 5), point(4, null), point(9, null)])],
      BUCKET,
    )
    expect([at[0], at.at(-1)]).toEqual([0, 10 * BUCKET])
    expect(lines[0]?.values).toEqual([null, 5, 5, null, null])
  })

  it('a gap parts a line, whatever other series have there', () => {
    const gap = series([point(0, 4), point(1, null), point(5, 6)], 'gap')
    const whole = series([point(0, 1), point(2, 1), point(3, 1), point(5, 1)], 'whole')
    const { at, lines } = toGrid([gap, whole], BUCKET)
    const own = lines.find((line) => line.series.id === 'gap')
    for (const [i, moment] of at.entries())
      if (moment > BUCKET && moment < 5 * BUCKET) expect(own?.values[i]).toBeNull()
  })

  it('at any moment one line of a series is drawn: that of the kind which holds then, or none', () => {
    const points = fc
      .array(fc.tuple(fc.option(fc.integer({ min: 1, max: 9 })), fc.constantFrom(...chartKinds)), {
        minLength: 1,
        maxLength: 25,
      })
      .map((all) => all.map(([value, kind], i) => point(i, value, kind)))
    fc.assert(
      fc.property(points, points, (one, other) => {
        const { at, lines } = toGrid([series(one, 'one'), series(other, 'other')], BUCKET)
        for (const each of one) {
          const moment = each.at + BUCKET / 2
          for (const kind of chartKinds) {
            const line = lines.find((found) => found.series.id === 'one' && found.kind === kind)
            const shown = line && shownAt(at, line.values, moment)
            expect(shown).toBe(each.kind === kind ? each.value : undefined)
          }
        }
      }),
    )
  })

  it('finds the point that holds at a moment', () => {
    const points = [point(1, 4), point(3, 5)]
    expect([0, 1, 2, 3, 9].map((i) => pointAt(points, i * BUCKET))).toEqual([undefined, 0, 0, 1, 1])
  })
})
