import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ChartPoint, type ChartSeries, chartKinds, type Grid, toGrid } from './chart-data.ts'
import { fitGrid, toPixelGrid } from './pixel-grid.ts'

const BUCKET = 100
const series = (points: readonly ChartPoint[], id = 'a'): ChartSeries => ({ id, name: id, points })
const point = (at: number, value: number | null, kind: ChartPoint['kind'] = 'history'): ChartPoint => ({
  at,
  value,
  kind: value === null ? null : kind,
  confidence: null,
})

/** Prices at any moments, with gaps, of all kinds. */
const points = fc
  .array(
    fc.tuple(
      fc.integer({ min: 1, max: 250 }),
      fc.option(fc.integer({ min: 1, max: 99 })),
      fc.constantFrom(...chartKinds),
    ),
    { minLength: 1, maxLength: 120 },
  )
  .map((all) => {
    let at = 0
    return all.map(([step, value, kind]) => {
      at += step
      return point(at, value, kind)
    })
  })
const columns = fc.integer({ min: 1, max: 30 })

/** What is seen of a line in one column: what held at its edge, what came in it, and what holds at its end. */
function seen(edge: number | null, within: readonly (number | null)[]) {
  const known = [edge, ...within].filter((value) => value !== null)
  const [low, high] = [Math.min(...known), Math.max(...known)]
  return { low, high, isParted: within.includes(null), held: within.length === 0 ? edge : within.at(-1) }
}

/** As the points say. */
function asKnown(
  one: readonly ChartPoint[],
  kind: string,
  columnOf: (moment: number) => number,
  count: number,
) {
  const events = one.map(({ at, value, kind: own }) => [columnOf(at), own === kind ? value : null] as const)
  events.push([columnOf((one.at(-1)?.at ?? 0) + BUCKET), null])
  let edge: number | null = null
  return Array.from({ length: count }, (_, column) => {
    const within = events.filter(([at]) => at === column).map(([, value]) => value)
    // Of what is the same as before nothing is seen.
    const changes = within.filter((value, i) => value !== (i === 0 ? edge : within[i - 1]))
    const told = seen(edge, changes)
    edge = told.held ?? null
    return told
  })
}

/** As it is drawn. */
function asDrawn({ at }: Grid, values: Grid['lines'][number]['values'], count: number) {
  let edge: number | null = null
  return Array.from({ length: count }, (_, column) => {
    const within = at.slice(column * 4, column * 4 + 4).map((_moment, i) => values[column * 4 + i])
    const told = seen(
      edge,
      within.filter((value) => value !== undefined),
    )
    edge = told.held ?? null
    return told
  })
}

describe('lines of more points than pixels', () => {
  it('have in each column the extremes, the gaps and the last value of all their points', () => {
    fc.assert(
      fc.property(points, points, columns, (one, other, count) => {
        const grid = toPixelGrid([series(one, 'one'), series(other, 'other')], BUCKET, count)
        const [from = 0, to = 0] = [grid.at[0], grid.at.at(-2)]
        const columnOf = (moment: number) =>
          moment < to ? Math.min(count - 1, Math.floor((moment - from) * (count / (to - from)))) : count
        for (const { series: own, kind, values } of grid.lines) {
          const drawn = asDrawn(grid, values, count)
          for (const [column, known] of asKnown(own.points, kind, columnOf, count).entries()) {
            const { isParted, ...rest } = drawn[column] ?? seen(null, [])
            expect(rest).toEqual({ low: known.low, high: known.high, held: known.held })
            if (known.isParted) expect(isParted).toBe(true)
          }
        }
      }),
      { numRuns: 300 },
    )
  })

  it('are of the same series and kinds as all their points', () => {
    const names = ({ lines }: Grid) => lines.map(({ series: { id }, kind }) => `${id} ${kind}`)
    fc.assert(
      fc.property(points, points, columns, (one, other, count) => {
        const all = [series(one, 'one'), series(other, 'other')]
        expect(names(toPixelGrid(all, BUCKET, count))).toEqual(names(toGrid(all, BUCKET)))
      }),
    )
  })

  it('begin and end where the points do, in order, and are no more than there are places', () => {
    fc.assert(
      fc.property(points, columns, (all, count) => {
        const [exact, drawn] = [toGrid([series(all)], BUCKET), toPixelGrid([series(all)], BUCKET, count)]
        expect(drawn.at[0]).toBe(exact.at[0])
        expect(drawn.at.at(-2)).toBe((all.at(-1)?.at ?? 0) + BUCKET)
        expect(drawn.at).toEqual(drawn.at.toSorted((a, b) => a - b))
        for (const { values } of drawn.lines) expect(values).toHaveLength(count * 4 + 2)
        const last = all.at(-1)
        for (const { kind, values } of drawn.lines)
          expect(values.slice(-2)).toEqual([last?.kind === kind ? last.value : null, null])
      }),
    )
  })

  it('are all their points where there is room for them', () => {
    const all = [series(Array.from({ length: 40 }, (_, i) => point(i * BUCKET, i)))]
    expect(fitGrid(all, BUCKET, 10)).toEqual(toGrid(all, BUCKET))
    expect(fitGrid(all, BUCKET, 0)).toEqual(toGrid(all, BUCKET))
    expect(fitGrid(all, BUCKET, 9)).toEqual(toPixelGrid(all, BUCKET, 9))
  })

  it('a gap of less than a pixel is a gap', () => {
    const steps = Array.from({ length: 1000 }, (_, i) => point(i * BUCKET, i === 500 ? null : 7))
    const [line] = toPixelGrid([series(steps)], BUCKET, 10).lines
    expect(line?.values.filter((value) => value === null)).toHaveLength(2)
  })
})
