import { familyOf } from '@understudy/shared/market/pool-groups'
import type { Counted, DataQuality } from '@understudy/shared/models/drift'
import { binCount, binOf, type Reference } from '@understudy/shared/models/psi'
import type { ModelFeature, ModelManifest } from '@understudy/shared/protocol/model-manifest'
import { BLOCK } from './labels.ts'
import { filledShare, type LeftOut } from './pool-features.ts'
import type { Scores } from './scoring.ts'

/** What a window has seen so far: plain JSON, so that a restart loses nothing. */
export interface DriftCounts {
  rows: number
  /** Pools seen in each block of 12 h; blocks before the last one by their number alone. */
  effective: number
  block: number
  blockPools: string[]
  /** By subject, in the bins of training. */
  bins: Record<string, number[]>
  nulls: Record<string, number>
  outOfRange: number
  filled: number
  stale: number
  unseen: number
}

export const noCounts = (): DriftCounts => ({
  ...{ rows: 0, effective: 0, block: 0, blockPools: [], bins: {}, nulls: {} },
  ...{ outOfRange: 0, filled: 0, stale: 0, unseen: 0 },
})

/** The name under which the score is watched; no feature is called so. */
export const SCORE = 'score'

const scoreReference = ({ output }: ModelManifest): Reference | undefined =>
  (output as { ref?: Reference }).ref

/** Adds one run. */
export function addScores(counts: DriftCounts, scores: Scores): void {
  const { features } = scores.prediction.model.manifest.input
  for (const [column, feature] of features.entries()) addFeature(counts, scores, feature, column)
  addProbabilities(counts, scores)
  addPools(counts, scores)
  addLeft(counts, scores.left.values())
  counts.rows += scores.pools.length
}

/** Adds pools that were not asked about. */
export function addLeft(counts: DriftCounts, left: Iterable<LeftOut>): void {
  for (const why of left) if (why === 'STALE_PRICE') counts.stale += 1
}

function addFeature(counts: DriftCounts, scores: Scores, feature: ModelFeature, column: number): void {
  const width = scores.prediction.model.manifest.input.features.length
  const reference: Reference | undefined = feature.ref
  const bins = reference && binsOf(counts, feature.name, reference)
  let nulls = 0
  for (let i = column; i < scores.values.length; i += width) {
    const v = scores.values[i] as number
    if (Number.isNaN(v)) nulls += 1
    else if (v < feature.min || v > feature.max) counts.outOfRange += 1
    if (bins) count(bins, binOf(reference, v))
  }
  counts.nulls[feature.name] = (counts.nulls[feature.name] ?? 0) + nulls
}

function addProbabilities(counts: DriftCounts, { prediction }: Scores): void {
  const reference = scoreReference(prediction.model.manifest)
  const bins = reference && binsOf(counts, SCORE, reference)
  if (bins) for (const p of prediction.p) count(bins, binOf(reference, Math.fround(p)))
}

function addPools(counts: DriftCounts, { pools, prediction, at }: Scores): void {
  const families = new Set(prediction.model.manifest.coverage.families)
  const block = Math.floor(at / BLOCK)
  const seen = new Set(block === counts.block ? counts.blockPools : [])
  for (const priced of pools) {
    counts.filled += filledShare(priced, at)
    if (!families.has(familyOf(priced.pool))) counts.unseen += 1
    if (!seen.has(priced.id)) counts.effective += 1
    seen.add(priced.id)
  }
  counts.block = block
  counts.blockPools = [...seen]
}

const count = (bins: number[], bin: number): void => {
  bins[bin] = (bins[bin] ?? 0) + 1
}

function binsOf(counts: DriftCounts, subject: string, reference: Reference): number[] {
  const bins = counts.bins[subject] ?? new Array<number>(binCount(reference)).fill(0)
  counts.bins[subject] = bins
  return bins
}

/** Everything that training has left a distribution of. */
export function subjectsOf(counts: DriftCounts, manifest: ModelManifest): Counted[] {
  const references = new Map<string, Reference | undefined>([
    ...manifest.input.features.map(({ name, ref }) => [name, ref as Reference | undefined] as const),
    [SCORE, scoreReference(manifest)],
  ])
  return [...references].flatMap(([subject, reference]) => {
    const own = counts.bins[subject]
    return reference && own ? [{ subject, reference, counts: own }] : []
  })
}

export function qualityOf(counts: DriftCounts, manifest: ModelManifest): DataQuality {
  const { features } = manifest.input
  const rows = Math.max(1, counts.rows)
  const missing = features.map(({ name, ref }) => {
    const n = ref ? ref.counts.reduce((sum, count) => sum + count, 0) + ref.null_count : 0
    const usual = ref && n > 0 ? ref.null_count / n : 0
    return (counts.nulls[name] ?? 0) / rows - usual
  })
  return {
    missing: Math.max(0, ...missing),
    out_of_range: counts.outOfRange / (rows * features.length),
    gap_filled: counts.filled / rows,
    stale: counts.stale / Math.max(1, counts.rows + counts.stale),
    unseen_family: counts.unseen / rows,
  }
}
