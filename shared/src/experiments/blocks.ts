import type { Instant, Millis } from '../core/time.ts'
import type { Pool } from '../market/pool.ts'
import { familyGroupOf } from '../market/pool-groups.ts'

/**
 * Scores of one hour are like those of the next, and those of pools of one family like each other. So rows are averaged over a
 * group of pools and half a day, and only these blocks are counted as observations: row by row, equal models get a winner
 * in nearly every run.
 */
export interface PairedRow {
  readonly pool: Pool
  /** When it was predicted. */
  readonly at: Instant
  readonly controlP: number
  readonly treatmentP: number
  readonly happened: boolean
  /** Another model answered in place of one of the two, or inputs were filled in: counted, and left out. */
  readonly excluded: 'fallback' | 'gap_filled' | null
}

/** All rows of one block; written once and never changed. */
export interface BlockSummary {
  readonly group: string
  /** Number of the block since 1970. */
  readonly index: number
  readonly rows: number
  readonly excludedFallback: number
  readonly excludedGapFilled: number
  readonly positives: number
  readonly controlLoss: number
  readonly treatmentLoss: number
  /** Events that each model gave less than its threshold. */
  readonly missedControl: number
  readonly missedTreatment: number
}

export interface BlockRules {
  readonly length: Millis
  /** How long after its end a block still takes labels: horizon, delay and some more. */
  readonly settle: Millis
  readonly loss: PairedLoss
  readonly controlThreshold: number
  readonly treatmentThreshold: number
}

export const pairedLosses = ['brier', 'log_loss'] as const
export type PairedLoss = (typeof pairedLosses)[number]

export const blockIndex = (at: Instant, length: Millis): number => Math.floor(at / length)
export const blockStart = (index: number, length: Millis): Instant => (index * length) as Instant

/** The last block whose labels are complete at `at`. The caller keeps it from going back when its clock does. */
export const lastSettled = (at: Instant, { length, settle }: Pick<BlockRules, 'length' | 'settle'>): number =>
  Math.floor((at - settle) / length) - 1

/** Probabilities are kept this far from 0 and 1. */
const CLIP = 1e-6

const losses: Readonly<Record<PairedLoss, (p: number, happened: boolean) => number>> = {
  brier: (p, happened) => (p - (happened ? 1 : 0)) ** 2,
  log_loss: (p, happened) => -Math.log(Math.min(1 - CLIP, Math.max(CLIP, happened ? p : 1 - p))),
}

/** One summary for each block that has rows, in order of time and group. */
export function summarise(rows: readonly PairedRow[], rules: BlockRules): BlockSummary[] {
  const blocks = new Map<string, PairedRow[]>()
  for (const row of rows) {
    const key = `${String(blockIndex(row.at, rules.length)).padStart(9, '0')} ${familyGroupOf(row.pool)}`
    const known = blocks.get(key)
    if (known) known.push(row)
    else blocks.set(key, [row])
  }
  return [...blocks].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, block]) => summaryOf(block, rules))
}

function summaryOf(rows: readonly PairedRow[], rules: BlockRules): BlockSummary {
  const loss = losses[rules.loss]
  const counted = rows.filter(({ excluded }) => excluded === null)
  const positives = counted.filter(({ happened }) => happened)
  const mean = (of: (row: PairedRow) => number) =>
    counted.length === 0 ? 0 : counted.reduce((sum, row) => sum + of(row), 0) / counted.length
  const [first] = rows as [PairedRow]
  return {
    group: familyGroupOf(first.pool),
    index: blockIndex(first.at, rules.length),
    rows: counted.length,
    excludedFallback: rows.filter(({ excluded }) => excluded === 'fallback').length,
    excludedGapFilled: rows.filter(({ excluded }) => excluded === 'gap_filled').length,
    positives: positives.length,
    controlLoss: mean((row) => loss(row.controlP, row.happened)),
    treatmentLoss: mean((row) => loss(row.treatmentP, row.happened)),
    missedControl: positives.filter(({ controlP }) => controlP < rules.controlThreshold).length,
    missedTreatment: positives.filter(({ treatmentP }) => treatmentP < rules.treatmentThreshold).length,
  }
}
