import type { ExperimentResults, ExperimentView } from '@understudy/shared/protocol/experiments'
import { formatShare, NOTHING } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

type Verdict = NonNullable<ExperimentResults['verdict']>['verdict']
type Treatment = ExperimentResults['treatments'][number]

const verdicts: Readonly<Record<Verdict, Mark>> = {
  INSUFFICIENT: { tone: 'unknown', shape: 'dash', word: 'Not enough data to compare' },
  WINNER: { tone: 'healthy', shape: 'circle', word: 'One is better' },
  FUTILE: { tone: 'standby', shape: 'ring', word: 'No difference worth having' },
  INCONCLUSIVE: { tone: 'unknown', shape: 'dash', word: 'Not settled in its time' },
  INVALID_SRM: { tone: 'failed', shape: 'cross', word: 'Invalid: arms not filled as planned' },
  STOPPED_BY_GUARD: { tone: 'failed', shape: 'cross', word: 'Stopped by a guard' },
}
export const verdictMark = (verdict: Verdict): Mark => verdicts[verdict]

const statuses: Readonly<Record<ExperimentView['status'], Mark>> = {
  REGISTERED: { tone: 'standby', shape: 'half', word: 'Registered' },
  RUNNING: { tone: 'standby', shape: 'ring', word: 'Running' },
  ENDED: { tone: 'unknown', shape: 'dash', word: 'Ended' },
}
export const statusMark = (status: ExperimentView['status']): Mark => statuses[status]

export const metricWords: Readonly<Record<ExperimentView['metric'], string>> = {
  brier: 'Brier loss',
  log_loss: 'log loss',
  interruption_rate: 'interruptions',
  cost_per_useful_hour: 'USD per useful hour',
}

export const unitWords: Readonly<Record<ExperimentView['unit'], string>> = {
  row: 'row',
  instance: 'instance',
  pool_day: 'pool, day by day',
}

/** The interval of a treatment against control, and never a single number without one. */
export function differenceSentence({ difference, events }: Treatment): string {
  if (difference) {
    const { lower, upper, mean, n } = difference
    const end = (value: number | null) => (value === null ? 'unbounded' : value.toPrecision(3))
    if (n === 0) return 'no blocks yet'
    return `${mean.toPrecision(3)} (95% interval ${end(lower)} to ${end(upper)}, ${n} blocks); above 0 it is better than control`
  }
  if (events) {
    const ratio = events.ratio === null ? NOTHING : events.ratio.toFixed(2)
    return `${events.treatment} events against ${events.control} of control; ratio ${ratio} (${events.lower.toFixed(2)} to ${events.upper === null ? 'unbounded' : events.upper.toFixed(2)})`
  }
  return 'nothing is measured yet'
}

/** `0.40 (0.12 to 0.77)` */
export const rangeOf = (value: number, range: { lower: number; upper: number } | null): string =>
  range === null
    ? NOTHING
    : `${formatShare(value)} (${formatShare(range.lower)} to ${formatShare(range.upper)})`
