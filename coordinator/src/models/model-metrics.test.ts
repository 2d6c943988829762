import { hours, instant, millis } from '@understudy/shared/core/time'
import { Registry } from 'prom-client'
import { afterEach, expect, test } from 'vitest'
import type { ModelRow, OpenDatabase } from '../storage/database.ts'
import { testDatabase } from '../storage/testing.ts'
import { dataGap } from './data-gap.ts'
import { createModelMetrics } from './model-metrics.ts'
import { testModel } from './testing.ts'

let database: OpenDatabase | undefined
afterEach(() => database?.close())

test('models are seen by state and role, and no label names one', async () => {
  database = await testDatabase('sqlite')
  const { db } = database
  const model = { id: 'model-1', sha256: 'x', manifest: testModel().manifest, qualification: null }
  const row = { id: 'model-1', trained_until: '2020-06-30' } as ModelRow
  const gap = dataGap({
    trainedUntil: '2020-06-30',
    now: instant(Date.UTC(2020, 6, 2)),
    reach: hours(24 * 90),
    slack: millis(0),
    wanted: [{ instanceType: 'c5.large', region: 'us-east-1' }],
    pools: [],
    asked: [],
  })
  const line = {
    at: 1,
    from_id: null,
    to_id: 'model-1',
    from_sha: null,
    to_sha: 'x',
    reason: '',
    prev_hash: '',
  }
  await db
    .insertInto('model_activations')
    .values([
      { ...line, seq: 1, hash: '1', alias: 'active', actor: 'ada' },
      { ...line, seq: 2, hash: '2', alias: 'active', actor: 'coordinator' },
      { ...line, seq: 3, hash: '3', alias: 'lab:i-1', actor: 'ada' },
    ])
    .execute()
  const registry = new Registry()
  const host = (alias: string, ready: boolean) => ({ alias, model, pid: 1, rss: 1000, ready })
  const hosts = [host('active', true), host('lab:i-1', true), host('lab:i-2', false)]
  const metrics = createModelMetrics({
    registry,
    db,
    store: { find: async () => row },
    serving: { active: model, warm: undefined, hosts: () => hosts },
    data: { analyses: async () => new Map([['model-1', { model: row, gap, task: null }]]) },
  })
  metrics.predicted({ answeredBy: 'previous', millis: 12 })
  metrics.predicted(undefined)
  const text = await registry.metrics()
  for (const expected of [
    'spot_model_prediction_ms_count 1',
    'spot_model_prediction_ms_bucket{le="10"} 0',
    'spot_model_prediction_ms_bucket{le="20"} 1',
    'understudy_model_predictions_total{outcome="previous"} 1',
    'understudy_model_predictions_total{outcome="failed"} 1',
    'understudy_models{state="ACTIVE"} 0',
    'understudy_model_active 1',
    `understudy_model_trained_until_timestamp_seconds{scope="active"} ${Date.UTC(2020, 5, 30) / 1000}`,
    'understudy_model_activations{by="coordinator"} 1',
    'understudy_model_activations{by="operator"} 1',
    'understudy_model_refresh_timestamp_seconds 0',
    'understudy_model_hosts{role="active"} 1',
    'understudy_model_hosts{role="lab"} 1',
    'understudy_model_host_memory_bytes{role="lab"} 2000',
    'understudy_model_data_readiness{readiness="MISSING"} 1',
    'understudy_model_data_readiness{readiness="READY"} 0',
    'understudy_model_data_covered_ratio 0',
    'understudy_model_gap_fills{status="failed"} 0',
  ])
    expect(text.split('\n')).toContain(expected)
  expect(text).not.toMatch(/model-1|i-1|price-instability/)
})
