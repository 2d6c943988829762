/** `rise`: what came last is higher than what was before it. */
export type Change = 'rise' | 'drop'

export interface Adwin {
  /** Returns the change that this value has shown, if any. */
  update(value: number): Change | undefined
  /** Values in the window, and their mean. */
  readonly width: number
  readonly mean: number
}

const DELTA = 0.002
/** Every so many values it is looked for a cut. */
const CLOCK = 32
const MOST_BUCKETS = 5
const MIN_WINDOW = 5
const GRACE = 10

/** Row r holds buckets of 2^r values each, the oldest first. */
interface Bucket {
  readonly total: number
  readonly variance: number
}

/**
 * Adaptive windowing (Bifet and Gavaldà 2007) as river computes it: the window grows until two parts of it have means
 * that differ by more than chance, then its old end goes. The cut is looked for after every bucket.
 */
export function createAdwin(delta = DELTA): Adwin {
  const rows: Bucket[][] = [[]]
  let width = 0
  let total = 0
  let variance = 0
  let ticks = 0

  function insert(value: number): void {
    rows[0]?.push({ total: value, variance: 0 })
    width += 1
    if (width > 1) variance += ((width - 1) * (value - total / (width - 1)) ** 2) / width
    total += value
    for (let r = 0; (rows[r] as Bucket[]).length > MOST_BUCKETS; r++) {
      const [a, b] = (rows[r] as Bucket[]).splice(0, 2) as [Bucket, Bucket]
      const n = 2 ** r
      rows[r + 1] ??= []
      rows[r + 1]?.push({
        total: a.total + b.total,
        variance: a.variance + b.variance + ((n * n) / (n + n)) * (a.total / n - b.total / n) ** 2,
      })
    }
  }

  function dropOldest(): void {
    const row = rows.length - 1
    const { total: t, variance: v } = (rows[row] as Bucket[]).shift() as Bucket
    const n = 2 ** row
    width -= n
    total -= t
    variance -= v + (n * width * (t / n - total / width) ** 2) / (n + width)
    if (rows[row]?.length === 0 && row > 0) rows.pop()
  }

  function isCut(n0: number, n1: number, difference: number): boolean {
    const d = Math.log((2 * Math.log(width)) / delta)
    const m = 1 / (n0 - MIN_WINDOW + 1) + 1 / (n1 - MIN_WINDOW + 1)
    return Math.abs(difference) > Math.sqrt(2 * m * (variance / width) * d) + (2.0 / 3.0) * d * m
  }

  function findCut(): Change | undefined {
    let n0 = 0
    let u0 = 0
    for (let r = rows.length - 1; r >= 0; r--)
      for (const bucket of rows[r] as Bucket[]) {
        n0 += 2 ** r
        u0 += bucket.total
        const n1 = width - n0
        if (n0 < MIN_WINDOW || n1 < MIN_WINDOW) continue
        const difference = (total - u0) / n1 - u0 / n0
        if (isCut(n0, n1, difference)) return difference > 0 ? 'rise' : 'drop'
      }
    return undefined
  }

  return {
    update(value) {
      insert(value)
      ticks += 1
      if (ticks % CLOCK !== 0 || width <= GRACE) return undefined
      let change: Change | undefined
      for (let cut = findCut(); cut !== undefined; cut = findCut()) {
        change ??= cut
        dropOldest()
      }
      return change
    },
    get width() {
      return width
    },
    get mean() {
      return width === 0 ? 0 : total / width
    },
  }
}
