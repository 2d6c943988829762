import { hours, type Instant, instant, type Millis } from '@understudy/shared/core/time'
import { type Interval, lengthOf, minus, union } from '@understudy/shared/market/interval'
import { LOOKBACK_H } from '@understudy/shared/market/own-features'
import type { Readiness } from '@understudy/shared/protocol/model-data'

/** What prices a model needs, what of them is there, and what can still be had. Nothing here asks anybody. */

const DAY = hours(24)
/** Features look back so far at most, and on the price that held then. */
const LOOK_BACK: Millis = hours(LOOKBACK_H)

/** An instance type in a region. */
export interface TypeInRegion {
  readonly instanceType: string
  readonly region: string
}

export interface CoveredPool extends TypeInRegion {
  readonly poolId: string
  /** Of the required time. */
  readonly covered: readonly Interval[]
}

/** A question that was put to the source, and whether it has been answered completely. */
export interface AskedFetch {
  readonly id: string
  readonly ended: boolean
  readonly instanceTypes: readonly string[]
  readonly regions: readonly string[]
  readonly from: Instant
  readonly to: Instant
}

export interface PoolGap extends TypeInRegion {
  readonly poolId: string
  /** Can be fetched. */
  readonly missing: readonly Interval[]
  /** Too old. */
  readonly unfillable: readonly Interval[]
  /** In milliseconds. */
  readonly covered: number
  /** Nothing is missing of the time that features look back on now. */
  readonly current: boolean
}

export interface DataGap {
  readonly required: Interval
  readonly pools: readonly PoolGap[]
  /** Known once, and without a price by now though they were asked for. */
  readonly withoutHistory: readonly string[]
  /** Of which no pool is known: never asked for, or asked for and not sold there. */
  readonly unknown: readonly TypeInRegion[]
  readonly notOffered: readonly TypeInRegion[]
  /** From the oldest to the newest time that is too old. */
  readonly unfillable: Interval | null
  readonly missingMillis: number
  readonly unfillableMillis: number
  readonly requiredMillis: number
  readonly readiness: Readiness
}

/** @param trainedUntil a UTC date, whose prices the model has seen */
export const requiredInterval = (trainedUntil: string, now: Instant): Interval => ({
  from: instant(Date.parse(trainedUntil) - LOOK_BACK),
  to: now,
})

/** Calendar days, in UTC. */
export const gapDays = (trainedUntil: string, now: Instant): number =>
  Math.floor(now / DAY) - Math.floor(Date.parse(trainedUntil) / DAY)

export interface DataNeed {
  readonly trainedUntil: string
  readonly now: Instant
  /** How far back the source knows prices. */
  readonly reach: Millis
  /** Prices of the last so much time are still on their way, and nobody misses them. */
  readonly slack: Millis
  readonly wanted: readonly TypeInRegion[]
  readonly pools: readonly CoveredPool[]
  readonly asked: readonly AskedFetch[]
}

/**
 * Required less covered, by pool. Where the source was asked and has no price the pool was not offered then, and nothing is
 * missing. What is older than the source knows is missing for good.
 */
export function dataGap(need: DataNeed): DataGap {
  const { trainedUntil, now, reach, wanted, asked } = need
  const required = requiredInterval(trainedUntil, now)
  const tooOld: Interval = { from: required.from, to: instant(now - reach) }
  const answered = asked.filter(({ ended }) => ended)
  const isWanted = new Set(wanted.map(keyOf))
  const inScope = need.pools.filter((pool) => isWanted.has(keyOf(pool)))
  const isKnown = new Set(inScope.map(keyOf))
  const known = recent(required, reach)
  const wasAsked = (pair: TypeInRegion) => isAll(known, toldOf(pair, answered))
  const isGone = (pool: CoveredPool) =>
    wasAsked(pool) && lengthOf(minus([known], pool.covered)) === lengthOf([known])
  const pools = inScope
    .filter((pool) => !isGone(pool))
    .map((pool) => poolGap(pool, need, required, toldOf(pool, answered)))
  const unseen = wanted.filter((pair) => !isKnown.has(keyOf(pair)))
  const unknown = unseen.filter((pair) => !wasAsked(pair))
  const sum = (of: (gap: PoolGap) => number) => pools.reduce((total, gap) => total + of(gap), 0)
  const ofUnknown = unknown.length * lengthOf([known])
  const missingMillis = sum(({ missing }) => lengthOf(missing)) + ofUnknown
  const unfillableMillis = sum(({ unfillable }) => lengthOf(unfillable)) + unknown.length * lengthOf([tooOld])
  return {
    required,
    pools,
    withoutHistory: inScope.filter(isGone).map(({ poolId }) => poolId),
    unknown,
    notOffered: unseen.filter(wasAsked),
    unfillable:
      unknown.length > 0 && tooOld.from < tooOld.to
        ? tooOld
        : hull(pools.flatMap(({ unfillable }) => unfillable)),
    missingMillis,
    unfillableMillis,
    requiredMillis: sum(({ covered }) => covered) + missingMillis + unfillableMillis,
    readiness: readinessOf(pools.length + unknown.length, missingMillis, unfillableMillis),
  }
}

function poolGap(
  pool: CoveredPool,
  { now, reach, slack }: DataNeed,
  required: Interval,
  told: readonly Interval[],
): PoolGap {
  const open = minus([required], pool.covered)
  const lacking = minus(withoutTail(open, now, slack), told)
  const before: Interval = { from: instant(0), to: instant(now - reach) }
  const missing = minus(lacking, [before])
  return {
    poolId: pool.poolId,
    instanceType: pool.instanceType,
    region: pool.region,
    missing,
    unfillable: minus(lacking, missing),
    covered: lengthOf([required]) - lengthOf(open),
    current: minus(lacking, [{ from: instant(0), to: instant(now - LOOK_BACK) }]).length === 0,
  }
}

function readinessOf(pools: number, missing: number, unfillable: number): Readiness {
  if (pools === 0) return 'UNKNOWN'
  if (missing > 0) return 'MISSING'
  return unfillable > 0 ? 'PARTIAL' : 'READY'
}

/** In per cent, one decimal, and never 100 where anything is missing. */
export function shareOf(part: number, whole: number): number {
  if (part >= whole) return 100
  return Math.min(99.9, Math.max(0, Math.floor((part / whole) * 1000) / 10))
}

export const percentCovered = (gap: DataGap): number =>
  shareOf(gap.requiredMillis - gap.missingMillis - gap.unfillableMillis, gap.requiredMillis)

/** Types of one region with the same range: one fetch. */
export interface FillRequest {
  readonly instanceTypes: readonly string[]
  readonly regions: readonly string[]
  readonly from: Instant
  readonly to: Instant
}

export interface FillPlan {
  readonly requests: readonly FillRequest[]
  /** Fetches under way that bring what is missing: they are waited for and not asked a second time. */
  readonly adopted: readonly string[]
}

/** Whole days, so that few fetches serve many types. */
export function planFill(gap: DataGap, asked: readonly AskedFetch[], reach: Millis): FillPlan {
  const now = gap.required.to
  const oldest = instant(now - reach)
  const underWay = asked.filter(({ ended }) => !ended)
  const adopted = new Set<string>()
  const groups = new Map<string, { range: Interval; region: string; types: Set<string> }>()
  const ranges = new Map<string, TypeInRegion & { range: Interval }>()
  for (const { instanceType, region, missing } of [
    ...gap.pools,
    ...gap.unknown.map((pair) => ({ ...pair, missing: [recent(gap.required, reach)] })),
  ]) {
    const own = { instanceType, region }
    const range = hull([...missing, ...knownRange(ranges.get(keyOf(own)))])
    if (range) ranges.set(keyOf(own), { ...own, range })
  }
  for (const { instanceType, region, range } of ranges.values()) {
    const there = underWay.find(
      (fetch) =>
        fetch.instanceTypes.includes(instanceType) &&
        fetch.regions.includes(region) &&
        fetch.from <= range.from &&
        fetch.to >= Math.min(range.to, now - DAY),
    )
    if (there) {
      adopted.add(there.id)
      continue
    }
    const from = instant(Math.max(oldest, Math.floor(range.from / DAY) * DAY))
    const to = instant(Math.min(now, Math.ceil(range.to / DAY) * DAY))
    const key = `${region} ${from} ${to}`
    const group = groups.get(key) ?? { range: { from, to }, region, types: new Set<string>() }
    groups.set(key, group)
    group.types.add(instanceType)
  }
  return {
    adopted: [...adopted],
    requests: [...groups.values()].map(({ range, region, types }) => ({
      instanceTypes: [...types].sort(),
      regions: [region],
      from: range.from,
      to: range.to,
    })),
  }
}

const keyOf = ({ instanceType, region }: TypeInRegion): string => `${region} ${instanceType}`

/** What of the required time the source still knows. */
const recent = ({ from, to }: Interval, reach: Millis): Interval => ({
  from: instant(Math.max(from, to - reach)),
  to,
})

/** The last stretch counts only when it has become too long. */
function withoutTail(open: readonly Interval[], now: Instant, slack: Millis): readonly Interval[] {
  const last = open.at(-1)
  return last && last.to === now && last.to - last.from <= slack ? open.slice(0, -1) : open
}

const toldOf = ({ instanceType, region }: TypeInRegion, answered: readonly AskedFetch[]): Interval[] =>
  union(
    answered
      .filter((fetch) => fetch.instanceTypes.includes(instanceType) && fetch.regions.includes(region))
      .map(({ from, to }) => ({ from, to })),
    [],
  )

/** For so long an answer that a type is not sold somewhere is believed. */
const BELIEVED = hours(24 * 7)

/** But for a day at the old end, which moves on, and a week at the new one. */
const isAll = (range: Interval, told: readonly Interval[]): boolean =>
  told.length > 0 &&
  minus([{ from: instant(range.from + DAY), to: instant(range.to - BELIEVED) }], told).length === 0

const knownRange = (known: { readonly range: Interval } | undefined): Interval[] =>
  known ? [known.range] : []

function hull(intervals: readonly Interval[]): Interval | null {
  if (intervals.length === 0) return null
  const [first, ...rest] = union(intervals, []) as [Interval, ...Interval[]]
  return { from: first.from, to: (rest.at(-1) ?? first).to }
}

/** Whole days: of 36.2 days 36. */
export const daysOf = ({ from, to }: Interval): number => Math.floor((to - from) / DAY)
