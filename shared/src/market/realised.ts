import type { Instant } from '../core/time.ts'
import type { Interval } from './interval.ts'
import type { Cost, PriceStep } from './savings.ts'

/** What came of a move from one pool to another. */
export interface Realised {
  /** What the old pool would have cost less what the new one cost; below zero where the move was a mistake. */
  readonly saved: Cost
  /** What ran beside the primary for the sake of the move. */
  readonly doubleRunning: Cost
  /** Time after the move in which both prices were known, in milliseconds. */
  readonly counted: number
  /** Time in which a price was not known, in milliseconds: nothing of it is in the sums. */
  readonly unknown: number
}

/** Steps of real prices, in order and disjoint, as `priceSteps` gives them. */
export interface BothPrices {
  readonly old: readonly PriceStep[]
  readonly new: readonly PriceStep[]
}

/**
 * By the prices that held. The sums of two parts of a stay are that of the whole.
 * @param stay from the move on, as long as the new place was kept
 * @param twice when the instance at the old or new pool ran beside the primary
 */
export function realisedOf(
  stay: Interval,
  twice: { readonly old: Interval; readonly new: Interval },
  prices: BothPrices,
): Realised {
  const edges = [...prices.old, ...prices.new].flatMap(({ from, to }) => [from, to])
  const inside = [...new Set([stay.from, ...edges, stay.to])]
    .filter((at) => at >= stay.from && at <= stay.to)
    .sort((a, b) => a - b)
  let saved = 0n
  let counted = 0
  for (const [i, from] of inside.entries()) {
    const to = inside[i + 1]
    if (to === undefined) break
    const before = priceAt(prices.old, from)
    const after = priceAt(prices.new, from)
    if (before === undefined || after === undefined) continue
    saved += BigInt(before - after) * BigInt(to - from)
    counted += to - from
  }
  const old = costOf(prices.old, twice.old)
  const ours = costOf(prices.new, twice.new)
  return {
    saved,
    doubleRunning: old.cost + ours.cost,
    counted,
    unknown: Math.max(0, stay.to - stay.from) - counted + old.unknown + ours.unknown,
  }
}

const priceAt = (steps: readonly PriceStep[], at: Instant): number | undefined =>
  steps.find(({ from, to }) => from <= at && at < to)?.price

function costOf(steps: readonly PriceStep[], range: Interval): { cost: Cost; unknown: number } {
  let cost = 0n
  let known = 0
  for (const step of steps) {
    const length = Math.min(step.to, range.to) - Math.max(step.from, range.from)
    if (length <= 0) continue
    cost += BigInt(step.price) * BigInt(length)
    known += length
  }
  return { cost, unknown: Math.max(0, range.to - range.from) - known }
}
