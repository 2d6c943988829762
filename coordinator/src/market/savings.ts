import { setImmediate } from 'node:timers/promises'
import { AppError } from '@understudy/shared/core/app-error'
import type { AgentId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import { type Clock, type Instant, instant } from '@understudy/shared/core/time'
import { bucketOf } from '@understudy/shared/market/bucket'
import type { PriceChange } from '@understudy/shared/market/history'
import type { Interval } from '@understudy/shared/market/interval'
import {
  addSavings,
  effectiveRate,
  netOf,
  noSavings,
  type Occupancy,
  type PriceStep,
  priceSteps,
  type Savings,
  type Switch,
  savingsOf,
  usdOf,
} from '@understudy/shared/market/savings'
import type { SavingsView } from '@understudy/shared/protocol/market'
import type { Kysely, Schema } from '../storage/database.ts'
import { readPriceKey } from './occupancy.ts'
import { readOccupancy } from './read-occupancy.ts'

/** Real prices alone: what agents measured, and history. */
export interface RealPrices {
  readonly samples: readonly PriceChange[]
  readonly changes: readonly PriceChange[]
  readonly covered: readonly Interval[]
}

export interface SavingsBook {
  /** Of one agent, or of all of them. @throws AppError `not_found` */
  of(agentId: AgentId | null, range: Interval): Promise<SavingsView>
}

interface Ran {
  readonly stays: readonly Occupancy[]
  readonly switches: readonly Switch[]
}

/**
 * What spot saved against on-demand, net of double running, from the times when instances really ran. Long ranges and many
 * agents take seconds: between any two pieces of that everything else has its turn.
 */
export function createSavingsBook(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly pricesOf: (poolId: string, range: Interval) => Promise<RealPrices>
  /** The list price; undefined where the catalog has none. */
  readonly onDemandOf: (poolId: string) => Promise<MicroUsd | undefined>
  /** What is really paid on demand, in per cent of the list price, as with a savings plan. */
  readonly onDemandRate: number
  /** What every change of primary costs beside the double running; undefined when nobody has said. */
  readonly switchCost: MicroUsd | undefined
}): SavingsBook {
  const { db, clock, pricesOf, onDemandOf, onDemandRate, switchCost } = parts

  /** When an agent's instances ran, and its changes of primary. */
  async function ranOf(agent: { id: string; instance_id: string | null }, now: Instant): Promise<Ran> {
    const { stays, moves } = await readOccupancy(db, agent, now)
    // A rehearsal is no change that prices have brought about, and none that had to be.
    const real = moves.filter(({ switch_reason: reason }) => reason !== 'drill')
    return { stays, switches: real.map(({ switched_at: at }) => ({ at: at as Instant, cost: switchCost })) }
  }

  async function inPiece({ stays, switches }: Ran, range: Interval, rates: Map<string, Rate>) {
    const inside = stays.filter(({ from, to }) => from < range.to && to > range.from)
    for (const { poolId } of inside) {
      if (rates.has(poolId)) continue
      rates.set(poolId, await rateOf(poolId, range))
      await setImmediate()
    }
    return savingsOf(
      inside,
      switches,
      {
        spot: (key) => rates.get(key)?.steps ?? [],
        onDemand: (key) => rates.get(key)?.onDemand,
      },
      range,
    )
  }

  interface Rate {
    readonly steps: readonly PriceStep[]
    readonly onDemand: MicroUsd | undefined
  }

  async function rateOf(key: string, range: Interval): Promise<Rate> {
    const { pool, onDemand: isOnDemand } = readPriceKey(key)
    const listed = await onDemandOf(pool)
    const onDemand = listed === undefined ? undefined : effectiveRate(listed, onDemandRate)
    if (isOnDemand) return { steps: onDemand === undefined ? [] : [{ ...range, price: onDemand }], onDemand }
    const { samples, changes, covered } = await pricesOf(pool, range)
    return { steps: priceSteps(samples, changes, covered), onDemand }
  }

  return {
    async of(agentId, range) {
      let query = db.selectFrom('agents').select(['id', 'instance_id']).orderBy('id')
      if (agentId !== null) query = query.where('id', '=', agentId)
      const agents = await query.execute()
      if (agentId !== null && agents.length === 0)
        throw new AppError('not_found', `there is no agent ${agentId}`, {
          hint: 'GET /api/agents lists them.',
        })
      const now = clock.now()
      const ran: Ran[] = []
      for (const agent of agents) {
        ran.push(await ranOf(agent, now))
        await setImmediate()
      }
      let sum: Savings = noSavings
      for (const piece of piecesOf(range)) {
        const rates = new Map<string, Rate>()
        for (const agent of ran) {
          sum = addSavings(sum, await inPiece(agent, piece, rates))
          await setImmediate()
        }
      }
      return viewOf(sum, agentId, range, onDemandRate)
    },
  }
}

/** What is computed in one go: some 10 ms of work for each pool of an agent with a price in every bucket. */
const PIECE = 7 * 86_400_000

/** The range in pieces that are cut between buckets: the sums of the pieces are exactly that of the whole. */
function* piecesOf({ from, to }: Interval): Generator<Interval> {
  for (let start = from; start < to; ) {
    const end = instant(Math.min(to, bucketOf(instant(start + PIECE))))
    yield { from: start, to: end }
    start = end
  }
}

const hours = (millis: number): number => Math.round(millis / 36) / 100_000

const viewOf = (
  savings: Savings,
  agentId: AgentId | null,
  { from, to }: Interval,
  onDemandRate: number,
): SavingsView => ({
  agent_id: agentId,
  from: new Date(from).toISOString(),
  to: new Date(to).toISOString(),
  spot_cost: usdOf(savings.spot),
  on_demand_cost: usdOf(savings.onDemand),
  double_running_cost: usdOf(savings.doubleRunning),
  switch_cost: savings.unmeasured > 0 ? null : usdOf(savings.switchCost),
  switches: savings.switches,
  net_savings: usdOf(netOf(savings)),
  counted_hours: hours(savings.counted),
  unknown_hours: hours(savings.unknown),
  on_demand_rate_percent: onDemandRate,
})
