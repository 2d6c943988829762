import type { GapFillTask } from '@understudy/shared/protocol/model-data'
import { formatAge, formatNumberOf } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

const marks: Readonly<Record<GapFillTask['status'], Mark>> = {
  in_progress: { tone: 'standby', shape: 'ring', word: 'Under way' },
  completed: { tone: 'healthy', shape: 'circle', word: 'Completed' },
  failed: { tone: 'failed', shape: 'cross', word: 'Failed' },
  cancelled: { tone: 'unknown', shape: 'dash', word: 'Cancelled' },
}
export const fillMark = (status: GapFillTask['status']): Mark => marks[status]

export const triggerWords: Readonly<Record<GapFillTask['trigger'], string>> = {
  manual: 'by hand',
  start: 'after the start',
  activation: 'after an activation',
  refresh: 'by a refresh',
}

/** `4,210 prices fetched · 43% of what was missing · about 40 s left` */
export function fillSentence({
  records_filled: rows,
  percent_complete: done,
  eta_seconds: eta,
}: GapFillTask): string {
  const parts = [`${formatNumberOf(rows, 'price')} fetched`, `${done.toFixed(0)}% of what was missing`]
  if (eta !== null) parts.push(`about ${formatAge(eta * 1000)} left`)
  return parts.join(' · ')
}
