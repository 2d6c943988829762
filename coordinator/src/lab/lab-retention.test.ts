import { hours } from '@understudy/shared/core/time'
import { plan } from '@understudy/shared/experiments/testing'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createExperimentStore } from './experiment-store.ts'
import { createLabRetention } from './lab-retention.ts'

const DAY = hours(24)

test.each(dialects)(
  'old decisions go, those of an experiment as long after its end, on %s',
  async (dialect) => {
    const database = await testDatabase(dialect)
    onTestFinished(() => database.close())
    const { db } = database
    const time = createVirtualTime(100 * DAY)
    const { clock } = time
    const experiments = createExperimentStore(db, clock)
    const ended = await experiments.register(plan(), [], null, 'ada')
    const running = await experiments.register(plan(), [], null, 'ada')
    await experiments.end(ended, clock.now(), 'ada', null)
    await experiments.begin(running, clock.now())
    const row = (id: string, experiment: string | null, at: number) => ({
      ...{ id, instance_id: 'i-1', model_id: 'model-a', assigned_model_id: null, acted: 0, metadata: '{}' },
      ...{ experiment_id: experiment, decision: 'HOLD', execution_time: at, execution_duration_ms: 1 },
    })
    const many = Array.from({ length: 1100 }, (_, i) => row(`old ${i}`, null, i))
    for (let i = 0; i < many.length; i += 100)
      await db
        .insertInto('experiment_logs')
        .values(many.slice(i, i + 100))
        .execute()
    await db
      .insertInto('experiment_logs')
      .values([
        row('of one that has ended', ended.row.id, 0),
        row('of one that runs', running.row.id, 0),
        row('new', null, 95 * DAY),
      ])
      .execute()
    const saved = {
      ...{
        agent_id: 'a',
        old_instance_id: 'i-1',
        new_instance_id: 'i-2',
        old_pool_id: 'x',
        new_pool_id: 'y',
      },
      ...{
        switched_at: 0,
        until_at: 0,
        hold_ms: 1,
        saved: 0,
        double_running: 0,
        counted_ms: 0,
        unknown_ms: 0,
      },
    }
    await db
      .insertInto('realised_savings')
      .values([
        { ...saved, decision_id: 'settled', settled_at: 1 },
        { ...saved, decision_id: 'open', settled_at: null },
      ])
      .execute()
    const retention = createLabRetention({ db, clock, log: pino({ level: 'silent' }), kept: hours(30 * 24) })
    const left = async () =>
      (await db.selectFrom('experiment_logs').select('id').execute()).map(({ id }) => id)

    expect(await retention.purge()).toBe(1101)
    expect((await left()).sort()).toEqual(['new', 'of one that has ended', 'of one that runs'])
    expect(await db.selectFrom('realised_savings').select('decision_id').execute()).toEqual([
      { decision_id: 'open' },
    ])
    await time.advance(31 * DAY)
    expect(await retention.purge()).toBe(2)
    expect(await left()).toEqual(['of one that runs'])
  },
)
