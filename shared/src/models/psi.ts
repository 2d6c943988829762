import { chiSquaredQuantile, chiSquaredTail } from './chi-squared.ts'

/** How a feature or the score was distributed in training, as in a manifest (`ref`). */
export interface Reference {
  /** Ascending. Bin i is `[edges[i], edges[i + 1])`, the last one closed. */
  readonly edges: readonly number[]
  /** Of the bins between the edges, or of those and the two outside of them, below and above. */
  readonly counts: readonly number[]
  readonly null_count: number
}

/** Null, below, the bins between the edges, above. */
export const binCount = ({ edges }: Reference): number => edges.length + 2

/** Frozen at training: the bins of current data never follow the data. */
export function binOf({ edges }: Reference, v: number): number {
  if (Number.isNaN(v)) return 0
  const last = edges.length - 1
  if (v === edges[last]) return last + 1
  let low = 0
  let high = edges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((edges[middle] as number) <= v) low = middle + 1
    else high = middle
  }
  return low + 1
}

/** The counts of training in the same bins. */
export function referenceCounts({ edges, counts, null_count }: Reference): number[] {
  return counts.length === edges.length + 1 ? [null_count, ...counts] : [null_count, 0, ...counts, 0]
}

/** Population stability index of shares: `sum (c - r) ln(c / r)`. No share may be 0. */
export const psiOf = (reference: readonly number[], current: readonly number[]): number =>
  reference.reduce((sum, r, i) => {
    const c = current[i] as number
    return sum + (c - r) * Math.log(c / r)
  }, 0)

export interface PsiResult {
  readonly psi: number
  /** Bins that either has anything in. */
  readonly bins: number
  /** That no drift at all gives so much or more. */
  readonly pValue: number
  readonly warnFrom: number
  readonly alertFrom: number
}

/** Tail of chi-squared below which a PSI is taken for chance, whatever the customary 0.1 says. */
const CHANCE = 0.001
const WARN = 0.1
const ALERT = 0.25

/**
 * Compares counts, with add-half smoothing `(count + 0.5) / (n + 0.5 B)`. Without drift PSI is distributed like
 * `(1/n + 1/m) chi-squared(B - 1)` (Yurdakul 2018), so that the thresholds grow when there are few rows.
 * @param effective how many of the current rows are independent; their counts weigh so much
 */
export function comparePsi(
  reference: readonly number[],
  current: readonly number[],
  effective: number,
): PsiResult {
  const used = reference.flatMap((r, i) => (r > 0 || (current[i] as number) > 0 ? [i] : []))
  const bins = used.length
  const n = sum(reference)
  const m = sum(current)
  if (bins < 2 || n === 0 || m === 0) return { psi: 0, bins, pValue: 1, warnFrom: WARN, alertFrom: ALERT }
  const weight = effective / m
  const share = (count: number, of: number) => (count + 0.5) / (of + 0.5 * bins)
  const psi = psiOf(
    used.map((i) => share(reference[i] as number, n)),
    used.map((i) => share((current[i] as number) * weight, effective)),
  )
  const scale = 1 / n + 1 / effective
  return { psi, bins, pValue: chiSquaredTail(psi / scale, bins - 1), ...psiThresholds(n, effective, bins) }
}

/** `max(0.10, chi-squared(B - 1; 0.999) (1/n + 1/m))` and the same with 0.25. */
export function psiThresholds(n: number, m: number, bins: number): { warnFrom: number; alertFrom: number } {
  const chance = chiSquaredQuantile(CHANCE, bins - 1) * (1 / n + 1 / m)
  return { warnFrom: Math.max(WARN, chance), alertFrom: Math.max(ALERT, chance) }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
