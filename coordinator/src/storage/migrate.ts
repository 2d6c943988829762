import { AppError } from '@understudy/shared/core/app-error'
import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { first } from './migrations/0001-first.ts'
import { certificateAuthority } from './migrations/0002-certificate-authority.ts'
import { votes } from './migrations/0003-votes.ts'
import { market } from './migrations/0004-market.ts'
import { models } from './migrations/0005-models.ts'
import { decisions } from './migrations/0006-decisions.ts'
import { predictions } from './migrations/0007-predictions.ts'
import { modelTasks } from './migrations/0008-model-tasks.ts'
import { pipeline } from './migrations/0009-pipeline.ts'
import { lab } from './migrations/0010-lab.ts'
import { signalOutcomes } from './migrations/0011-signal-outcomes.ts'
import { actedPredictions } from './migrations/0012-acted-predictions.ts'
import { decisionsKept } from './migrations/0013-decisions-kept.ts'
import { policies } from './migrations/0014-policies.ts'
import { notifications } from './migrations/0015-notifications.ts'
import { coveringPrices } from './migrations/0016-covering-prices.ts'
import { engines } from './migrations/0018-engines.ts'
import { callers } from './migrations/0020-callers.ts'
import { noticesAndOldPrimaries } from './migrations/0021-notices-and-old-primaries.ts'
import type { Schema } from './schema.ts'

/** In order; a name never changes once it was released, and nothing goes backwards. */
const migrations: Record<string, Migration> = {
  '0001-first': first,
  '0002-certificate-authority': certificateAuthority,
  '0003-votes': votes,
  '0004-market': market,
  '0005-models': models,
  '0006-decisions': decisions,
  '0007-predictions': predictions,
  '0008-model-tasks': modelTasks,
  '0009-pipeline': pipeline,
  '0010-lab': lab,
  '0011-signal-outcomes': signalOutcomes,
  '0012-acted-predictions': actedPredictions,
  '0013-decisions-kept': decisionsKept,
  '0014-policies': policies,
  '0015-notifications': notifications,
  '0016-covering-prices': coveringPrices,
  '0018-engines': engines,
  '0020-callers': callers,
  '0021-notices-and-old-primaries': noticesAndOldPrimaries,
}

/**
 * Brings the database up to this version. Returns what was done.
 * @throws AppError `database_newer` when a newer version has been here, `internal` when a step fails
 */
export async function migrate(db: Kysely<Schema>): Promise<readonly string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } })
  await assertNotNewer(db)
  const { error, results } = await migrator.migrateToLatest()
  if (error) {
    const failed = results?.find(({ status }) => status === 'Error')?.migrationName
    throw new AppError(
      'internal',
      `the database could not be brought up to date${failed ? ` (step ${failed})` : ''}`,
      {
        hint: 'Nothing of that step was kept. The log has the reason.',
        cause: error,
      },
    )
  }
  return (results ?? []).map(({ migrationName }) => migrationName)
}

/** Steps that are still to do. */
export async function pendingMigrations(db: Kysely<Schema>): Promise<readonly string[]> {
  const done = await doneMigrations(db)
  return Object.keys(migrations).filter((name) => !done.includes(name))
}

async function assertNotNewer(db: Kysely<Schema>): Promise<void> {
  const unknown = (await doneMigrations(db)).filter((name) => !(name in migrations))
  if (unknown.length === 0) return
  throw new AppError(
    'database_newer',
    `the database was used by a newer version (it has ${unknown.join(', ')})`,
    {
      hint: 'Start that version again, or restore the backup that was made before it.',
    },
  )
}

async function doneMigrations(db: Kysely<Schema>): Promise<string[]> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some(({ name }) => name === 'kysely_migration')) return []
  const rows = await db
    .withTables<{ kysely_migration: { name: string } }>()
    .selectFrom('kysely_migration')
    .select('name')
    .execute()
  return rows.map(({ name }) => name)
}
