import { createHash } from 'node:crypto'
import { hours, minutes } from '@understudy/shared/core/time'
import { armOf } from '@understudy/shared/experiments/assignment'
import type { ExperimentPlan } from '@understudy/shared/experiments/plan'
import { plan } from '@understudy/shared/experiments/testing'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import { createInstanceConfigs } from '../pipeline/pipeline.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import type { CostOf } from './experiment-observations.ts'
import { createLab, type Lab } from './lab.ts'
import { addModel, modelsWith } from './testing.ts'

const DAY = hours(24)
/** A Thursday. */
const START = 20_000 * 24 * 3_600_000

describe.each(dialects)('units of experiments on %s', (dialect) => {
  let database: OpenDatabase
  let time: VirtualTime
  let lab: Lab
  let aliases: Map<string, string>
  let costOf: CostOf
  let refused: (alias: string, model: string | null) => boolean

  beforeEach(async () => {
    database = await testDatabase(dialect)
    const { db } = database
    time = createVirtualTime(START)
    aliases = new Map()
    costOf = () => Promise.resolve(null)
    refused = () => false
    for (const id of ['model-a', 'model-b']) await addModel(database, id)
    lab = createLab({
      ...{ db, clock: time.clock, log: pino({ level: 'silent' }) },
      configs: createInstanceConfigs(db, time.clock),
      models: modelsWith(database, aliases, [], (alias, id) => refused(alias, id)),
      rows: { paired: () => Promise.resolve([]) },
      costOf: (unit, range) => costOf(unit, range),
    })
  }, 60_000)
  afterEach(() => database.close())

  const register = (change: Partial<ExperimentPlan>, units: readonly string[]) =>
    lab.experiments
      .register(plan(change), { units, startsAt: null, ratio: 0.5 }, 'ada')
      .then(({ experiment }) => experiment.row.id)
  const sha256 = (text: string) => createHash('sha256').update(text).digest()
  const modelsOf = (id: string, units: readonly string[]) =>
    units.map((unit) => armOf(id, unit, plan().arms, sha256).modelId)
  /** Arms are drawn by the id: some are so uneven that the experiment would rightly be ended for it. */
  async function registerEven(units: readonly string[]): Promise<string> {
    for (;;) {
      const id = await register({ kind: 'ab', metric: 'interruption_rate', unit: 'instance' }, units)
      const treated = modelsOf(id, units).filter((model) => model === 'model-b').length
      if (Math.abs(treated - units.length / 2) <= 2) return id
    }
  }
  const status = async (id: string) => (await lab.experiments.store.find(id)).row.status

  /** Days pass, with a round at the end of each. */
  async function days(n: number): Promise<void> {
    for (let day = 0; day < n; day += 1) {
      await time.advance(DAY)
      await lab.experiments.tick()
    }
  }

  /** Agents with an instance each, two to a pool. */
  async function addUnits(n: number): Promise<string[]> {
    const { db } = database
    const units = Array.from({ length: n }, (_, i) => `shop-${i}`)
    for (const [i, unit] of units.entries()) {
      await addAgent(db, { id: unit })
      const pool = `m5.large@us-east-1${'abcdef'[Math.floor(i / 2) % 6]}`
      await addInstance(db, { id: `i-0${unit.replace('-', '')}`, agent_id: unit, pool_id: pool })
    }
    return units
  }
  const poolDays: Partial<ExperimentPlan> = { kind: 'ab', metric: 'cost_per_useful_hour', unit: 'pool_day' }

  test('whole pools change arms at midnight: each day counts for the arm of its pool, and how they change is no fault', async () => {
    const units = await addUnits(4)
    const asked: string[] = []
    costOf = (unit, { from, to }) => {
      asked.push(`${unit} ${Math.floor(from / DAY)}`)
      return Promise.resolve({ usd: 1, usefulHours: (to - from) / hours(1) })
    }
    const id = await register({ ...poolDays, minDuration: hours(30 * 24) }, units)
    await time.advance(hours(1))
    await lab.experiments.start(id, 'ada')
    for (let day = 0; day < 9; day += 1) {
      await time.advance(hours(23) + minutes(3))
      await lab.experiments.tick()
      await time.advance(minutes(57))
    }
    const { treatments, sample_ratio: ratio } = await lab.experiments.results(id)
    // The first day began an hour late, and of the last ones the prices may still come.
    expect(asked).toHaveLength(new Set(asked).size)
    expect(await status(id)).toBe('RUNNING')
    expect(treatments[0]?.blocks).toBe(7 * 4)
    expect(ratio).toBeNull()
  })

  test('a unit of which nobody knows where it runs does not hold the others up', async () => {
    const units = await addUnits(4)
    const id = await register({ ...poolDays, maxDuration: hours(8 * 24) }, units)
    await lab.experiments.start(id, 'ada')
    await database.db
      .updateTable('instances')
      .set({ is_active: 0 })
      .where('agent_id', '=', 'shop-3')
      .execute()
    await days(9)
    expect(await status(id)).toBe('ENDED')
    expect(await lab.config('shop-3')).toMatchObject({ pipeline_mode: 'CLUSTER_FULL' })
  })

  test('what is wrong with one experiment does not stop the others', async () => {
    const units = await addUnits(4)
    costOf = () => Promise.reject(new TypeError('no such thing'))
    await lab.experiments.start(await register(poolDays, units.slice(0, 2)), 'ada')
    const arms = [{ name: 'only', modelId: 'model-b', weight: 10_000 }]
    const pin = await register({ kind: 'pin', unit: 'instance', arms, maxDuration: hours(7 * 24) }, [
      'shop-3',
    ])
    await lab.experiments.start(pin, 'ada')
    await days(8)
    expect(await status(pin)).toBe('ENDED')
  })

  test('when control cannot answer any more its units go back to the active model, and none stays behind', async () => {
    const units = await addUnits(12)
    const id = await register({ kind: 'ab', metric: 'interruption_rate', unit: 'instance' }, units)
    await lab.experiments.start(id, 'ada')
    expect(new Set(aliases.values())).toEqual(new Set(['model-a', 'model-b']))
    refused = (_, model) => model === 'model-a'
    await lab.experiments.stop(id, 'ada')
    // Who has control's model keeps it; the others have none of their own.
    expect([...aliases.values()]).not.toContain('model-b')
    for (const unit of units) expect(await lab.experiments.store.holding(unit)).toBeUndefined()
  })

  test('a start that was cut short is finished, and what a unit was told before is still given back', async () => {
    const units = await addUnits(12)
    let left = 5
    refused = () => {
      left -= 1
      if (left < 0) throw new TypeError('the process ends here')
      return false
    }
    const id = await registerEven(units)
    const end = database.db
      .updateTable('experiments')
      .set({ status: 'RUNNING', ended_at: null, ended_by: null })
    await expect(lab.experiments.start(id, 'ada')).rejects.toThrow('the process ends here')
    await end.where('id', '=', id).execute()
    refused = () => false
    await time.advance(minutes(5))
    await lab.experiments.tick()
    const planned = modelsOf(id, units)
    expect(units.map((unit) => aliases.get(`lab:${unit}`))).toEqual(planned)
    await lab.experiments.stop(id, 'ada')
    for (const unit of units) expect(await lab.config(unit)).toMatchObject({ pipeline_mode: 'CLUSTER_FULL' })
  })
})
