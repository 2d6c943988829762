import {
  type ChartKind,
  type ChartPoint,
  type ChartSeries,
  chartKinds,
  type Grid,
  HAIR,
  toGrid,
} from './chart-data.ts'

/** Places in each column of pixels: the lowest and the highest value, a gap, and what holds at its end. */
const PLACES = 4

type Value = number | null | undefined

/** What a chart so many pixels wide draws: every point, or where there are more of them than places, what they look like. */
export function fitGrid(all: readonly ChartSeries[], bucket: number, columns: number): Grid {
  const count = all.reduce((sum, { points }) => sum + points.length, 0)
  return count > columns * PLACES && columns > 0 ? toPixelGrid(all, bucket, columns) : toGrid(all, bucket)
}

/**
 * The lines of many points as they look in so many columns of pixels, over one grid of four places for each: a value may stand
 * up to a pixel beside where it began to hold, and is there all the same when it is an extreme of its column. Nothing is
 * joined across a gap, however short, and what holds at the end of a column is what holds there.
 */
export function toPixelGrid(all: readonly ChartSeries[], bucket: number, columns: number): Grid {
  const from = Math.min(...all.flatMap(({ points }) => points[0]?.at ?? []))
  const to = Math.max(...all.flatMap(({ points }) => (points.at(-1)?.at ?? -Infinity) + bucket))
  const place = (to - from) / columns / PLACES
  const at = Array.from({ length: columns * PLACES }, (_, i) => from + i * place)
  at.push(to, to + HAIR)
  const lines = all.flatMap((series) =>
    chartKinds.flatMap((kind) => {
      const isKnown = series.points.some((point) => point.kind === kind && point.value !== null)
      return isKnown
        ? [{ series, kind, values: draw(series.points, kind, { from, to, bucket, columns }) }]
        : []
    }),
  )
  return { at, lines }
}

interface Area {
  readonly from: number
  readonly to: number
  readonly bucket: number
  readonly columns: number
}

const valueIn = (point: ChartPoint | undefined, kind: ChartKind): number | null =>
  point?.kind === kind ? point.value : null

function draw(
  points: readonly ChartPoint[],
  kind: ChartKind,
  { from, to, bucket, columns }: Area,
): readonly Value[] {
  const line = createLine(columns, points[0]?.at === from ? valueIn(points[0], kind) : null)
  const perMilli = columns / (to - from)
  const columnOf = (moment: number) => Math.min(columns - 1, Math.floor((moment - from) * perMilli))
  for (const point of points) line.hold(columnOf(point.at), valueIn(point, kind))
  const end = (points.at(-1)?.at ?? from) + bucket
  if (end < to) line.hold(columnOf(end), null)
  return line.end()
}

/** One line, column by column. Calls come in the order of time. */
function createLine(columns: number, first: number | null) {
  const values: Value[] = new Array(columns * PLACES + 2).fill(undefined)
  let held = first
  let column = 0
  // Of what holds in the column at any time.
  let low = first ?? Number.POSITIVE_INFINITY
  let high = first ?? Number.NEGATIVE_INFINITY
  let changes = first === null ? 0 : 1
  let entered = first
  let parted = false
  if (first !== null) values[0] = first

  const put = (...places: Value[]) => {
    for (const [i, value] of places.entries()) values[column * PLACES + i] = value
  }
  function close(): void {
    const isEmpty = low > high
    if (isEmpty) put(null, null, null, null)
    else if (parted) put(low, high, null, held)
    // It begins in this column: what is before is a gap.
    else if (entered === null) put(null, low, high, held)
    else if (changes === 1) put(held)
    else if (changes > 1) put(low, high, held)
  }
  function goTo(next: number): void {
    close()
    if (held === null) values.fill(null, (column + 1) * PLACES, next * PLACES)
    column = next
    low = held ?? Number.POSITIVE_INFINITY
    high = held ?? Number.NEGATIVE_INFINITY
    changes = 0
    entered = held
    parted = false
  }

  return {
    hold(at: number, value: number | null): void {
      if (value === held) return
      if (at > column) goTo(at)
      if (value === null) parted = true
      else {
        low = Math.min(low, value)
        high = Math.max(high, value)
      }
      held = value
      changes += 1
    },
    end(): readonly Value[] {
      goTo(columns)
      values[columns * PLACES] = held
      values[columns * PLACES + 1] = null
      return values
    },
  }
}
