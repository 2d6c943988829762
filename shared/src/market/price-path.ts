import { AppError } from '../core/app-error.ts'
import type { MicroUsd } from '../core/money.ts'
import type { Instant } from '../core/time.ts'

/** One line of a price history: from `at` on, the pool costs `price`. */
export interface PriceEvent {
  readonly at: Instant
  readonly price: MicroUsd
}

/**
 * The price of one pool as a step function: `price[i]` holds from `at[i]` (included) until `at[i + 1]`. Only real
 * changes are kept: AWS repeats an unchanged price about every 24 h. Entry 0 is the first known price and counts as
 * no change.
 */
export interface PricePath {
  /** Milliseconds since 1970, ascending. */
  readonly at: Float64Array
  /** Micro-dollars per hour. */
  readonly price: Float64Array
  /** Natural logarithm of `price`. */
  readonly log: Float64Array
}

export const HOUR_MS = 3_600_000

/**
 * Sorts by time, drops repeats. Of two prices at the same moment the later in the list holds.
 * @throws AppError `input_invalid` on a price that is not above zero or a time that is not finite
 */
export function toPricePath(events: readonly PriceEvent[]): PricePath {
  for (const { at, price } of events)
    if (!Number.isFinite(at) || !(price > 0) || !Number.isFinite(price))
      throw new AppError('input_invalid', `a price of ${price} micro-dollars at ${at} cannot be`, {
        hint: 'Leave such rows out before building a price path: a missing price is no row.',
      })
  const sorted = [...events].sort((a, b) => a.at - b.at)
  const kept: PriceEvent[] = []
  for (const event of sorted) {
    const last = kept.at(-1)
    if (last?.at === event.at) kept.pop()
    if (kept.at(-1)?.price !== event.price) kept.push(event)
  }
  const price = Float64Array.from(kept, (event) => event.price)
  return { at: Float64Array.from(kept, ({ at }) => at), price, log: price.map(Math.log) }
}

/** Index of the entry that holds at `t`, -1 before the first. Looks near `from` first: going forward costs next to nothing. */
export function indexAt(at: Float64Array, t: number, from = -1): number {
  if (from >= 0 && value(at, from) <= t) {
    let i = from
    for (let steps = 0; steps < 4; steps++) {
      if (i + 1 >= at.length || value(at, i + 1) > t) return i
      i += 1
    }
  }
  let low = 0
  let high = at.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (value(at, middle) <= t) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** Price in micro-dollars at `t`; undefined before the first known one. */
export function priceAt(path: PricePath, t: Instant): MicroUsd | undefined {
  const i = indexAt(path.at, t)
  return i < 0 ? undefined : (value(path.price, i) as MicroUsd)
}

/** An entry of a typed array at an index that is known to be inside it. */
export const value = (array: Float64Array, i: number): number => array[i] as number
