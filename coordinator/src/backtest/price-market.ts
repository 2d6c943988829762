import { AppError } from '@understudy/shared/core/app-error'
import { toUsd } from '@understudy/shared/core/money'
import { type Instant, instant, type Millis } from '@understudy/shared/core/time'
import type { PriceChange } from '@understudy/shared/market/history'
import type { Interval } from '@understudy/shared/market/interval'
import { parsePool, regionOf } from '@understudy/shared/market/pool'
import { familyOf } from '@understudy/shared/market/pool-groups'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import { nextSize } from '@understudy/shared/pipeline/right-sizing'
import type { ReplayMarket, ReplayPool, Workload } from './replay-market.ts'
import type { TypeFacts } from './type-catalog.ts'

/** A pool's changes of price, and when nothing of them is missing. */
export interface ReadPool {
  readonly id: string
  readonly changes: readonly PriceChange[]
  readonly covered: readonly Interval[]
}

/**
 * Where a file begins, and after a hole in it, pools turn up one by one within a day: until so many are known as a share of
 * what is usual, nothing is decided.
 */
const ENOUGH = 0.95

/**
 * Prices on a grid: what held at each tick, NaN where the file does not say. A spot price is never above on-demand: where the
 * file of on-demand prices is of another year than the prices, it is cut off there.
 * @throws AppError `input_invalid` when nothing is left
 */
export function priceMarket(
  read: readonly ReadPool[],
  factsOf: (region: string, instanceType: string) => TypeFacts | undefined,
  tick: Millis,
): ReplayMarket {
  const known = read.flatMap((pool) => {
    const { instanceType, availabilityZone } = parsePool(pool.id)
    const facts = factsOf(regionOf(availabilityZone), instanceType)
    return facts && pool.covered.length > 0 ? [{ ...pool, instanceType, availabilityZone, facts }] : []
  })
  if (known.length === 0)
    throw new AppError('input_invalid', 'no pool of the price file is among the instance types', {
      hint: 'Give --types a file that has the region of the prices.',
    })
  const intervals = known.flatMap(({ covered }) => covered)
  const start = instant(Math.ceil(Math.min(...intervals.map(({ from }) => from)) / tick) * tick)
  const end = Math.max(...intervals.map(({ to }) => to))
  const ticks = Math.floor((end - start) / tick)
  const seen = new Uint16Array(ticks)
  const pools = known
    .map(({ id, instanceType, availabilityZone, facts, changes, covered }): ReplayPool => {
      const price = onGrid(changes, covered, { start, tick, ticks, most: facts.onDemandUsd })
      for (let i = 0; i < ticks; i++) if (!Number.isNaN(price[i])) seen[i] = (seen[i] ?? 0) + 1
      return { id, instanceType, availabilityZone, ...facts, price }
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1))
  const enough = ENOUGH * ([...seen].sort((a, b) => a - b)[ticks >> 1] ?? 0)
  return { start, tick, ticks, pools, isBlind: (at) => (seen[at] ?? 0) < enough }
}

function onGrid(
  changes: readonly PriceChange[],
  covered: readonly Interval[],
  grid: { readonly start: Instant; readonly tick: Millis; readonly ticks: number; readonly most: number },
): Float64Array {
  const price = new Float64Array(grid.ticks).fill(Number.NaN)
  const sorted = [...changes].sort((a, b) => a.at - b.at)
  for (const { from, to } of covered) {
    const first = Math.max(0, Math.ceil((from - grid.start) / grid.tick))
    let next = 0
    for (let i = first; i < grid.ticks; i++) {
      const at = grid.start + i * grid.tick
      if (at >= to) break
      while (next < sorted.length && (sorted[next] as PriceChange).at <= at) next += 1
      const change = sorted[next - 1]
      if (change) price[i] = Math.min(toUsd(change.price), grid.most)
    }
  }
  return price
}

/** Burstable and bare-metal types are no stand-in for others. */
const kindOf = (instanceType: string): string =>
  instanceType.endsWith('.metal') ? 'metal' : /^t\d/.test(familyOf({ instanceType })) ? 'burstable' : 'steady'

/**
 * One workload per instance type: it needs what the type has, begins in the first zone that sells it at the beginning, and may
 * use every pool that is at least as large and not larger than the pipeline takes. `most` takes an even choice of them.
 */
export function priceWorkloads(market: ReplayMarket, most: number): readonly Workload[] {
  const { pools } = market
  const { upsizeMultiplier } = defaultPolicy('CLUSTER_FULL')
  const types = [...new Set(pools.map(({ instanceType }) => instanceType))]
  const all = types.flatMap((type): Workload[] => {
    const own = pools.flatMap((pool, i) => (pool.instanceType === type ? [i] : []))
    const starts = own.map((i) => firstKnown(market, pools[i] as ReplayPool))
    const from = Math.min(...starts)
    const home = own[starts.indexOf(from)] as number
    const { vcpu, memGib, arch, gpu, onDemandUsd } = pools[home] as ReplayPool
    const limit = upsizeMultiplier * nextSize(vcpu)
    const usable = pools.flatMap((pool, i) =>
      pool.vcpu >= vcpu &&
      pool.vcpu <= limit &&
      pool.memGib >= memGib &&
      pool.arch === arch &&
      (gpu > 0 ? pool.instanceType === type : pool.gpu === 0) &&
      kindOf(pool.instanceType) === kindOf(type)
        ? [i]
        : [],
    )
    return Number.isFinite(from)
      ? [{ name: type, pools: usable, home, vcpu, memGib, arch, gpu, onDemandUsd, from }]
      : []
  })
  if (all.length <= most) return all
  return Array.from({ length: most }, (_, i) => all[Math.floor((i * all.length) / most)] as Workload)
}

function firstKnown(market: ReplayMarket, { price }: ReplayPool): number {
  const at = price.findIndex((value, tick) => !Number.isNaN(value) && !market.isBlind(tick))
  return at < 0 ? Number.POSITIVE_INFINITY : at
}
