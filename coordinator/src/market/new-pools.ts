import { hours, type Instant } from '@understudy/shared/core/time'
import type { SubmittedRow } from './ingest.ts'

/** How many pools one agent may name first in a day (UTC). An agent samples its type in the zones of its region. */
export const MOST_NEW_POOLS = 500

const DAY = hours(24)

/** Bounds the pools that agents bring into being: without a catalog every well-formed name would be one for ever. */
export interface NewPools {
  /** The rows as they were, of which those of one new pool too many are refused. */
  limit(agentId: string, rows: readonly SubmittedRow[], now: Instant): Promise<readonly SubmittedRow[]>
}

/** Counts since the coordinator started; what it forgets at a restart is at most one day's worth. */
export function createNewPools(unknown: (poolIds: Iterable<string>) => Promise<string[]>): NewPools {
  let day = 0
  const named = new Map<string, Set<string>>()

  return {
    async limit(agentId, rows, now) {
      const fresh = await unknown(
        rows.filter(({ refused }) => !refused).map(({ given }) => String(given.pool)),
      )
      if (fresh.length === 0) return rows
      const today = Math.floor(now / DAY)
      if (today !== day) named.clear()
      day = today
      const own = named.get(agentId) ?? new Set<string>()
      named.set(agentId, own)
      const over = new Set<unknown>()
      for (const pool of fresh)
        if (own.has(pool) || own.size < MOST_NEW_POOLS) own.add(pool)
        else over.add(pool)
      return over.size === 0 ? rows : rows.map((row) => (over.has(row.given.pool) ? refuse(row) : row))
    },
  }
}

const refuse = (row: SubmittedRow): SubmittedRow =>
  row.refused
    ? row
    : {
        ...row,
        refused: {
          code: 'pool_too_many',
          reason: `nothing was known of ${String(row.given.pool)}, and this agent has already named ${MOST_NEW_POOLS} new pools today`,
        },
      }
