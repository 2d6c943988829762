import { type Instant, instant } from '@understudy/shared/core/time'
import type { Interval } from '@understudy/shared/market/interval'
import type { Occupancy } from '@understudy/shared/market/savings'
import type { InstanceRow, SwitchRow } from '../storage/database.ts'

/** What of an instance says how long it ran, and at which price. */
export type StayRow = Pick<
  InstanceRow,
  'id' | 'pool_id' | 'life_cycle' | 'launched_at' | 'enrolled_at' | 'terminated_at'
>
export type MoveRow = Pick<SwitchRow, 'epoch' | 'old_instance_id' | 'new_instance_id' | 'switched_at'>

const ALWAYS: Interval = { from: instant(0), to: instant(Number.MAX_SAFE_INTEGER) }
const ON_DEMAND = '#on-demand'

/** An instance that was bought on demand costs what its type costs on demand, wherever it runs. */
export const priceKeyOf = ({ pool_id: pool, life_cycle: cycle }: Pick<StayRow, 'pool_id' | 'life_cycle'>) =>
  cycle === 'on-demand' ? `${pool}${ON_DEMAND}` : pool

/** The pool of a key, and whether its price is the one on demand. */
export const readPriceKey = (key: string): { pool: string; onDemand: boolean } =>
  key.endsWith(ON_DEMAND)
    ? { pool: key.slice(0, -ON_DEMAND.length), onDemand: true }
    : { pool: key, onDemand: false }

/**
 * When each instance of one agent ran, and when it was the primary: the first is whom the first move left, or the one
 * that is primary now. An instance runs from its launch, or from when it was first heard of, until it was seen to have
 * ended, or `now`.
 */
export function occupancyOf(
  instances: readonly StayRow[],
  moves: readonly MoveRow[],
  primary: string | null,
  now: Instant,
): Occupancy[] {
  const terms = termsOf(moves, primary)
  return instances.flatMap((row) => {
    const from = instant(row.launched_at ?? row.enrolled_at)
    const to = instant(Math.min(row.terminated_at ?? now, now))
    const stay = { instanceId: row.id, poolId: priceKeyOf(row) }
    const own = terms.filter(({ instance }) => instance === row.id)
    const edges = [from, ...own.flatMap((term) => [term.from, term.to]), to]
      .filter((at) => at >= from && at <= to)
      .sort((a, b) => a - b)
    return edges.slice(1).flatMap((end, i): Occupancy[] => {
      const start = edges[i] as Instant
      if (start >= end) return []
      const isPrimary = own.some((term) => term.from <= start && term.to >= end)
      return [{ ...stay, from: start, to: end, role: isPrimary ? 'primary' : 'standby' }]
    })
  })
}

/** Who was primary when, in order and without overlap. */
function termsOf(
  moves: readonly MoveRow[],
  primary: string | null,
): readonly (Interval & { readonly instance: string })[] {
  const ordered = [...moves].sort((a, b) => a.epoch - b.epoch)
  const [first] = ordered
  if (!first) return primary === null ? [] : [{ ...ALWAYS, instance: primary }]
  const terms = [{ from: ALWAYS.from, to: instant(first.switched_at), instance: first.old_instance_id }]
  for (const [i, move] of ordered.entries())
    terms.push({
      from: instant(move.switched_at),
      to: instant(ordered[i + 1]?.switched_at ?? ALWAYS.to),
      instance: move.new_instance_id,
    })
  return terms
}
