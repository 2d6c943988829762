import { hours } from '@understudy/shared/core/time'
import { plan } from '@understudy/shared/experiments/testing'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { createModelAlerts } from '../models/testing.ts'
import { createInstanceConfigs } from '../pipeline/pipeline.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createDegradedWatch } from './degraded-watch.ts'
import { createExperimentStore } from './experiment-store.ts'
import { addModel, modelsWith } from './testing.ts'

test.each(dialects)('an alert stands while a version that is used is degraded, on %s', async (dialect) => {
  const database = await testDatabase(dialect)
  onTestFinished(() => database.close())
  const { db } = database
  const time = createVirtualTime(hours(1000))
  const { clock } = time
  for (const id of ['model-a', 'model-b', 'model-c']) await addModel(database, id)
  const lines: { event: string; model: string; subject: string }[] = []
  const log = pino({ level: 'info' }, { write: (line) => void lines.push(JSON.parse(line)) })
  const alerts = createModelAlerts(db, clock, log)
  const configs = createInstanceConfigs(db, clock)
  const experiments = createExperimentStore(db, clock)
  const { store: models } = modelsWith(database, new Map())
  const watch = createDegradedWatch({ db, clock, log, models, configs, experiments, alerts })
  const open = () =>
    alerts.open().map(({ model_id: id, subject, severity }) => `${id} ${subject} ${severity}`)

  const decided = (id: number, fallback: string | null) => ({
    ...{ id: String(id), instance_id: 'i-1', model_id: fallback ? 'model-b' : 'model-a', acted: 0 },
    ...{ assigned_model_id: 'model-a', fallback_reason: fallback, decision: 'HOLD', metadata: '{}' },
    ...{ execution_time: clock.now(), execution_duration_ms: 1 },
  })
  const logs = Array.from({ length: 10 }, (_, i) => decided(i, i < 2 ? 'its process is not ready' : null))
  await db.insertInto('experiment_logs').values(logs).execute()
  await db.updateTable('models').set({ state: 'QUARANTINED', state_reason: 'it said NaN' }).execute()
  await watch.lookOnce()
  // Nothing uses them: that a version was refused is no alert.
  expect(open()).toEqual([])

  await configs.put('i-1', { modelId: 'model-a' }, 'ada')
  const arms = plan().arms.map((arm, i) => ({ ...arm, modelId: i === 0 ? 'model-b' : 'model-c' }))
  const experiment = await experiments.register(plan({ arms }), [], null, 'ada')
  await watch.lookOnce()
  expect(open()).toEqual(['model-a quarantined alert', 'model-a fallbacks warn'])
  await experiments.begin(experiment, clock.now())
  await db.updateTable('models').set({ state: 'SHADOW' }).where('id', '<>', 'model-c').execute()
  await watch.lookOnce()
  expect(open().sort()).toEqual(['model-a fallbacks warn', 'model-c quarantined alert'])
  const [told] = await alerts.list({ modelId: 'model-a', open: true })
  expect(told).toMatchObject({
    kind: 'DEGRADED',
    said: 'another version answered 2 of its 10 decisions of the last 24 h',
  })

  // A day later these decisions are not the last ones any more, and the experiment is over.
  await experiments.end(experiment, clock.now(), 'ada', null)
  await time.advance(hours(25))
  await watch.lookOnce()
  expect(open()).toEqual([])
  const events = lines.map(({ event, model, subject }) => `${event} ${model} ${subject}`)
  expect(events).toEqual([
    'model.alert model-a quarantined',
    'model.alert model-a fallbacks',
    'model.alert_closed model-a quarantined',
    'model.alert model-c quarantined',
    'model.alert_closed model-a fallbacks',
    'model.alert_closed model-c quarantined',
  ])
})
