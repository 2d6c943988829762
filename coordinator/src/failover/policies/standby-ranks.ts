import type { AgentId } from '@understudy/shared/core/ids'
import { instanceId as asInstanceId } from '@understudy/shared/core/ids'
import { type Clock, type Mono, seconds } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import type { FleetStore } from '../../fleet/fleet.ts'
import type { ReplicaRow } from '../../storage/database.ts'
import type { Offers } from '../offers.ts'
import type { Entry } from '../registry.ts'
import { rankStandbys, type StandbyRisks } from './standby-risks.ts'

const KEPT = seconds(30)

interface Ranked {
  readonly of: string
  readonly at: Mono
  readonly order: readonly string[]
}

/**
 * The standbys of an agent by risk and price, the best first, and the group is told: of replicas that are equally close behind it takes
 * the first.
 */
export function createStandbyRanks(parts: {
  readonly fleet: Pick<FleetStore, 'instance'>
  readonly offers: Pick<Offers, 'of'>
  readonly risks: StandbyRisks
  readonly clock: Clock
}): (entry: Entry) => Promise<readonly string[]> {
  const { fleet, offers, risks, clock } = parts
  const kept = new Map<AgentId, Ranked>()
  const bandOf = (pool: string) => offers.of(pool)?.interruptionBand ?? null

  async function rank({ runner }: Entry, rows: readonly ReplicaRow[]): Promise<readonly string[]> {
    const { primary: id } = runner.group
    const row = id === undefined ? undefined : await fleet.instance(asInstanceId(id))
    const primary = row && parsePool(row.pool_id)
    const placed = rows.map(async ({ instance_id, pool_id, life_cycle, spot_price }) => {
      const others = rows.filter((other) => other.instance_id !== instance_id).map((other) => other.pool_id)
      const riskOf = await risks.beside({ primary, others, bandOf })
      const pool = { pool: parsePool(pool_id), interruptionBand: bandOf(pool_id) }
      const offer = offers.of(pool_id)
      const isSpot = life_cycle !== 'on-demand'
      return {
        instance: instance_id ?? '',
        risk: isSpot ? riskOf(pool) : 0,
        price: isSpot ? (offer?.spotPrice ?? spot_price) : (offer?.onDemandPrice ?? null),
      }
    })
    return rankStandbys(await Promise.all(placed))
  }

  return async (entry) => {
    const { agentId, runner } = entry
    const rows = [...entry.replicas.values()].filter(({ instance_id: instance }) => instance !== null)
    const of = [runner.group.primary, ...rows.map((row) => row.instance_id)].join()
    const known = kept.get(agentId)
    if (known?.of === of && clock.mono() - known.at < KEPT) return known.order
    const order = await rank(entry, rows)
    kept.set(agentId, { of, at: clock.mono(), order })
    runner.dispatch({ kind: 'appraised', order: order.map(asInstanceId) })
    return order
  }
}
