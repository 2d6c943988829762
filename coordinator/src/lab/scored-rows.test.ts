import { hours, type Instant, instant, minutes } from '@understudy/shared/core/time'
import { plan } from '@understudy/shared/experiments/testing'
import { poolId } from '@understudy/shared/market/pool'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createInstanceConfigs } from '../pipeline/pipeline.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createLab, createScoredRows } from './lab.ts'
import { addModel, modelsWith } from './testing.ts'

const DAY = hours(24)
/** A Thursday, midnight. */
const START = 20_000 * 24 * 3_600_000
const POOLS = ['c5.large@us-east-1a', 'c5.large@us-east-1b', 'm5.large@us-east-1a'] as const
const [FIRST, SECOND, THIRD] = POOLS
const at = (minute: number): Instant => instant(START + minutes(minute))

/** What one version has said of some pools in one pass. */
interface Said {
  readonly alias: string
  readonly at: Instant
  readonly model?: string
  readonly answeredBy?: string
  readonly rows: readonly {
    readonly pool: string
    readonly p: number
    readonly filled?: number
    readonly label?: number | null
    readonly why?: string
  }[]
}

describe.each(dialects)('rows that were scored on %s', (dialect) => {
  let database: OpenDatabase
  let runs = 0
  let numbers: ReadonlyMap<string, number>

  beforeEach(async () => {
    database = await testDatabase(dialect)
    const { db } = database
    runs = 0
    await db
      .insertInto('pools')
      .values(
        POOLS.map((id) => ({
          ...{ pool_id: id, instance_type: id.slice(0, 8), availability_zone: id.slice(9) },
          region: 'us-east-1',
        })),
      )
      .execute()
    const pools = await db.selectFrom('pools').select(['id', 'pool_id']).execute()
    numbers = new Map(pools.map(({ id, pool_id: name }) => [name, id]))
  })
  afterEach(() => database.close())

  async function say(all: readonly Said[]): Promise<void> {
    const numbered = all.map((said) => ({ ...said, id: ++runs }))
    await database.db
      .insertInto('prediction_runs')
      .values(
        numbered.map((said) => ({
          ...{ id: said.id, at: said.at, alias: said.alias, model_id: said.model ?? said.alias },
          ...{ model_sha256: 'x', answered_by: said.answeredBy ?? 'alias', horizon_ms: hours(12) },
          ...{ threshold: 0.5, pools: said.rows.length, left_out: '{}', took_ms: 1 },
        })),
      )
      .execute()
    await database.db
      .insertInto('predictions_log')
      .values(
        numbered.flatMap((said) =>
          said.rows.map(({ pool, p, filled = 0, label = null, why = null }) => ({
            ...{ run: said.id, pool: numbers.get(pool) as number, at: said.at, p, filled, label },
            ...{ features_hash: 'f', label_reason: why },
          })),
        ),
      )
      .execute()
  }

  test('both models, same pool, same pass, labelled: all else is left out, or kept and marked', async () => {
    const first = (label: number | null, p: number, filled = 0) => [{ pool: FIRST, p, label, filled }]
    await say([
      {
        ...{ alias: 'shadow:e.0', at: at(0) },
        rows: [
          { pool: FIRST, p: 0.2, label: 1 },
          { pool: SECOND, p: 0.3 },
          { pool: THIRD, p: 0.4, why: 'prices did not come' },
        ],
      },
      {
        ...{ alias: 'shadow:e.1', at: instant(at(0) + 20_000) },
        rows: [
          { pool: FIRST, p: 0.6, label: 1 },
          { pool: SECOND, p: 0.7, label: 0 },
          { pool: THIRD, p: 0.8, why: 'prices did not come' },
        ],
      },
      // Others have said something of the same pool at the same time.
      { alias: 'active', answeredBy: 'active', at: at(0), rows: first(1, 0.9) },
      { alias: 'shadow:f.0', at: at(0), rows: first(1, 0.9) },
      // Another version has answered in place of the treatment.
      { alias: 'shadow:e.0', at: at(5), rows: first(0, 0.1) },
      { alias: 'shadow:e.1', at: at(5), answeredBy: 'active', rows: first(0, 0.2) },
      // Prices of a fifth of the week before were filled in.
      { alias: 'shadow:e.0', at: at(10), rows: first(0, 0.1) },
      { alias: 'shadow:e.1', at: at(10), rows: first(0, 0.3, 0.2) },
      // The treatment has not answered.
      { alias: 'shadow:e.0', at: at(15), rows: first(0, 0.1) },
      // Past the end of what is asked for.
      { alias: 'shadow:e.0', at: at(20), rows: first(0, 0.1) },
      { alias: 'shadow:e.1', at: at(20), rows: first(0, 0.1) },
    ])
    const aliases = { control: 'shadow:e.0', treatment: 'shadow:e.1' }
    const rows = await createScoredRows(database.db).paired(aliases, { from: at(0), to: at(20) })
    expect(rows.map(({ pool, ...row }) => ({ pool: poolId(pool), ...row }))).toEqual([
      { pool: FIRST, at: at(0), controlP: 0.2, treatmentP: 0.6, happened: true, excluded: null },
      { pool: FIRST, at: at(5), controlP: 0.1, treatmentP: 0.2, happened: false, excluded: 'fallback' },
      { pool: FIRST, at: at(10), controlP: 0.1, treatmentP: 0.3, happened: false, excluded: 'gap_filled' },
    ])
  })

  /** What both models say in a day, hour by hour. The treatment is nearer to the truth; two hours of the day do not count. */
  function dayOf(day: number, id: string): Said[] {
    return Array.from({ length: 24 }, (_, i) => i + 24 * day).flatMap((hour): Said[] => {
      const now = instant(START + hours(hour))
      const noise = 0.02 * Math.sin(hour * 1.7)
      const row = (p: number, filled = 0) => [{ pool: FIRST, p, filled }]
      return [
        { alias: `shadow:${id}.0`, model: 'model-a', at: now, rows: row(0.5 + noise) },
        {
          ...{ alias: `shadow:${id}.1`, model: 'model-b', at: instant(now + 20_000) },
          answeredBy: hour % 24 === 5 ? 'active' : 'alias',
          rows: row(happenedAt(hour) ? 0.8 : 0.2 + noise, hour % 24 === 6 ? 0.2 : 0),
        },
      ]
    })
  }
  const happenedAt = (hour: number) => hour % 4 === 0

  /** As they are given once the horizon and an hour are over. */
  async function label(now: Instant): Promise<void> {
    const { db } = database
    const due = await db
      .selectFrom('predictions_log')
      .select(['run', 'at'])
      .where('label', 'is', null)
      .where('at', '<=', now - hours(13))
      .execute()
    for (const happened of [true, false]) {
      const of = due.filter((row) => happenedAt(Math.floor((row.at - START) / hours(1))) === happened)
      if (of.length > 0)
        await db
          .updateTable('predictions_log')
          .set({ label: happened ? 1 : 0 })
          .where(
            'run',
            'in',
            of.map(({ run }) => run),
          )
          .execute()
    }
  }

  test('a shadow experiment over what is stored: started, settled block by block, and a verdict', async () => {
    const { db } = database
    const time = createVirtualTime(START)
    const aliases = new Map<string, string>()
    for (const id of ['model-a', 'model-b']) await addModel(database, id)
    const { experiments } = createLab({
      ...{ db, clock: time.clock, log: pino({ level: 'silent' }) },
      configs: createInstanceConfigs(db, time.clock),
      models: modelsWith(database, aliases),
      rows: createScoredRows(db),
      costOf: () => Promise.resolve(null),
    })
    const { experiment } = await experiments.register(
      plan(),
      { units: [], startsAt: null, ratio: 0.5 },
      'ada',
    )
    const { id } = experiment.row
    await experiments.start(id, 'ada')
    expect([...aliases.keys()]).toEqual([`shadow:${id}.0`, `shadow:${id}.1`])

    let days = 0
    const pass = async () => {
      await say(dayOf(days, id))
      await time.advance(DAY)
      await label(time.clock.now())
      await experiments.tick()
      days += 1
    }
    await pass()
    const early = await experiments.results(id)
    // The first half of the day ended 12 h ago: horizon and two hours are not over.
    expect(early).toMatchObject({ settled_until: null, verdict: { verdict: 'INSUFFICIENT' } })
    await pass()
    const second = await experiments.results(id)
    expect(second.settled_until).toBe(new Date(START + hours(24)).toISOString())
    expect(second.treatments[0]).toMatchObject({ blocks: 2, rows: 22, positives: 6 })

    while ((await experiments.store.find(id)).row.status === 'RUNNING' && days < 30) await pass()
    const { verdict, treatments, late_labels: late } = await experiments.results(id)
    expect(verdict).toMatchObject({ verdict: 'WINNER', winner: 'treatment' })
    expect(days).toBeGreaterThanOrEqual(16)
    expect(days).toBeLessThan(30)
    // All blocks but those of the last day are settled, each once: an hour of every day fell to another version.
    const settled = days - 1
    expect(treatments[0]).toMatchObject({
      ...{ blocks: 2 * settled, rows: 22 * settled, positives: 6 * settled },
      ...{ excluded_fallback: settled, excluded_gap_filled: settled },
    })
    expect(treatments[0]?.difference?.lower).toBeGreaterThan(0)
    expect(late).toBe(0)
    expect(aliases.size).toBe(0)
  })
})
