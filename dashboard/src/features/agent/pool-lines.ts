import type { AgentView } from '@understudy/shared/protocol/agents'
import type { PoolView, PriceSeries } from '@understudy/shared/protocol/market'
import { formatPool } from '../../ui/format.ts'
import type { ChartSeries } from '../chart/chart-data.ts'
import { toPoints } from '../chart/price-series.ts'

/** Nobody can tell more colours than these apart. */
const COLOURS = 6
/** More lines than these hide each other. */
const MOST_LINES = 20

/** Pools that an agent could run in: those of its type in its region, its own first, then standbys, then by price. */
export function poolsOf(agent: AgentView, pools: readonly PoolView[]): readonly PoolView[] {
  const own = pools.find(({ pool_id: id }) => id === agent.pool_id)
  const standbys = new Set(agent.replicas.filter(({ is_active: on }) => on).map(({ pool_id: id }) => id))
  const rank = ({ pool_id: id }: PoolView) => (id === agent.pool_id ? 0 : standbys.has(id) ? 1 : 2)
  const price = ({ spot_price: usd }: PoolView) => usd ?? Number.POSITIVE_INFINITY
  return pools
    .filter(
      (pool) =>
        standbys.has(pool.pool_id) ||
        pool.pool_id === agent.pool_id ||
        (own !== undefined && pool.instance_type === own.instance_type && pool.region === own.region),
    )
    .sort((a, b) => rank(a) - rank(b) || price(a) - price(b) || (a.pool_id < b.pool_id ? -1 : 1))
    .slice(0, MOST_LINES)
}

/** One line for each pool: the agent's own strong, the next ones in a colour each, the picked one always, the rest grey. */
export function linesOf(
  agent: AgentView,
  prices: readonly PriceSeries[],
  picked: string | undefined,
): readonly ChartSeries[] {
  const standbys = new Set(agent.replicas.filter(({ is_active: on }) => on).map(({ pool_id: id }) => id))
  return prices.map((series, index) => {
    const { pool_id: id } = series
    const role = id === agent.pool_id ? ', primary' : standbys.has(id) ? ', standby' : ''
    const coloured = index < COLOURS - 1 || id === picked
    return {
      id,
      name: `${formatPool(id)}${role}`,
      points: toPoints(series),
      colour: coloured ? Math.min(index + 1, COLOURS) : undefined,
      strong: id === agent.pool_id || id === picked,
    }
  })
}
