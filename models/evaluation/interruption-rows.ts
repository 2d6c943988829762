import { type Multipliers, multipliersFrom } from '../../shared/src/interruption/multipliers.ts'
import type { PoolHistory, RateBook } from '../../shared/src/interruption/rate-book.ts'
import type { InterruptionBand, Pool } from '../../shared/src/market/pool.ts'
import { poolId } from '../../shared/src/market/pool.ts'
import type { Stint, StintSet } from './stints.ts'

/** An instance that ran at a moment, and whether it was interrupted within the horizon. Hours. */
export interface Row {
  readonly pool: Pool
  readonly at: number
  readonly age: number
  readonly interrupted: boolean
}

/** Rows this far apart: every instance is asked about every ten minutes. */
const GRID = 1 / 6

/** Rows from `from` on whose whole horizon ends by `to`: only of those it is known what came. */
export function rowsBetween({ stints }: StintSet, horizon: number, from: number, to: number): Row[] {
  return stints.flatMap((stint) => {
    const rows: Row[] = []
    const first = Math.ceil(Math.max(stint.from, from) / GRID - 1e-9)
    for (let i = first; i * GRID < stint.to && i * GRID + horizon <= to + 1e-9; i += 1) {
      const at = i * GRID
      rows.push({
        pool: stint.pool,
        at,
        age: Math.max(0, at - stint.from),
        interrupted: stint.interrupted && stint.to <= at + horizon,
      })
    }
    return rows
  })
}

/** What has been lived through by a moment: nothing of it comes later. */
export function historyUntil(
  stints: readonly Stint[],
  until: number,
  bandOf: (pool: Pool) => InterruptionBand | null,
): readonly PoolHistory[] {
  const pools = Map.groupBy(
    stints.filter(({ from }) => from < until),
    ({ pool }) => poolId(pool),
  )
  return [...pools.values()].map((own) => ({
    pool: (own[0] as Stint).pool,
    band: bandOf((own[0] as Stint).pool),
    instanceHours: own.reduce((sum, { from, to }) => sum + Math.min(to, until) - from, 0),
    interruptions: own.filter(({ to, interrupted }) => interrupted && to <= until).length,
  }))
}

/** Multipliers of age and hour of day from what was lived through by a moment, against the rates of the book. */
export function multipliersUntil(
  stints: readonly Stint[],
  until: number,
  rateOf: (pool: Pool) => number,
): Multipliers {
  return multipliersFrom(
    stints
      .filter(({ from }) => from < until)
      .map(({ pool, from, to, interrupted }) => ({
        rate: rateOf(pool),
        begins: from % 24,
        ageHours: 0,
        hours: Math.min(to, until) - from,
        interrupted: interrupted && to <= until,
      })),
  )
}

/** The mean of the rate that the book has for a pool, per hour. */
export const meanRate = (book: RateBook, pool: Pool, band: InterruptionBand | null): number => {
  const { shape, hours } = book.rateOf(pool, band)
  return shape / hours
}
