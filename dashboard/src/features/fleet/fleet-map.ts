import type { AgentView } from '@understudy/shared/protocol/agents'
import type { PoolView } from '@understudy/shared/protocol/market'
import { formatNumberOf } from '../../ui/format.ts'
import type { Residents } from '../pools/pool-map.ts'

/** So many types of a region are shown when somebody asks for more; the page of the pools has all. */
export const MOST_TYPES = 8

const isInhabited = ({ primaries, standbys }: Residents): boolean => primaries.length + standbys.length > 0

/**
 * The pools of the fleet's map: of each region in which somebody is all zones, of the types that are in use and then of
 * the cheapest others. A pool without a price is there when somebody is in it, so that the map is as high before the prices
 * are read as it is after.
 * @param types how many of a region, as long as more are known than are in use
 */
export function fleetPools(
  known: readonly PoolView[],
  agents: Iterable<AgentView>,
  residents: (poolId: string) => Residents,
  types: number,
): readonly PoolView[] {
  const all = new Map(known.map((pool) => [pool.pool_id, pool]))
  for (const [id, spot, full] of placesOf(agents)) if (!all.has(id)) all.set(id, place(id, spot, full))
  const pools = [...all.values()]
  const inhabited = pools.filter(({ pool_id: id }) => isInhabited(residents(id)))
  const regions = new Set(inhabited.map(({ region }) => region))
  return [...regions].flatMap((region) => {
    const own = pools.filter((pool) => pool.region === region)
    const shown = typesToShow(own, (pool) => isInhabited(residents(pool.pool_id)), types)
    return own.filter(({ instance_type: type }) => shown.has(type))
  })
}

function typesToShow(
  pools: readonly PoolView[],
  isUsed: (pool: PoolView) => boolean,
  most: number,
): ReadonlySet<string> {
  const used = new Set(pools.filter(isUsed).map(({ instance_type: type }) => type))
  const byPrice = pools
    .filter((pool) => pool.spot_price !== null)
    .sort((a, b) => (a.spot_price ?? 0) - (b.spot_price ?? 0))
  const types = new Set(used)
  for (const { instance_type: type } of byPrice) if (types.size < most) types.add(type)
  return types
}

/** Where somebody runs, with the prices that the agents themselves say: of now, and On-Demand. */
function* placesOf(
  agents: Iterable<AgentView>,
): Generator<readonly [pool: string, spot: number | null, full: number | null]> {
  for (const { pool_id: pool, spot_price: spot, on_demand_price: full, replicas } of agents) {
    if (pool !== null) yield [pool, spot, full]
    for (const replica of replicas) if (replica.is_active) yield [replica.pool_id, replica.spot_price, null]
  }
}

function place(poolId: string, spot: number | null, full: number | null): PoolView {
  const [type = '', zone = ''] = poolId.split('@')
  return {
    pool_id: poolId,
    instance_type: type,
    availability_zone: zone,
    az_id: null,
    region: /^[a-z]+(?:-[a-z]+)+-\d+/.exec(zone)?.[0] ?? zone,
    spot_price: spot,
    price_at: null,
    data_source: null,
    confidence: null,
    on_demand_price: full,
    discount_percent: null,
    interruption_band: null,
    interruption_range: null,
    band_as_of: null,
    risk: null,
  }
}

/** `5 primaries in 4 pools · 4 standbys in 3`, and a zone that holds most of the primaries. */
export function placesSentence(pools: readonly PoolView[], residents: (poolId: string) => Residents): string {
  const zones = new Map<string, number>()
  const of = { primaries: 0, standbys: 0 }
  const in_ = { primaries: 0, standbys: 0 }
  for (const { pool_id: id, availability_zone: zone } of pools) {
    const here = residents(id)
    for (const role of ['primaries', 'standbys'] as const) {
      of[role] += here[role].length
      if (here[role].length > 0) in_[role] += 1
    }
    zones.set(zone, (zones.get(zone) ?? 0) + here.primaries.length)
  }
  const [fullest] = [...zones].sort(([, a], [, b]) => b - a)
  const crowded = fullest !== undefined && of.primaries > 2 && fullest[1] > of.primaries / 2
  return [
    `${formatNumberOf(of.primaries, 'primary', 'primaries')} in ${formatNumberOf(in_.primaries, 'pool')}`,
    `${formatNumberOf(of.standbys, 'standby')} in ${formatNumberOf(in_.standbys, 'pool')}`,
    ...(crowded ? [`${fullest[1]} of the primaries are in ${fullest[0]}`] : []),
  ].join(' · ')
}

/** Agents in which each word of the search occurs: name, id, pool, instance, state. */
export function matchingAgents(agents: readonly AgentView[], search: string): readonly AgentView[] {
  const words = search
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
  if (words.length === 0) return agents
  return agents.filter(({ name, id, pool_id: pool, instance_id: instance, state }) => {
    const text = `${name} ${id} ${pool ?? ''} ${instance ?? ''} ${state}`.toLowerCase()
    return words.every((word) => text.includes(word))
  })
}
