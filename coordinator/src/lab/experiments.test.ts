import { createHash } from 'node:crypto'
import { hours, type Instant, instant } from '@understudy/shared/core/time'
import { armOf } from '@understudy/shared/experiments/assignment'
import type { PairedRow } from '@understudy/shared/experiments/blocks'
import type { ExperimentPlan } from '@understudy/shared/experiments/plan'
import { pairedRow, plan } from '@understudy/shared/experiments/testing'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import { createInstanceConfigs } from '../pipeline/pipeline.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createLab, type Lab } from './lab.ts'
import { pair, type Scored } from './scored-rows.ts'
import { addModel, addNotice, modelsWith } from './testing.ts'

const DAY = hours(24)
/** A Thursday. */
const START = 20_000 * 24 * 3_600_000

describe.each(dialects)('experiments on %s', (dialect) => {
  let database: OpenDatabase
  let time: VirtualTime
  let lab: Lab
  let aliases: Map<string, string>
  let scored: (at: Instant) => readonly PairedRow[]

  beforeEach(async () => {
    database = await testDatabase(dialect)
    time = createVirtualTime(START)
    aliases = new Map()
    scored = () => []
    for (const id of ['model-a', 'model-b']) await addModel(database, id)
    const { db } = database
    const configs = createInstanceConfigs(db, time.clock)
    lab = createLab({
      db,
      clock: time.clock,
      log: pino({ level: 'silent' }),
      configs,
      models: modelsWith(database, aliases),
      rows: {
        paired: (_, { from, to }) => {
          const rows: PairedRow[] = []
          for (let at = from; at < to; at = instant(at + hours(1))) rows.push(...scored(at))
          return Promise.resolve(rows)
        },
      },
      costOf: () => Promise.resolve(null),
    })
  }, 60_000)
  afterEach(() => database.close())

  const register = (
    change: Partial<ExperimentPlan> = {},
    units: readonly string[] = [],
    startsAt: Instant | null = null,
  ) =>
    lab.experiments
      .register(plan(change), { units, startsAt, ratio: 0.5 }, 'ada')
      .then(({ experiment }) => experiment.row.id)
  const status = async (id: string) => (await lab.experiments.store.find(id)).row.status
  const verdictOf = async (id: string) => (await lab.experiments.results(id)).verdict

  /** One row an hour, each fourth an event; the treatment is nearer to the truth, by noise that comes round in a day. */
  const better = (at: Instant): PairedRow[] => {
    const hour = Math.floor(at / hours(1))
    const happened = hour % 4 === 0
    const noise = 0.02 * Math.sin(hour * 1.7)
    return [pairedRow({ hour, happened, controlP: 0.5 + noise, treatmentP: happened ? 0.8 : 0.2 + noise })]
  }

  /** Days pass, with a round at the end of each. */
  async function days(n: number): Promise<void> {
    for (let day = 0; day < n; day += 1) {
      await time.advance(DAY)
      await lab.experiments.tick()
    }
  }

  test('in the shadow both models are asked, the better one wins, and both are let go', async () => {
    scored = better
    const id = await register()
    await lab.experiments.start(id, 'ada')
    expect(aliases).toEqual(
      new Map([
        [`shadow:${id}.0`, 'model-a'],
        [`shadow:${id}.1`, 'model-b'],
      ]),
    )
    await days(6)
    expect(await verdictOf(id)).toMatchObject({
      verdict: 'INSUFFICIENT',
      missing: expect.arrayContaining(['duration: 6 of 7 days']),
    })
    await days(12)
    expect(await status(id)).toBe('ENDED')
    expect(await verdictOf(id)).toMatchObject({ verdict: 'WINNER', winner: 'treatment' })
    expect(aliases.size).toBe(0)
    const { row } = await lab.experiments.store.find(id)
    expect(row.ended_by).toBe('coordinator')
  })

  test('a label that comes after the end is recorded, and the verdict is what it was', async () => {
    scored = better
    const id = await register()
    await lab.experiments.start(id, 'ada')
    for (let day = 0; day < 30 && (await status(id)) !== 'ENDED'; day += 1) await days(1)
    const verdict = await verdictOf(id)
    const { treatments } = await lab.experiments.results(id)
    scored = (at) => [...better(at), ...better(at)]
    await lab.experiments.tick()
    const after = await lab.experiments.results(id)
    expect(after.late_labels).toBe(24)
    expect(after.verdict).toEqual(verdict)
    expect(after.treatments).toEqual(treatments)
  })

  test('a clock that goes back opens no block again', async () => {
    scored = better
    const id = await register()
    await lab.experiments.start(id, 'ada')
    await days(5)
    const before = await lab.experiments.results(id)
    time.jumpWall(-3 * DAY)
    scored = (at) => better(at).map((row) => ({ ...row, treatmentP: 0.5, controlP: 0.01 }))
    await lab.experiments.tick()
    const after = await lab.experiments.results(id)
    expect(after.treatments.map(({ difference }) => difference)).toEqual(
      before.treatments.map(({ difference }) => difference),
    )
    expect(after.settled_until).toBe(before.settled_until)
  })

  test('a treatment that misses what control sees is stopped early, and control goes on', async () => {
    scored = (at) => {
      const hour = Math.floor(at / hours(1))
      return [
        pairedRow({ hour, happened: hour % 2 === 0, controlP: 0.7, treatmentP: 0.3 }),
        pairedRow({ hour, happened: hour % 3 === 0, controlP: hour % 5 === 0 ? 0.3 : 0.7, treatmentP: 0.3 }),
      ]
    }
    const id = await register()
    await lab.experiments.start(id, 'ada')
    await days(10)
    expect(await verdictOf(id)).toMatchObject({ verdict: 'STOPPED_BY_GUARD' })
  })

  test('an A/B divides its instances, keeps who is in it, and gives them back', async () => {
    const { db } = database
    const units = Array.from({ length: 12 }, (_, i) => `shop-${i}`)
    for (const unit of units) {
      await addAgent(db, { id: unit })
      await addInstance(db, {
        id: `i-0${unit.replace('-', '')}`,
        agent_id: unit,
        pool_id: 'm5.large@us-east-1a',
      })
    }
    const id = await register({ kind: 'ab', metric: 'interruption_rate', unit: 'instance' }, units)
    const running = await lab.experiments.start(id, 'ada')
    expect(running.row.status).toBe('RUNNING')
    const arms = units.map((unit) => aliases.get(`lab:${unit}`))
    const sha256 = (text: string) => createHash('sha256').update(text).digest()
    expect(arms).toEqual(units.map((unit) => armOf(id, unit, plan().arms, sha256).modelId))
    await expect(lab.assign('shop-0', 'model-a', 'ada')).rejects.toThrow(`shop-0 is in ${id}`)
    await expect(lab.change('shop-0', { assigned_model_id: null }, 'ada')).rejects.toThrow('says which model')
    expect(await lab.config('shop-1')).toMatchObject({ pipeline_mode: 'SINGLE_LINEAR' })
    const other = await register(
      { kind: 'ab', metric: 'interruption_rate', unit: 'instance' },
      units.slice(0, 2),
    )
    await expect(lab.experiments.start(other, 'ada')).rejects.toThrow(`shop-0 is in ${id}`)

    const inTreatment = units.filter((unit) => aliases.get(`lab:${unit}`) === 'model-b')
    await time.advance(hours(1))
    for (const [i, unit] of inTreatment.entries()) await addNotice(database, `n${i}`, unit, time.clock.now())
    await time.advance(hours(1))
    const { treatments, sample_ratio: ratio } = await lab.experiments.results(id)
    expect(treatments[0]?.events).toMatchObject({ control: 0, treatment: inTreatment.length })
    expect(ratio?.counts).toEqual([12 - inTreatment.length, inTreatment.length])

    await lab.experiments.stop(id, 'bob')
    expect(await lab.config('shop-1')).toMatchObject({
      pipeline_mode: 'CLUSTER_FULL',
      assigned_model_id: 'model-a',
    })
    await expect(lab.experiments.stop(id, 'bob')).rejects.toThrow('has ended already')
    await expect(lab.experiments.start(id, 'bob')).rejects.toThrow('cannot be started')
    expect((await lab.experiments.store.find(id)).row).toMatchObject({ ended_by: 'bob', verdict: null })
    expect([...(await lab.referrers('model-b'))].sort()).toEqual(
      [`the experiment ${id}`, `the experiment ${other}`].sort(),
    )
  })

  test('an A/B whose units all came into one arm says so, at registration and while it runs', async () => {
    const ab = { kind: 'ab', metric: 'interruption_rate', unit: 'instance' } as const
    for (let tries = 0; ; tries += 1) {
      const asked = { units: ['one', 'two'], startsAt: null, ratio: 0.5 }
      const { experiment, estimate } = await lab.experiments.register(plan(ab), asked, 'ada')
      const { id } = experiment.row
      await lab.experiments.start(id, 'ada')
      const arms = new Set([aliases.get('lab:one'), aliases.get('lab:two')])
      const { missing = [], verdict } = (await verdictOf(id)) ?? {}
      expect(verdict).toBe('INSUFFICIENT')
      expect(missing.some((what) => what.startsWith('arms: only one arm is assigned'))).toBe(arms.size === 1)
      expect(estimate.warnings.some((what) => what.startsWith('By chance no unit'))).toBe(arms.size === 1)
      await lab.experiments.stop(id, 'ada')
      // Half of all draws are of this kind.
      if (arms.size === 1) break
      expect(tries).toBeLessThan(60)
    }
  })

  test('experiments of the same moment are all listed, page by page', async () => {
    const ids = [await register(), await register(), await register()]
    const seen: string[] = []
    for (let before: { at: number; id: string } | undefined; ; ) {
      const page = await lab.experiments.store.list(before, 2)
      seen.push(...page.map(({ row }) => row.id))
      const last = page.at(-1)?.row
      if (page.length < 2 || !last) break
      before = { at: last.created_at, id: last.id }
    }
    expect(seen).toEqual(ids.toSorted().reverse())
  })

  test('a plan starts when it is time, and one that waits does not', async () => {
    const due = await register({}, [], instant(START + DAY))
    const waits = await register()
    await lab.experiments.tick()
    expect([await status(due), await status(waits)]).toEqual(['REGISTERED', 'REGISTERED'])
    await days(1)
    expect([await status(due), await status(waits)]).toEqual(['RUNNING', 'REGISTERED'])
  })

  test('a pin claims nothing and gives the instance back at the end of its time', async () => {
    const arms = [{ name: 'only', modelId: 'model-b', weight: 10_000 }]
    const id = await register({ kind: 'pin', unit: 'instance', arms, maxDuration: hours(7 * 24) }, [
      'i-lab-test-001',
    ])
    await lab.experiments.start(id, 'ada')
    expect(aliases.get('lab:i-lab-test-001')).toBe('model-b')
    await days(7)
    expect(await status(id)).toBe('ENDED')
    expect((await lab.experiments.results(id)).verdict).toBeNull()
    expect(await lab.config('i-lab-test-001')).toMatchObject({
      pipeline_mode: 'CLUSTER_FULL',
      assigned_model_id: null,
    })
  })

  test('what does not go together is refused before anything begins', async () => {
    await expect(
      register({ kind: 'ab', metric: 'interruption_rate', unit: 'instance' }, ['one']),
    ).rejects.toThrow('two instances')
    await expect(register({}, ['one'])).rejects.toThrow('leave instance_ids out')
    const arms = plan().arms.map((arm, i) => ({ ...arm, modelId: i === 0 ? 'model-a' : 'model-none' }))
    await expect(register({ arms })).rejects.toThrow('there is no model model-none')
    expect(await lab.experiments.store.list(undefined, 10)).toEqual([])
  })

  test('what it will take is said first', async () => {
    const { estimate } = await lab.experiments.register(
      plan({ kind: 'ab', metric: 'interruption_rate', unit: 'instance' }),
      { units: Array.from({ length: 20 }, (_, i) => `u${i}`), startsAt: null, ratio: 0.5 },
      'ada',
    )
    expect(estimate.median_days).toBeGreaterThan(110)
    expect(estimate.median_days).toBeLessThan(160)
    expect(estimate.summary).toContain('Shadow scoring')
    expect(estimate.assumptions[0]).toContain('1 a month is assumed')
  })
})

describe('rows of both models', () => {
  const said = (minute: number, change: Partial<Scored> = {}): Scored => ({
    poolId: 'c5.large@us-east-1a',
    at: instant(minute * 60_000),
    p: 0.2,
    happened: false,
    answeredBy: 'alias',
    filled: 0.01,
    ...change,
  })

  test('belong together when they are of the same pool and pass', () => {
    const rows = pair(
      [said(0), said(5), said(10), said(10, { poolId: 'm5.large@us-east-1a' })],
      [said(10.5, { p: 0.4 }), said(0.2, { p: 0.3 }), said(7.5)],
    )
    expect(rows.map(({ at, treatmentP }) => [at / 60_000, treatmentP])).toEqual([
      [0, 0.3],
      [10, 0.4],
    ])
  })

  test('are left out where another one answered, or where prices were missing for hours', () => {
    const excluded = (change: Partial<Scored>) => pair([said(0)], [said(0, change)])[0]?.excluded
    expect([excluded({}), excluded({ answeredBy: 'active' }), excluded({ filled: 0.06 })]).toEqual([
      null,
      'fallback',
      'gap_filled',
    ])
  })
})
