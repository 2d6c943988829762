import type { PredictionView } from '@understudy/shared/protocol/predictions'
import type { ChartKind, ChartSeries } from '../chart/chart-data.ts'

/** Below this share of real prices in the week before, a prediction is drawn as an uncertain one. */
const SURE_FROM = 0.5

export const predictionWords: Readonly<Record<ChartKind, string>> = {
  measured: 'what came of it',
  history: 'predicted',
  interpolated: 'predicted from less than half of the prices',
}

/** What was predicted, and what came of it: 100% where the price rose, 0% where it did not, nothing while nobody knows. */
export function predictionLines(items: readonly PredictionView[]): readonly ChartSeries[] {
  const predicted = items.map(({ at, p_instability_12h: value, confidence }) => ({
    at: Date.parse(at),
    value,
    kind: confidence >= SURE_FROM ? ('history' as const) : ('interpolated' as const),
    confidence,
  }))
  const actual = items.map(({ at, actual: value }) => ({
    at: Date.parse(at),
    value,
    kind: value === null ? null : ('measured' as const),
    confidence: null,
  }))
  return [
    { id: 'predicted', name: 'Predicted', points: predicted, colour: 1 },
    { id: 'actual', name: 'Came true', points: actual, colour: 2 },
  ]
}

/** How often it said so and was right, of those whose time has passed. */
export function outcomeSentence(items: readonly PredictionView[]): string {
  const known = items.filter(({ actual }) => actual !== null)
  const count = (unstable: boolean, actual: 0 | 1) =>
    known.filter((item) => item.unstable === unstable && item.actual === actual).length
  const open = items.length - known.length
  if (known.length === 0) return `Of none of the ${items.length} predictions is it known yet what came of it.`
  return `Of ${known.length} whose time has passed: ${count(true, 1)} rises were foreseen, ${count(false, 1)} missed, ${count(true, 0)} false alarms, ${count(false, 0)} calm as said. ${open} more are open or without prices to tell.`
}
