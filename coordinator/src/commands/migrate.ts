import type { Invocation } from '../command-line.ts'
import { databasePlace } from '../config/database-place.ts'
import { loadConfig } from '../config/load.ts'
import { openDatabase } from '../storage/database.ts'
import { migrate, pendingMigrations } from '../storage/migrate.ts'

/** Brings the database up to date, or says what that would take. */
export async function migrateDatabase(
  { configFile, settings, own, json }: Invocation,
  print: (text: string) => number,
): Promise<number> {
  const config = loadConfig(configFile, settings, process.env)
  const database = await openDatabase(databasePlace(config))
  try {
    const dryRun = own['dry-run'] === true
    const steps = dryRun ? await pendingMigrations(database.db) : await migrate(database.db)
    if (json)
      return print(
        `${JSON.stringify({ schema: 'understudy.migrate/v1', database: database.name, dry_run: dryRun, steps })}\n`,
      )
    if (steps.length === 0) return print(`${database.name} is up to date\n`)
    return print(`${dryRun ? 'to do' : 'done'}: ${steps.join(', ')}\n`)
  } finally {
    await database.close()
  }
}
