import type { Random } from '../core/random.ts'
import { hours, instant } from '../core/time.ts'
import { parsePool } from '../market/pool.ts'
import type { BlockSummary, PairedRow } from './blocks.ts'
import type { ExperimentPlan } from './plan.ts'

/** Box and Muller. */
export const normal = (random: Random): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

export const pairedRow = (
  row: Partial<Omit<PairedRow, 'pool' | 'at'>> & { readonly pool?: string; readonly hour?: number } = {},
): PairedRow => ({
  controlP: 0.2,
  treatmentP: 0.2,
  happened: false,
  excluded: null,
  ...row,
  pool: parsePool(row.pool ?? 'c5.large@us-east-1a'),
  at: instant(hours(row.hour ?? 0)),
})

export const block = (summary: Partial<BlockSummary> = {}): BlockSummary => ({
  group: 'c5@us-east-1',
  index: 0,
  rows: 100,
  excludedFallback: 0,
  excludedGapFilled: 0,
  positives: 5,
  controlLoss: 0.1,
  treatmentLoss: 0.1,
  missedControl: 1,
  missedTreatment: 1,
  ...summary,
})

export const plan = (change: Partial<ExperimentPlan> = {}): ExperimentPlan => ({
  kind: 'shadow',
  hypothesis: 'the treatment has the smaller loss',
  metric: 'brier',
  direction: 'lower',
  margin: 0,
  alpha: 0.05,
  arms: [
    { name: 'control', modelId: 'model-a', weight: 5000 },
    { name: 'treatment', modelId: 'model-b', weight: 5000 },
  ],
  unit: 'row',
  blockLength: hours(12),
  planned: 200,
  minDuration: hours(7 * 24),
  maxDuration: hours(60 * 24),
  guardrails: { missedMargin: 0.05 },
  ...change,
})
