import type { PromotionPlan } from '@understudy/shared/protocol/replicas'
import { formatBytes, formatPool, formatPrice, formatTook, NOTHING } from '../../ui/format.ts'

export interface Fact {
  readonly name: string
  readonly value: string
}

/** What a promotion would do, as it is shown. */
export function factsOf(plan: PromotionPlan): readonly Fact[] {
  const { stops, starts, state_behind: behind } = plan
  return [
    {
      name: 'Stops',
      value: stops ? `${stops.instance_id} (${formatPool(stops.pool_id)})` : 'nothing: no primary',
    },
    {
      name: 'Starts serving',
      value: `${starts.instance_id ?? 'no instance yet'} (${formatPool(starts.pool_id)})`,
    },
    { name: 'State behind', value: behindOf(behind.ms, behind.bytes) },
    { name: 'Expected gap', value: gapOf(plan) },
    { name: 'Price change', value: priceChangeOf(plan.price_change) },
    { name: 'Epoch', value: `${plan.epoch} → ${plan.epoch + 1}` },
    { name: 'Undo', value: plan.undo },
  ]
}

function behindOf(millis: number | null, bytes: number | null): string {
  if (millis === null && bytes === null) return 'not known'
  return `${millis === null ? NOTHING : formatTook(millis)} · ${bytes === null ? NOTHING : formatBytes(bytes)}`
}

function gapOf({ expected_gap_ms: millis, expected_gap_samples: samples }: PromotionPlan): string {
  if (millis === null || samples === 0) return 'no moves yet to learn it from'
  return `${formatTook(millis)} (p50 of ${samples === 1 ? 'the one move so far' : `the last ${samples}`})`
}

function priceChangeOf(change: number | null): string {
  if (change === null) return 'not known'
  if (change === 0) return 'none'
  return `${change < 0 ? '−' : '+'}$${formatPrice(Math.abs(change))} per hour`
}

/** In what the two differ that somebody may have decided by, in words; figures that only drift are not in it. */
export function materialChanges(read: PromotionPlan, now: PromotionPlan): readonly string[] {
  const changes: string[] = []
  if (read.epoch !== now.epoch) changes.push(`The epoch is ${now.epoch} now; it was ${read.epoch}.`)
  const before = read.stops?.instance_id
  const after = now.stops?.instance_id
  if (before !== after) changes.push(`The primary is ${after ?? 'nobody'} now; it was ${before ?? 'nobody'}.`)
  if (read.starts.instance_id !== now.starts.instance_id)
    changes.push(`The replica runs on ${now.starts.instance_id ?? 'no instance'} now.`)
  if (read.possible !== now.possible)
    changes.push(now.possible ? 'The promotion is possible now.' : 'The promotion is not possible any more.')
  return changes
}
