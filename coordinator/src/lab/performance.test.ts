import { hours } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, onTestFinished, test } from 'vitest'
import { testModel } from '../models/testing.ts'
import type { ExperimentLogRow, ModelRow } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createPerformance } from './performance.ts'

const HOUR = hours(1)

const row = (id: number, change: Partial<ExperimentLogRow> = {}): ExperimentLogRow => ({
  id: String(id),
  instance_id: 'i-1',
  model_id: 'model-a',
  assigned_model_id: 'model-a',
  fallback_reason: null,
  experiment_id: null,
  prediction_score: 0.25,
  decision: 'HOLD',
  acted: 0,
  execution_time: id * HOUR,
  execution_duration_ms: 4,
  selected_instance_type: 'c5.large',
  spot_price: 30_000,
  projected_savings: null,
  metadata: '{}',
  ...change,
})
const model = {
  ...testModel().manifest,
  id: 'model-a',
  state: 'LAB',
  state_reason: null,
} as unknown as ModelRow

test.each(dialects)(
  'decisions of a version are summed up, and those of others are not, on %s',
  async (dialect) => {
    const database = await testDatabase(dialect)
    onTestFinished(() => database.close())
    const time = createVirtualTime(30 * HOUR)
    const performance = createPerformance(database.db, time.clock)
    expect(await performance(model)).toMatchObject({
      total_experiments: 0,
      savings_per_decision: null,
      realised: { switches: 0, savings: 0, switch_cost: 0 },
      first_at: null,
    })

    const saved = { decision: 'SWITCH', projected_savings: 1_500_000 }
    await database.db
      .insertInto('experiment_logs')
      .values([
        row(1, saved),
        row(2),
        row(3, { ...saved, acted: 1, prediction_score: 0.75 }),
        row(13, { instance_id: 'i-2' }),
        row(14, { decision: 'EVACUATE', instance_id: 'i-2' }),
        row(15, { model_id: 'model-b', fallback_reason: 'FALLBACK_USED', ...saved }),
        row(16, { model_id: 'model-a', assigned_model_id: 'model-c', fallback_reason: 'FALLBACK_USED' }),
        row(17, { model_id: null, decision: 'FAILED', fallback_reason: 'no model answered' }),
        row(18, { model_id: 'model-b', assigned_model_id: 'model-b' }),
      ])
      .execute()
    const found = await performance(model)
    expect(found).toMatchObject({
      total_experiments: 5,
      decisions: { SWITCH: 2, HOLD: 2, DRAIN: 0, EVACUATE: 1, FAILED: 0 },
      switch_rate: 0.5,
      total_savings: 3,
      acted_savings: 1.5,
      // Of i-1 in its first half day 1 USD each, of i-2 in its second nothing.
      savings_per_decision: 0.5,
      average_prediction_score: expect.closeTo(0.35, 9),
      average_duration_ms: 4,
      fallbacks: 2,
      fallback_rate: expect.closeTo(2 / 7, 9),
      instances: 2,
      first_at: new Date(HOUR).toISOString(),
      last_at: new Date(14 * HOUR).toISOString(),
      degraded: [],
    })
    expect(found.switch_rate_interval?.lower).toBeCloseTo(0.15, 2)
    expect(found.savings_per_decision_interval?.upper).toBeGreaterThan(0.5)
  },
)
