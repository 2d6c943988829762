import type { PredictionView } from '@understudy/shared/protocol/predictions'
import { describe, expect, it } from 'vitest'
import { outcomeSentence, predictionLines } from './prediction-lines.ts'

const prediction = (minute: number, changes: Partial<PredictionView>): PredictionView => ({
  pool_id: 'm5.large@us-east-1a',
  at: new Date(minute * 60_000).toISOString(),
  p_instability_12h: 0.2,
  horizon_end: '2026-11-21T12:00:00Z',
  unstable: false,
  threshold: 0.15,
  model_id: 'model-1',
  model_sha256: '',
  features_hash: '',
  answered_by: 'active',
  confidence: 1,
  gap_filled: false,
  label_state: 'pending',
  actual: null,
  label_reason: null,
  acted: false,
  experiment: null,
  ...changes,
})
const items = [
  prediction(0, { actual: 1, unstable: true }),
  prediction(5, { actual: 0, confidence: 0.4 }),
  prediction(10, { actual: 1 }),
  prediction(15, {}),
]

describe('predictions of a pool', () => {
  it('are a line, uncertain ones another, and what came of them a third that ends where nobody knows', () => {
    const [predicted, actual] = predictionLines(items)
    expect(predicted?.points.map(({ kind }) => kind)).toEqual([
      'history',
      'interpolated',
      'history',
      'history',
    ])
    expect(actual?.points.map(({ value, kind }) => [value, kind])).toEqual([
      [1, 'measured'],
      [0, 'measured'],
      [1, 'measured'],
      [null, null],
    ])
  })

  it('are counted by what came of them', () => {
    expect(outcomeSentence(items)).toBe(
      'Of 3 whose time has passed: 1 rises were foreseen, 1 missed, 0 false alarms, 1 calm as said. 1 more are open or without prices to tell.',
    )
    expect(outcomeSentence(items.slice(3))).toBe(
      'Of none of the 1 predictions is it known yet what came of it.',
    )
  })
})
