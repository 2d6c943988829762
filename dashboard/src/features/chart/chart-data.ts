/** How a value came to be known. Each kind is drawn by a line of its own and named by a word of its own. */
export const chartKinds = ['measured', 'history', 'interpolated'] as const
export type ChartKind = (typeof chartKinds)[number]

/** A value that holds from `at` (ms of the epoch, UTC) until the next one; null where nothing is known. */
export interface ChartPoint {
  readonly at: number
  readonly value: number | null
  readonly kind: ChartKind | null
  /** 0 to 1. */
  readonly confidence: number | null
}

export interface ChartSeries {
  readonly id: string
  readonly name: string
  readonly points: readonly ChartPoint[]
  /** 1 to 6: a colour of its own; undefined is one of the grey many. */
  readonly colour?: number | undefined
  /** Drawn twice as wide. */
  readonly strong?: boolean
}

/** One line: a value holds until the next one; null parts what must not be joined, undefined says nothing. */
export interface Line {
  readonly series: ChartSeries
  readonly kind: ChartKind
  readonly values: readonly (number | null | undefined)[]
}

export interface Grid {
  /** In ms, going up. */
  readonly at: readonly number[]
  readonly lines: readonly Line[]
}

/** A line ends where its kind ends; the next one may begin at the same moment. */
export const HAIR = 1

type Sparse = ReadonlyMap<number, number | null>

/**
 * Every kind of every series as a line of its own over one grid of times. A value holds until the next point, the last
 * one for `bucket` ms; nothing is drawn across a point without a value, nor across one of another kind.
 */
export function toGrid(all: readonly ChartSeries[], bucket: number): Grid {
  const sparse = all.flatMap((series) =>
    chartKinds.flatMap((kind) => {
      const values = runsOf(series.points, kind, bucket)
      return values.size === 0 ? [] : [{ series, kind, values }]
    }),
  )
  // Where nothing is known at an end, there is room for it all the same.
  const ends = all.flatMap(({ points }) => {
    const [first, last] = [points[0], points.at(-1)]
    return first && last ? [first.at, last.at + bucket] : []
  })
  const moments = [...ends, ...sparse.flatMap(({ values }) => [...values.keys()])]
  const at = [...new Set(moments)].sort((a, b) => a - b)
  const lines = sparse.map(({ values, ...line }) => ({ ...line, values: spread(at, values) }))
  return { at, lines }
}

/** The runs of one kind: each ends with its last value at the moment it stops to hold, and null right after. */
function runsOf(points: readonly ChartPoint[], kind: ChartKind, bucket: number): Sparse {
  const values = new Map<number, number | null>()
  let open: number | undefined
  const end = (moment: number) => {
    if (open === undefined) return
    values.set(moment, open)
    values.set(moment + HAIR, null)
    open = undefined
  }
  for (const point of points) {
    if (point.kind !== kind || point.value === null) {
      end(point.at)
      continue
    }
    values.set(point.at, point.value)
    open = point.value
  }
  const last = points.at(-1)
  if (last) end(last.at + bucket)
  return values
}

/** Between two runs every moment of the grid is null: what is undefined there would be drawn over. */
function spread(at: readonly number[], values: Sparse): (number | null | undefined)[] {
  let apart = true
  return at.map((moment) => {
    const value = values.get(moment)
    if (value !== undefined) apart = value === null
    return value === undefined && apart ? null : value
  })
}

/** The point that holds at a moment; undefined before the first one. */
export function pointAt(points: readonly ChartPoint[], moment: number): number | undefined {
  let low = 0
  let high = points.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((points[middle]?.at ?? 0) <= moment) low = middle + 1
    else high = middle
  }
  return low === 0 ? undefined : low - 1
}
