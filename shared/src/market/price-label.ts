import { type Instant, instant, minutes } from '../core/time.ts'
import type { Interval } from './interval.ts'
import { type KnownPrices, knownStretches, type PoolFacts } from './known-prices.ts'
import { firstRise, PRICE_INSTABILITY_12H, type RiseTarget } from './price-rise.ts'

/** What became of a prediction, once its horizon has passed. */
export type Label = 0 | 1

/** A shorter hole hides no change that a sampler every five minutes would not miss as well. */
const LONGEST_HOLE = minutes(10)

/** By the id in a manifest. */
const targets: Readonly<Record<string, RiseTarget>> = {
  price_instability_12h: PRICE_INSTABILITY_12H,
}

/** What a model predicts, where prices alone show whether it came true; undefined for other targets. */
export function priceTarget({
  id,
  horizon_h: hours,
}: {
  id: string
  horizon_h: number
}): RiseTarget | undefined {
  const target = Object.hasOwn(targets, id) ? targets[id] : undefined
  return target && target.horizon === hours * 3_600_000 ? target : undefined
}

/** Labels of one pool at any moment of `range`; undefined where the prices of the whole horizon are not known. */
export function createLabeller(
  facts: PoolFacts,
  range: Interval,
  target: RiseTarget,
): (at: Instant) => Label | undefined {
  const stretches = knownStretches(facts, range, LONGEST_HOLE)
  return (at) => {
    const end = instant(at + target.horizon)
    const known = stretches.find((stretch: KnownPrices) => stretch.from <= at && end <= stretch.until)
    return known && (firstRise(known.path, at, target) === undefined ? 0 : 1)
  }
}
