import { hours, instant, minutes } from '@understudy/shared/core/time'
import { expect, onTestFinished, test } from 'vitest'
import type { Kysely, Schema } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createScoredRows } from './scored-rows.ts'

const CONTROL = 'shadow:exp.0'
const TREATMENT = 'shadow:exp.1'

async function addRun(
  db: Kysely<Schema>,
  { id, at, alias, answeredBy = 'alias' }: { id: number; at: number; alias: string; answeredBy?: string },
  labels: readonly (0 | 1 | null)[],
): Promise<void> {
  const model = { model_id: alias, model_sha256: '', horizon_ms: hours(12), threshold: 0.5 }
  await db
    .insertInto('prediction_runs')
    .values({ ...model, id, at, alias, answered_by: answeredBy, pools: 2, left_out: '{}', took_ms: 1 })
    .execute()
  const rest = { features_hash: '', filled: 0, label_reason: null }
  await db
    .insertInto('predictions_log')
    .values(labels.map((label, i) => ({ ...rest, run: id, pool: i + 1, at, p: id / 100, label })))
    .execute()
}

test.each(dialects)(
  'both models of a pass are put together, and others are heard in between, on %s',
  async (dialect) => {
    const database = await testDatabase(dialect)
    onTestFinished(() => database.close())
    const { db } = database
    for (const zone of ['a', 'b'])
      await db
        .insertInto('pools')
        .values({
          ...{ pool_id: `c5.large@us-east-1${zone}`, instance_type: 'c5.large' },
          ...{ availability_zone: `us-east-1${zone}`, region: 'us-east-1' },
        })
        .execute()
    const minute = minutes(1)
    await addRun(db, { id: 1, at: 0, alias: CONTROL }, [1, 0])
    await addRun(db, { id: 2, at: minute, alias: TREATMENT }, [1, null])
    await addRun(db, { id: 3, at: minute, alias: 'active' }, [1, 0])
    await addRun(db, { id: 4, at: 5 * minute, alias: CONTROL }, [0, 0])
    await addRun(db, { id: 5, at: 6 * minute, alias: TREATMENT, answeredBy: 'active' }, [0, 0])
    // A pass that only one of them was in, and one that begins in the range and ends after it.
    await addRun(db, { id: 6, at: 10 * minute, alias: CONTROL }, [0, 0])
    await addRun(db, { id: 7, at: 59 * minute, alias: CONTROL }, [0, 1])
    await addRun(db, { id: 8, at: 60 * minute, alias: TREATMENT }, [0, 1])

    let turns = 0
    const count = (): void => {
      turns += 1
      counting = setImmediate(count)
    }
    let counting = setImmediate(count)
    onTestFinished(() => clearImmediate(counting))
    const range = { from: instant(0), to: instant(hours(1)) }
    const rows = await createScoredRows(db).paired({ control: CONTROL, treatment: TREATMENT }, range)
    expect(turns).toBeGreaterThanOrEqual(6)
    const shown = rows.map(({ at, pool, controlP, treatmentP, happened, excluded }) =>
      [at / minute, pool.availabilityZone, controlP, treatmentP, happened, excluded].join(' '),
    )
    expect(shown).toEqual([
      '0 us-east-1a 0.01 0.02 true ',
      '5 us-east-1a 0.04 0.05 false fallback',
      '5 us-east-1b 0.04 0.05 false fallback',
      '59 us-east-1a 0.07 0.08 false ',
      '59 us-east-1b 0.07 0.08 true ',
    ])
  },
)
