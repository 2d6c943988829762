import { AppError } from '@understudy/shared/core/app-error'
import type { Invocation } from '../command-line.ts'
import { databasePlace } from '../config/database-place.ts'
import { loadConfig } from '../config/load.ts'
import { createDecisionStore } from '../pipeline/pipeline.ts'
import { openDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'

/** Makes a stored decision again. Exit code 0 when it comes out the same byte by byte, 1 when it does not. */
export async function replay(
  { configFile, settings, words, json }: Invocation,
  print: (text: string) => number,
): Promise<number> {
  const [id, ...more] = words
  if (id === undefined || more.length > 0)
    throw new AppError('input_invalid', 'name one decision: coordinator replay <decision id>')
  const database = await openDatabase(databasePlace(loadConfig(configFile, settings, process.env)))
  try {
    await migrate(database.db)
    const { row, outcome, same } = await createDecisionStore(database.db).replay(id)
    const { decision, code, reason } = outcome.decision
    const at = new Date(row.at).toISOString()
    if (json) print(`${JSON.stringify({ schema: 'understudy.replay/v1', id, at, same, outcome })}\n`)
    else {
      const verdict = same ? 'the same, byte by byte' : `not the same: it was ${row.decision} (${row.code})`
      print(`${id} of ${at} for ${row.pool_id}: ${decision} (${code}), ${reason}\n${verdict}\n`)
    }
    return same ? 0 : 1
  } finally {
    await database.close()
  }
}
