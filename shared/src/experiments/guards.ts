import { chiSquaredTail } from '../models/chi-squared.ts'
import { ALL_WEIGHT, type Arm } from './assignment.ts'
import type { BlockSummary } from './blocks.ts'
import { type Interval, intervalOf } from './confidence-sequence.ts'

/** Below this the arms were not filled as planned, and nothing that is compared between them means anything. */
const SRM_P = 0.001
/** Chi-square holds from so many expected units in each arm on; with fewer, chance alone looks like a fault. */
const SRM_EXPECTED = 5

export interface SampleRatio {
  readonly p: number
  readonly valid: boolean
}

/** Whether units came into the arms in the planned ratio: chi-square on their counts. */
export function sampleRatio(arms: readonly Arm[], counts: readonly number[]): SampleRatio {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total === 0) return { p: 1, valid: true }
  const chi = arms.reduce((sum, { weight }, i) => {
    const expected = (total * weight) / ALL_WEIGHT
    return sum + ((counts[i] ?? 0) - expected) ** 2 / expected
  }, 0)
  const p = chiSquaredTail(chi, arms.length - 1)
  const fewest = Math.min(...arms.map(({ weight }) => (total * weight) / ALL_WEIGHT))
  return { p, valid: p >= SRM_P || fewest < SRM_EXPECTED }
}

/** How much more of the events a treatment may miss than control. */
export const MISSED_MARGIN = 0.05
const GUARD_ALPHA = 0.01
/** Fewer say nothing yet: the sequence holds for many. */
const GUARD_BLOCKS = 10

export interface SafetyGuard {
  /** Missed events of the treatment less those of control, as a share of events, per block that had any. */
  readonly missed: Interval
  readonly breached: boolean
}

/** Stops an experiment as soon as it is certain that the treatment misses more events than it may. */
export function safetyGuard(
  blocks: readonly BlockSummary[],
  planned: number,
  margin: number = MISSED_MARGIN,
): SafetyGuard {
  const differences = blocks
    .filter(({ positives }) => positives > 0)
    .map((block) => (block.missedTreatment - block.missedControl) / block.positives)
  const missed = intervalOf(differences, { alpha: GUARD_ALPHA, planned })
  return { missed, breached: missed.n >= GUARD_BLOCKS && missed.lower > margin }
}

/** Two arms in one pool compete for its capacity: above this share of it whole pools are assigned instead. */
const POOL_SHARE = 0.1

/** @param ours instances of the experiment in the pool; @param own all of one's own instances there */
export const interferes = (ours: number, own: number): boolean => own > 0 && ours / own > POOL_SHARE
