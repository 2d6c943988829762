import type { Instant } from '@understudy/shared/core/time'
import { type GapClass, gapClasses } from '@understudy/shared/market/gap'
import type { InterpolationMethod } from '@understudy/shared/market/interpolate'
import type { GapView } from '@understudy/shared/protocol/market'
import type { ListedGap } from './gap-store.ts'

/** What the market knows, as the API says it. */

export const timeOf = (at: Instant): string => new Date(at).toISOString()

export const timeOrNull = (at: number | null): string | null =>
  at === null ? null : new Date(at).toISOString()

/** Longer ones of the class `long` are less certain (shared/market/interpolate.ts). */
const LONG_BUCKETS = 24

export function gapViewOf(gap: ListedGap): GapView {
  const gapClass = gapClasses.find((known) => known === gap.class) ?? 'blackout'
  const how = gap.status === 'filled' ? howFilled(gapClass, gap.buckets) : undefined
  return {
    pool_id: gap.poolId,
    from: timeOf(gap.from),
    to: timeOf(gap.to),
    buckets: gap.buckets,
    gap_class: gapClass,
    status: statusOf(gap.status),
    reason: gap.reason,
    method: how?.method ?? null,
    confidence: how?.confidence ?? null,
    batch_id: gap.batchId,
    found_at: timeOf(gap.foundAt),
  }
}

const statusOf = (status: string): GapView['status'] =>
  status === 'filled' || status === 'empty' || status === 'stale' ? status : 'open'

function howFilled(
  gapClass: GapClass,
  buckets: number,
): { method: InterpolationMethod; confidence: number } | undefined {
  switch (gapClass) {
    case 'short':
      return { method: 'linear', confidence: 0.85 }
    case 'medium':
      return { method: 'weighted-average', confidence: 0.75 }
    case 'long':
      return { method: 'cross-pool', confidence: buckets <= LONG_BUCKETS ? 0.7 : 0.6 }
    case 'blackout':
      return undefined
  }
}
