import { type MicroUsd, microUsd, toUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { BUCKET } from './bucket.ts'
import type { PriceChange } from './history.ts'
import { type Interval, intersect, minus, normalise } from './interval.ts'

/** A price for a length of time. */
export interface PriceStep extends Interval {
  readonly price: MicroUsd
}

/** One instance running for an agent: in which pool, in which role, how long. */
export interface Occupancy extends Interval {
  readonly instanceId: string
  readonly poolId: string
  readonly role: 'primary' | 'standby'
}

/**
 * A change of primary and what it cost beside the double running, such as transfer: whole micro-dollars, undefined when
 * nobody has measured it.
 */
export interface Switch {
  readonly at: Instant
  readonly cost: number | undefined
}

/** Real prices of the pools concerned. `undefined` is not known; it never counts as 0. */
export interface Rates {
  /** In order and disjoint, as `priceSteps` gives them. */
  spot(poolId: string): readonly PriceStep[]
  /** What the same would have cost on demand: the effective rate. */
  onDemand(poolId: string): MicroUsd | undefined
}

/**
 * Money in micro-dollar-milliseconds per hour, an integer: a price times a time without a division. That is what makes the sums of the
 * parts of a time exactly that of the whole; `usdOf` divides once, at the end.
 */
export type Cost = bigint

/** What an agent cost over a time, beside what it would have cost. */
export interface Savings {
  /** The primary, on spot. */
  readonly spot: Cost
  /** The same time of the same primary, on demand. */
  readonly onDemand: Cost
  /** Everything that ran beside the primary: standbys, and both ends of a move. */
  readonly doubleRunning: Cost
  /** Of the switches whose cost is known. */
  readonly switchCost: Cost
  readonly switches: number
  /** Switches whose cost nobody has measured: nothing of them is in `switchCost`. */
  readonly unmeasured: number
  /** Time in which the agent ran and all prices were known, in milliseconds. */
  readonly counted: number
  /** Time in which it ran and a price was missing, in milliseconds. Nothing of it is in any sum above. */
  readonly unknown: number
}

export const noSavings: Savings = {
  spot: 0n,
  onDemand: 0n,
  doubleRunning: 0n,
  switchCost: 0n,
  switches: 0,
  unmeasured: 0,
  counted: 0,
  unknown: 0,
}

const HOUR = 3_600_000n

export const addSavings = (a: Savings, b: Savings): Savings => ({
  spot: a.spot + b.spot,
  onDemand: a.onDemand + b.onDemand,
  doubleRunning: a.doubleRunning + b.doubleRunning,
  switchCost: a.switchCost + b.switchCost,
  switches: a.switches + b.switches,
  unmeasured: a.unmeasured + b.unmeasured,
  counted: a.counted + b.counted,
  unknown: a.unknown + b.unknown,
})

/** What was saved after double running and switches, as far as their cost is known; below zero where spot cost more. */
export const netOf = ({ spot, onDemand, doubleRunning, switchCost }: Savings): Cost =>
  onDemand - spot - doubleRunning - switchCost

/** To the nearest micro-dollar, halves away from zero. */
export function usdOf(cost: Cost): number {
  const size = ((cost < 0n ? -cost : cost) + HOUR / 2n) / HOUR
  return toUsd(microUsd(Number(cost < 0n ? -size : size)))
}

/**
 * The on-demand rate that is really paid, in per cent of the list price, as with a savings plan.
 * @throws RangeError outside (0, 100]
 */
export function effectiveRate(listPrice: MicroUsd, percent: number): MicroUsd {
  if (!(percent > 0 && percent <= 100))
    throw new RangeError(`an effective rate is above 0 and up to 100 per cent: ${percent}`)
  return microUsd(Math.round((listPrice * percent) / 100))
}

/** The real price of a pool over time. A sample holds for its bucket and goes before history; nothing is interpolated. */
export function priceSteps(
  samples: readonly PriceChange[],
  changes: readonly PriceChange[],
  covered: readonly Interval[],
): PriceStep[] {
  const sampled = samples.map(({ at, price }) => ({ from: at, to: instant(at + BUCKET), price }))
  const complete = normalise(covered)
  const held = changes.flatMap((change, i) => {
    const to = changes[i + 1]?.at ?? complete.at(-1)?.to ?? change.at
    return change.at < to ? [{ from: change.at, to, price: change.price }] : []
  })
  return [...sampled, ...clip(held, minus(complete, sampled))].sort((a, b) => a.from - b.from)
}

/**
 * What one agent cost in `range`. A moment counts only when the price of every instance that ran is known, and with it the
 * on-demand rate of the primary; otherwise it is `unknown`, on both sides. Of two primaries at once the later one is a
 * move's other end and counts as double running. A switch belongs to the range in which it began.
 */
export function savingsOf(
  occupancy: readonly Occupancy[],
  switches: readonly Switch[],
  rates: Rates,
  range: Interval,
): Savings {
  const stays = occupancy
    .filter((stay) => stay.from < stay.to && stay.from < range.to && stay.to > range.from)
    .map((stay) => ({ ...stay, steps: rates.spot(stay.poolId), next: 0 }))
    .sort(byStart)
  const made = switches.filter(({ at }) => at >= range.from && at < range.to)
  let sum: Savings = {
    ...noSavings,
    switches: made.length,
    switchCost: made.reduce((cost, each) => cost + BigInt(each.cost ?? 0) * HOUR, 0n),
    unmeasured: made.filter(({ cost }) => cost === undefined).length,
  }
  const edges = edgesOf(stays, range)
  for (let i = 1; i < edges.length; i++) {
    const from = edges[i - 1] as Instant
    const running = stays.filter((stay) => stay.from <= from && stay.to > from)
    if (running.length > 0) sum = addSavings(sum, stretch(running, rates, from, edges[i] as Instant))
  }
  return sum
}

/** A total order, so that which of two primaries is the later one does not depend on the range. */
const byStart = (a: Occupancy, b: Occupancy): number =>
  a.from - b.from || compare(a.instanceId, b.instanceId) || compare(a.poolId, b.poolId) || a.to - b.to

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

interface Stay extends Occupancy {
  readonly steps: readonly PriceStep[]
  /** Of `steps`: times are asked for in order. */
  next: number
}

/** Every moment at which who runs, or a price, may change. */
function edgesOf(stays: readonly Stay[], range: Interval): Instant[] {
  const edges = new Set<Instant>()
  for (const stay of stays)
    for (const each of intersect([stay], [range])) {
      edges.add(each.from).add(each.to)
      for (const step of stay.steps) {
        if (step.from > each.from && step.from < each.to) edges.add(step.from)
        if (step.to > each.from && step.to < each.to) edges.add(step.to)
      }
    }
  return [...edges].sort((a, b) => a - b)
}

/** A stretch of time within which nothing changes. */
function stretch(running: readonly Stay[], rates: Rates, from: Instant, to: Instant): Savings {
  const length = to - from
  const primary = running.find((stay) => stay.role === 'primary')
  const onDemand = primary ? rates.onDemand(primary.poolId) : microUsd(0)
  let spot = 0
  let beside = 0
  for (const stay of running) {
    const price = priceAt(stay, from)
    if (price === undefined || onDemand === undefined) return { ...noSavings, unknown: length }
    if (stay === primary) spot += price
    else beside += price
  }
  const costOf = (price: number): Cost => BigInt(price) * BigInt(length)
  return {
    ...noSavings,
    spot: costOf(spot),
    onDemand: costOf(onDemand ?? 0),
    doubleRunning: costOf(beside),
    counted: length,
  }
}

function priceAt(stay: Stay, at: Instant): MicroUsd | undefined {
  while (stay.next < stay.steps.length && (stay.steps[stay.next] as PriceStep).to <= at) stay.next++
  const step = stay.steps[stay.next]
  return step && step.from <= at ? step.price : undefined
}

/** The parts of `steps` that lie in `where`; both in order. */
function clip(steps: readonly PriceStep[], where: readonly Interval[]): PriceStep[] {
  const parts: PriceStep[] = []
  let start = 0
  for (const step of steps) {
    while (start < where.length && (where[start] as Interval).to <= step.from) start++
    for (let i = start; i < where.length && (where[i] as Interval).from < step.to; i++) {
      const { from, to } = where[i] as Interval
      parts.push({
        from: instant(Math.max(from, step.from)),
        to: instant(Math.min(to, step.to)),
        price: step.price,
      })
    }
  }
  return parts
}
