import { hours, type Instant, instant, type Millis } from '@understudy/shared/core/time'
import { type Interval, minus, normalise } from '@understudy/shared/market/interval'
import { EC2_SILENCE } from '../cloud/history-source.ts'

/**
 * For which times a file of price changes says what each pool cost. It does not say when it was collected, so that has to
 * follow from its rows:
 * - EC2 repeats the price of every pool about once a day. Where a pool is silent for longer than SILENCE, rows are missing or
 *   it was not offered: nothing is known from its last row before to its first row after.
 * - Where all pools of a region are silent for longer than they ever would be together, nobody was collecting. A
 *   price from before that holds up to there and not beyond, even if the pool's own rows are not that far apart.
 * - A row that was refused hides a price. Until the pool's next row, which comes within SILENCE, nothing is known; where not
 *   even pool or time can be read, that goes for all it could have belonged to.
 * - Nothing is known before a pool's first row. After its last one its price holds as long as the region's rows go on.
 * Rows may come in any order. If the file is damaged or has unreadable rows, and is not in order of time, then what is
 * missing could be anywhere, and nothing is covered.
 */
export interface FileCoverage {
  add(poolId: string, region: string, at: Instant): void
  /** A refused row of that pool; `at` is undefined when its time is not to be trusted. */
  lose(poolId: string, at: Instant | undefined): void
  /** A row of which nothing could be read. */
  loseSomewhere(): void
  /** `whole` is false when the file breaks off. */
  finish(whole: boolean): CoverageResult
}

export interface CoverageResult {
  readonly order: Order
  /** Per pool; pools without any are left out. */
  readonly covered: ReadonlyMap<string, readonly Interval[]>
  /** Times in which no pool of the region has a row, longer than chance would have it. */
  readonly breaks: readonly (Interval & { readonly region: string })[]
}

export type Order = 'ascending' | 'descending' | 'mixed'

/** How long a pool that is offered goes without a row, at most: the files come from EC2. */
export const SILENCE = EC2_SILENCE
/** Runs of a region are kept at least as finely as this. */
const FINEST = hours(1)
/** A pause of the region this many times as long as the mean one of a single daily repetition of all pools is a break. */
const TIMES_MEAN = 48

interface PoolState {
  readonly region: RegionState
  readonly runs: Runs
  readonly lost: Interval[]
  untimed: boolean
}

interface RegionState {
  readonly name: string
  readonly runs: Runs
  pools: number
}

export function createFileCoverage(): FileCoverage {
  const regions = new Map<string, RegionState>()
  const pools = new Map<string, PoolState>()
  const lostPools = new Map<string, { lost: Interval[]; untimed: boolean }>()
  const lostSomewhere: Interval[] = []
  let previous: Instant | undefined
  let [ascending, descending, unread, pending] = [true, true, false, false]

  function regionOf(name: string): RegionState {
    const region = regions.get(name) ?? { name, runs: createRuns(FINEST), pools: 0 }
    regions.set(name, region)
    return region
  }

  function poolOf(poolId: string, regionName: string): PoolState {
    const known = pools.get(poolId)
    if (known) return known
    const region = regionOf(regionName)
    region.pools += 1
    const pool = { region, runs: createRuns(SILENCE), lost: [], untimed: false }
    pools.set(poolId, pool)
    return pool
  }

  function follow(at: Instant): void {
    if (previous !== undefined) {
      ascending &&= at >= previous
      descending &&= at <= previous
      if (pending) merge(lostSomewhere, Math.min(previous, at), Math.max(previous, at) + SILENCE)
    }
    pending = false
    previous = at
  }

  const orderOf = (): Order => (ascending ? 'ascending' : descending ? 'descending' : 'mixed')

  return {
    add(poolId, region, at) {
      follow(at)
      const pool = poolOf(poolId, region)
      pool.runs.add(at)
      pool.region.runs.add(at)
    },
    lose(poolId, at) {
      const entry = lostPools.get(poolId) ?? { lost: [], untimed: false }
      lostPools.set(poolId, entry)
      if (at === undefined) entry.untimed = true
      else merge(entry.lost, at, at + SILENCE)
    },
    loseSomewhere() {
      unread = true
      pending = true
    },
    finish(whole) {
      const order = orderOf()
      const collected = new Map([...regions.values()].map((region) => [region, collectedRuns(region)]))
      const breaks = [...collected].flatMap(([{ name }, runs]) =>
        between(runs).map((gap) => ({ ...gap, region: name })),
      )
      const covered = new Map<string, readonly Interval[]>()
      if (order === 'mixed' && (unread || !whole)) return { order, covered, breaks }
      for (const [id, pool] of pools) {
        const refused = lostPools.get(id)
        if (refused?.untimed) continue
        const claims = claimsOf(pool.runs.list(), collected.get(pool.region) ?? [])
        const left = minus(claims, [...lostSomewhere, ...(refused?.lost ?? [])])
        if (left.length > 0) covered.set(id, left)
      }
      return { order, covered, breaks }
    },
  }
}

/** When rows of the region were being collected: see TIMES_MEAN. */
function collectedRuns({ runs, pools }: RegionState): Interval[] {
  const longest = Math.max(FINEST, Math.min(SILENCE, (TIMES_MEAN * hours(24)) / pools))
  const wide = createRuns(longest as Millis)
  for (const { from, to } of runs.list()) {
    wide.add(from)
    wide.extend(to)
  }
  return [...wide.list()]
}

/** What a pool's own runs cover, as far as the region was collected. */
function claimsOf(own: readonly Interval[], collected: readonly Interval[]): Interval[] {
  const claims = own.flatMap(({ from, to }) => {
    const last = collected.find((run) => run.to >= to)
    return [{ from, to: last && last.to - to <= SILENCE ? last.to : to }]
  })
  // A run of the pool that goes over a break is sure of its price again when a row has come after it.
  const holes = between(collected).flatMap((gap) =>
    own.some(({ from, to }) => from <= gap.from && to >= gap.to)
      ? [{ from: gap.from, to: instant(gap.to + SILENCE) }]
      : [gap],
  )
  return minus(normalise(claims), holes)
}

const between = (runs: readonly Interval[]): Interval[] =>
  runs.slice(1).map((run, i) => ({ from: (runs[i] as Interval).to, to: run.from }))

/** Adds to a list that mostly grows at one end, so that it stays short. */
function merge(list: Interval[], from: number, to: number): void {
  const last = list.at(-1)
  if (last && from <= last.to && to >= last.from)
    list[list.length - 1] = {
      from: instant(Math.min(from, last.from)),
      to: instant(Math.max(to, last.to)),
    }
  else list.push({ from: instant(from), to: instant(to) })
}

interface Runs {
  add(at: Instant): void
  /** Moves the end of the run that was added to last; only for points in order. */
  extend(to: Instant): void
  list(): readonly Interval[]
}

/** Points in any order, as runs in which no two that follow each other are more than `longest` apart. */
export function createRuns(longest: Millis): Runs {
  const runs: { from: Instant; to: Instant }[] = []

  /** How many runs start at `at` or before. */
  function startsUpTo(at: Instant): number {
    const last = runs.at(-1)
    if (!last || at >= last.from) return runs.length
    let [low, high] = [0, runs.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((runs[middle] as Interval).from <= at) low = middle + 1
      else high = middle
    }
    return low
  }

  return {
    list: () => runs,
    extend(to) {
      const last = runs.at(-1)
      if (last && to > last.to) last.to = to
    },
    add(at) {
      const next = startsUpTo(at)
      const [before, after] = [runs[next - 1], runs[next]]
      if (before && at <= before.to) return
      const joinsBefore = before !== undefined && at - before.to <= longest
      const joinsAfter = after !== undefined && after.from - at <= longest
      if (joinsBefore && joinsAfter) {
        before.to = after.to
        runs.splice(next, 1)
      } else if (joinsBefore) before.to = at
      else if (joinsAfter) after.from = at
      else runs.splice(next, 0, { from: at, to: at })
    },
  }
}
