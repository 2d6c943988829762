/** How many batches are looked at, and how many there must be. */
const WINDOW = 200
const ENOUGH = 100
/** A batch of this many rows is what qualification has measured; larger ones may take longer in proportion. */
const BATCH = 500
const TIMES = 5
/** Below this nobody is hurt: on a busy machine a fast model has such outliers. In milliseconds. */
const FLOOR = 50

/** Says when a model has become much slower than it was when it was qualified. */
export interface Slowness {
  /** Returns a sentence once the p99 of the last batches is too high. */
  add(millis: number, rows: number): string | undefined
}

export function createSlowness(qualifiedP99: number): Slowness {
  const last: number[] = []
  const limit = Math.max(TIMES * qualifiedP99, FLOOR)
  let slow = 0
  return {
    add(millis, rows) {
      const each = millis / Math.max(1, rows / BATCH)
      last.push(each)
      if (each > limit) slow += 1
      if (last.length > WINDOW && (last.shift() ?? 0) > limit) slow -= 1
      // More than one in a hundred above the limit is a p99 above the limit.
      if (last.length < ENOUGH || slow <= last.length / 100) return undefined
      return `the p99 of its last ${last.length} batches is above ${limit.toFixed(0)} ms (${TIMES} times what was qualified)`
    },
  }
}
