import type { Instant } from '@understudy/shared/core/time'
import type { AgentView } from '@understudy/shared/protocol/agents'
import type { PoolView } from '@understudy/shared/protocol/market'
import { formatAge, formatPrice } from '../../ui/format.ts'

/** Who of the fleet runs in a pool, by name. */
export interface Residents {
  readonly primaries: readonly string[]
  readonly standbys: readonly string[]
}

export interface PoolMap {
  readonly region: string
  readonly zones: readonly string[]
  readonly rows: readonly { readonly type: string; readonly cells: readonly (PoolView | undefined)[] }[]
}

const nobody: Residents = { primaries: [], standbys: [] }

export function residentsOf(agents: Iterable<AgentView>): (poolId: string) => Residents {
  const found = new Map<string, { primaries: string[]; standbys: string[] }>()
  const at = (pool: string) => {
    const there = found.get(pool) ?? { primaries: [], standbys: [] }
    found.set(pool, there)
    return there
  }
  for (const { name, pool_id: pool, replicas } of agents) {
    if (pool !== null) at(pool).primaries.push(name)
    for (const replica of replicas) if (replica.is_active) at(replica.pool_id).standbys.push(name)
  }
  return (pool) => found.get(pool) ?? nobody
}

/** One table for each region: types down, zones across. */
export function poolMaps(pools: readonly PoolView[]): readonly PoolMap[] {
  const regions = new Map<string, PoolView[]>()
  for (const pool of pools) regions.set(pool.region, [...(regions.get(pool.region) ?? []), pool])
  return [...regions].map(([region, own]) => {
    const zones = [...new Set(own.map((pool) => pool.availability_zone))].sort()
    const types = [...new Set(own.map((pool) => pool.instance_type))].sort()
    const byId = new Map(own.map((pool) => [pool.pool_id, pool]))
    const rows = types.map((type) => ({ type, cells: zones.map((zone) => byId.get(`${type}@${zone}`)) }))
    return { region, zones, rows }
  })
}

/** A price that has not been heard of for longer than this is not one of now. */
const OLD_AFTER = 6 * 3_600_000

export const isOld = ({ price_at: at }: PoolView, now: Instant): boolean =>
  at !== null && now - Date.parse(at) > OLD_AFTER

/** A cell in full, for those who do not see what stands beside it. */
export function poolInWords(pool: PoolView, { primaries, standbys }: Residents, now: Instant): string {
  const price = pool.spot_price === null ? 'no price is known' : `$${formatPrice(pool.spot_price)} per hour`
  const how = [
    pool.data_source === 'interpolated' ? 'interpolated' : '',
    isOld(pool, now) ? `${formatAge(now - Date.parse(pool.price_at ?? ''))} old` : '',
    primaries.length > 0 ? `primary of ${inShort(primaries)} here` : '',
    standbys.length > 0 ? `standby of ${inShort(standbys)} here` : '',
  ].filter((part) => part !== '')
  return `${pool.instance_type} ${pool.availability_zone}: ${[price, ...how].join(', ')}`
}

/** More names than these nobody listens to. */
const MOST_NAMES = 5

const inShort = (names: readonly string[]): string =>
  names.length > MOST_NAMES + 1
    ? `${names.slice(0, MOST_NAMES).join(', ')} and ${names.length - MOST_NAMES} more`
    : names.join(', ')

/** The price as a share of On-Demand, 0 to 1; what is dearer than On-Demand is 1. */
export const shareOfOnDemand = ({ spot_price: spot, on_demand_price: full }: PoolView): number | undefined =>
  spot === null || full === null || full === 0 ? undefined : Math.min(1, spot / full)

/** `20 pools in us-east-1`, and the one that is cheapest by what it saves. */
export function poolsSentence(pools: readonly PoolView[], now: Instant): string {
  const regions = [...new Set(pools.map(({ region }) => region))]
  const priced = pools.filter((pool) => pool.spot_price !== null && !isOld(pool, now))
  const where = regions.length === 1 ? `in ${regions[0]}` : `in ${regions.length} regions`
  const parts = [`${pools.length} pools ${where}`]
  if (priced.length < pools.length)
    parts.push(`${pools.length - priced.length} without a price of the last 6 h`)
  const best = priced
    .filter((pool) => pool.discount_percent !== null)
    .sort((a, b) => (b.discount_percent ?? 0) - (a.discount_percent ?? 0))[0]
  if (best)
    parts.push(
      `furthest below On-Demand: ${best.instance_type} in ${best.availability_zone}, ${Math.round(best.discount_percent ?? 0)}%`,
    )
  return parts.join(' · ')
}

/** Those of which the words occur in the type, the zone or the region. */
export function matching(pools: readonly PoolView[], search: string): readonly PoolView[] {
  const words = search
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
  return pools.filter((pool) => words.every((word) => pool.pool_id.includes(word)))
}
