import { OWN_FEATURES } from './feature-catalog.ts'
import { HOUR_MS, indexAt, type PricePath, value } from './price-path.ts'

/** What one pool's own price says at a moment. */

/** Nothing older is looked at, but for the price that held when this began. */
export const LOOKBACK_H = 168

/** Windows over which the change of the price is taken, in hours. */
const WINDOWS_H = [6, 12, 24, 48, 72, LOOKBACK_H] as const
const AT_24H = 2
const AT_168H = 5
const SLOTS = WINDOWS_H.length + 1

export const OWN_WIDTH = OWN_FEATURES.length

/** Where each window of each pool began when it was last asked: the next moment is usually a little later. */
export type Cursors = Int32Array
export const createCursors = (pools: number): Cursors => new Int32Array(pools * SLOTS).fill(-1)

/** What one walk over the changes of the last 168 h finds. */
interface Walk {
  high: number
  low: number
  moved: number
  risen24: number
  mean24: number
}

/**
 * Writes the features of pool number `pool` at `t` to its place in `out` and returns the logarithm of its price.
 * Returns NaN, and writes nothing, before the first known price.
 */
export function ownFeatures(
  path: PricePath,
  t: number,
  out: Float64Array,
  cursors: Cursors,
  pool: number,
): number {
  const slot = pool * SLOTS
  const now = seek(path.at, t, cursors, slot)
  if (now < 0) return Number.NaN
  const x = value(path.log, now)
  let o = pool * OWN_WIDTH
  for (let w = 0; w < WINDOWS_H.length; w++) {
    const start = seek(path.at, t - (WINDOWS_H[w] as number) * HOUR_MS, cursors, slot + 1 + w)
    out[o++] = start < 0 ? Number.NaN : x - value(path.log, start)
  }
  const startOf = (window: number) => Math.max(0, cursors[slot + 1 + window] as number)
  const start = startOf(AT_168H)
  const changes = now - start
  const age = changes === 0 ? LOOKBACK_H : (t - value(path.at, now)) / HOUR_MS
  const walk = walkChanges(path, t, start, now)
  const width = walk.high - walk.low
  out[o++] = changes === 0 ? 0 : x - value(path.log, now - 1)
  out[o++] = age
  out[o++] = (age * changes) / LOOKBACK_H
  out[o++] = now - startOf(AT_24H)
  out[o++] = changes
  out[o++] = walk.risen24
  out[o++] = changes === 0 ? 0 : walk.moved / changes
  out[o++] = width > 0 ? (x - walk.low) / width : 0
  out[o++] = width
  out[o] = x - walk.mean24
  return x
}

function seek(at: Float64Array, t: number, cursors: Cursors, slot: number): number {
  const found = indexAt(at, t, cursors[slot] as number)
  cursors[slot] = found
  return found
}

/** The mean over 24 h is over that part of them in which the price is known. */
function walkChanges({ at, log }: PricePath, t: number, start: number, now: number): Walk {
  const from = Math.max(t - 24 * HOUR_MS, value(at, 0))
  let x = value(log, start)
  let when = from
  let area = 0
  let high = x
  let low = x
  let moved = 0
  let risen24 = 0
  for (let i = start + 1; i <= now; i++) {
    const next = value(log, i)
    const step = next - x
    moved += Math.abs(step)
    if (next > high) high = next
    if (next < low) low = next
    const changed = value(at, i)
    if (changed > from) {
      area += x * (changed - when)
      when = changed
      if (step > 0) risen24 += step
    }
    x = next
  }
  const mean24 = t > from ? (area + x * (t - when)) / (t - from) : x
  return { high, low, moved, risen24, mean24 }
}
