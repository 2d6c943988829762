import { setImmediate } from 'node:timers/promises'
import { type Instant, instant, type Millis, minutes } from '@understudy/shared/core/time'
import type { PairedRow } from '@understudy/shared/experiments/blocks'
import type { Interval } from '@understudy/shared/market/interval'
import { parsePool } from '@understudy/shared/market/pool'
import type { Kysely, Schema } from '../storage/database.ts'

/** What models have said of pools while they were in the shadow of the active one, and what came of it. */
export interface ScoredRows {
  /**
   * Rows that both aliases (`shadow:…`) have scored in the same pass and that have a label, by pool and time. A row that only
   * one of them has, or whose label has not come, is left out.
   */
  paired(aliases: Aliases, range: Interval): Promise<readonly PairedRow[]>
}

interface Aliases {
  readonly control: string
  readonly treatment: string
}

/** One model's word on one pool. */
export interface Scored {
  readonly poolId: string
  readonly at: Instant
  readonly p: number
  readonly happened: boolean
  /** The alias itself, or what has answered in its place. */
  readonly answeredBy: string
  /** Share of the look-back without real prices. */
  readonly filled: number
}

interface Run {
  readonly id: number
  readonly at: number
}

/** Of what the coordinator keeps of its predictions, pass by pass: a block has hundreds of thousands of rows. */
export function createScoredRows(db: Kysely<Schema>): ScoredRows {
  const runsOf = (alias: string, from: number, to: number): Promise<Run[]> =>
    db
      .selectFrom('prediction_runs')
      .select(['id', 'at'])
      .where('alias', '=', alias)
      .where('at', '>=', from)
      .where('at', '<', to)
      .orderBy('at')
      .execute()

  async function rowsOf({ id }: Run): Promise<Scored[]> {
    const rows = await db
      .selectFrom('predictions_log as l')
      .innerJoin('prediction_runs as r', 'r.id', 'l.run')
      .innerJoin('pools', 'pools.id', 'l.pool')
      .select(['pools.pool_id', 'l.at', 'l.p', 'l.label', 'l.filled', 'r.answered_by'])
      .where('l.run', '=', id)
      .where('l.label', 'is not', null)
      .execute()
    // Whoever holds a lease is heard in between.
    await setImmediate()
    return rows.map((row) => ({
      poolId: row.pool_id,
      at: instant(row.at),
      p: row.p,
      happened: row.label === 1,
      answeredBy: row.answered_by,
      filled: row.filled,
    }))
  }

  return {
    async paired({ control, treatment }, { from, to }) {
      const others = await runsOf(treatment, from - SAME_PASS, to + SAME_PASS)
      const rows: PairedRow[] = []
      let next = 0
      for (const run of await runsOf(control, from, to)) {
        while (next < others.length && (others[next] as Run).at < run.at - SAME_PASS) next += 1
        const other = others[next]
        if (!other || other.at > run.at + SAME_PASS) continue
        next += 1
        const own = await rowsOf(run)
        if (own.length > 0) for (const row of pair(own, await rowsOf(other))) rows.push(row)
      }
      return rows
    },
  }
}

/** Passes are five minutes apart; within one, an alias is asked after the other. */
const SAME_PASS: Millis = minutes(2)

/** Puts together what both say of the same pool in the same pass. */
export function pair(control: readonly Scored[], treatment: readonly Scored[]): PairedRow[] {
  const byPool = Map.groupBy([...treatment].sort(inTime), ({ poolId }) => poolId)
  const rows: PairedRow[] = []
  for (const [poolId, own] of Map.groupBy([...control].sort(inTime), (row) => row.poolId)) {
    const others = byPool.get(poolId) ?? []
    const pool = parsePool(poolId)
    let next = 0
    for (const row of own) {
      while (next < others.length && (others[next] as Scored).at < row.at - SAME_PASS) next += 1
      const other = others[next]
      if (!other || other.at > row.at + SAME_PASS) continue
      next += 1
      rows.push({
        pool,
        at: row.at,
        controlP: row.p,
        treatmentP: other.p,
        happened: row.happened,
        excluded: excludedBy(row, other),
      })
    }
  }
  return rows
}

/** Eight hours of a week: that prices of the last minutes are not there yet is usual. */
const FILLED = 0.05

const inTime = (a: Scored, b: Scored): number => a.at - b.at

function excludedBy(...both: readonly Scored[]): PairedRow['excluded'] {
  if (both.some(({ answeredBy }) => answeredBy !== 'alias')) return 'fallback'
  return both.some(({ filled }) => filled > FILLED) ? 'gap_filled' : null
}
