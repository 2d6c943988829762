import { wilson } from './wilson.ts'

/** Predictions with their labels: row i is `p[i]`, `y[i]`, of block `block[i]`. */
export interface ScoredRows {
  readonly p: Float64Array
  /** 1 where it happened. */
  readonly y: Uint8Array
  /** Rows of one block (a pool, 12 h) say the same and count as one. */
  readonly block: Float64Array | Int32Array
}

/** A share with its 95 % interval; `value` is null where there are too few labels for it. */
export interface Ratio {
  readonly value: number | null
  readonly low: number | null
  readonly high: number | null
  readonly why: string | null
}

export interface Accuracy {
  readonly rows: number
  readonly positives: number
  readonly effectiveN: number
  readonly effectivePositives: number
  readonly threshold: number
  readonly tp: number
  readonly fp: number
  readonly fn: number
  readonly tn: number
  readonly precision: Ratio
  readonly recall: Ratio
  /** 1 - precision. */
  readonly fdr: Ratio
  /** False positives of what did not happen. */
  readonly fpr: Ratio
  /** What happened unseen. */
  readonly fnr: Ratio
  readonly baseRate: Ratio
  readonly f1: number | null
  readonly auc: number | null
  readonly brier: number | null
  readonly logLoss: number | null
  readonly ece: number | null
  readonly why: string | null
}

const FEWEST = 50
const FEWEST_POSITIVES = 10
const CLIP = 1e-6
const BINS = 10

/** At and above `threshold` a row counts as predicted. */
export function accuracyOf({ p, y, block }: ScoredRows, threshold: number): Accuracy {
  let [tp, fp, fn, tn] = [0, 0, 0, 0]
  const blocks = new Set<number>()
  const positiveBlocks = new Set<number>()
  for (let i = 0; i < p.length; i++) {
    const predicted = (p[i] as number) >= threshold
    blocks.add(block[i] as number)
    if (y[i] === 1) positiveBlocks.add(block[i] as number)
    if (y[i] === 1) predicted ? tp++ : fn++
    else predicted ? fp++ : tn++
  }
  const rows = p.length
  const positives = tp + fn
  const effectiveN = blocks.size
  const effectivePositives = positiveBlocks.size
  const why = tooFew(effectiveN, effectivePositives)
  const independent = rows === 0 ? 0 : effectiveN / rows
  const ratio = (hits: number, of: number): Ratio => {
    if (why !== null || of === 0)
      return { value: null, low: null, high: null, why: why ?? 'there is nothing to take a share of' }
    const [low, high] = wilson(hits * independent, of * independent)
    return { value: hits / of, low, high, why: null }
  }
  const shown = (value: () => number): number | null => (why === null ? value() : null)
  const order = why === null ? orderOf(p) : undefined
  const precision = ratio(tp, tp + fp)
  const recall = ratio(tp, positives)
  return {
    ...{ rows, positives, effectiveN, effectivePositives, threshold, tp, fp, fn, tn, precision, recall, why },
    fdr: ratio(fp, tp + fp),
    fpr: ratio(fp, fp + tn),
    fnr: ratio(fn, positives),
    baseRate: ratio(positives, rows),
    f1: shown(() => (2 * tp) / (2 * tp + fp + fn)),
    auc: positives === 0 || positives === rows ? null : shown(() => aucOf(p, y, order)),
    brier: shown(() => brierOf(p, y)),
    logLoss: shown(() => logLossOf(p, y)),
    ece: shown(() => eceOf(p, y, order)),
  }
}

function tooFew(n: number, positives: number): string | null {
  if (positives < FEWEST_POSITIVES)
    return `not enough labels: ${positives} of ${FEWEST_POSITIVES} blocks in which it happened`
  return n < FEWEST ? `not enough labels: ${n} of ${FEWEST} blocks` : null
}

/** Area under the ROC curve by ranks, with midranks for ties. */
export function aucOf(p: Float64Array, y: Uint8Array, order = orderOf(p)): number {
  let positives = 0
  let rankSum = 0
  for (let i = 0; i < order.length; ) {
    let j = i
    let hits = 0
    for (; j < order.length && p[order[j] as number] === p[order[i] as number]; j++)
      hits += y[order[j] as number] as number
    rankSum += hits * ((i + 1 + j) / 2)
    positives += hits
    i = j
  }
  const negatives = p.length - positives
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives)
}

export function brierOf(p: Float64Array, y: Uint8Array): number {
  return p.reduce((sum, value, i) => sum + (value - (y[i] as number)) ** 2, 0) / p.length
}

/** In nats; a probability is never taken for certain. */
export function logLossOf(p: Float64Array, y: Uint8Array): number {
  return (
    p.reduce((sum, value, i) => {
      const q = Math.min(1 - CLIP, Math.max(CLIP, value))
      return sum - (y[i] === 1 ? Math.log(q) : Math.log(1 - q))
    }, 0) / p.length
  )
}

/** Expected calibration error over ten bins of as many rows each. */
export function eceOf(p: Float64Array, y: Uint8Array, order = orderOf(p)): number {
  let error = 0
  for (let bin = 0; bin < BINS; bin++) {
    const members = order.subarray(
      Math.floor((bin * order.length) / BINS),
      Math.floor(((bin + 1) * order.length) / BINS),
    )
    let difference = 0
    for (const i of members) difference += (p[i] as number) - (y[i] as number)
    error += Math.abs(difference) / order.length
  }
  return error
}

const orderOf = (p: Float64Array): Uint32Array =>
  Uint32Array.from(p, (_, i) => i).sort((a, b) => (p[a] as number) - (p[b] as number) || a - b)
