import { createAdwin } from './adwin.ts'
import type { DriftLevel } from './drift.ts'
import { createPageHinkley } from './page-hinkley.ts'

/** The mean Brier loss of one group of pools in 12 hours. */
export interface LossBlock {
  readonly at: number
  readonly group: string
  readonly brier: number
}

export interface LossDrift {
  readonly level: DriftLevel | 'improved'
  /** When the last change was noticed. */
  readonly since: number | null
  readonly before: number | null
  readonly after: number | null
  /** What the second detector says. */
  readonly pageHinkley: boolean
}

/** So many 12-hour blocks in succession above the loss of before make a warning an alert. */
const WORSE_BLOCKS = 2
const LAMBDA = 10

/**
 * Follows the loss of a model block by block, in order of time. Only a rise is a reason to worry, and as long as the loss
 * stays above what it was before.
 */
export function lossDrift(blocks: readonly LossBlock[]): LossDrift {
  const ordered = [...blocks].sort((a, b) => a.at - b.at || (a.group < b.group ? -1 : 1))
  const adwin = createAdwin()
  const second = createPageHinkley({ lambda: LAMBDA })
  let found: { rise: boolean; since: number; before: number } | undefined
  let pageHinkley = false
  let earlier = 0
  for (const [i, { at, brier }] of ordered.entries()) {
    pageHinkley = second.update(brier) || pageHinkley
    const change = adwin.update(brier)
    if (!change) continue
    // What has left the window is what was before.
    const end = i + 1 - adwin.width
    const before = meanOf(ordered.slice(earlier, end))
    if (end > earlier) found = { rise: change === 'rise', since: at, before }
    earlier = end
  }
  if (!found) return { level: 'ok', since: null, before: null, after: null, pageHinkley }
  const { rise, since, before } = found
  const after = adwin.mean
  const level = rise ? levelAfter(ordered, since, before) : 'improved'
  return { level, since, before, after, pageHinkley }
}

function levelAfter(ordered: readonly LossBlock[], since: number, before: number): DriftLevel {
  const times = Map.groupBy(
    ordered.filter(({ at }) => at >= since),
    ({ at }) => at,
  )
  const last = [...times.values()].slice(-WORSE_BLOCKS).map((block) => meanOf(block) > before)
  if (last.every((worse) => !worse)) return 'ok'
  return last.length === WORSE_BLOCKS && last.every((worse) => worse) ? 'alert' : 'warn'
}

const meanOf = (blocks: readonly LossBlock[]): number =>
  blocks.reduce((sum, { brier }) => sum + brier, 0) / blocks.length
