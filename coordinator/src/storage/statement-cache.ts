import type { SqliteDatabase } from 'kysely'

type Statement = ReturnType<SqliteDatabase['prepare']>

/** More than the coordinator has different statements in use at one time. */
const MOST = 300
/** Statements that change tables leave nothing behind that was prepared before. */
const CHANGES_TABLES = /^\s*(?:create|alter|drop|pragma|vacuum|attach|detach|reindex)\b/i

/**
 * What Kysely asks to prepare is kept for the next time it asks for the same: preparing takes longer than most statements
 * run. It runs a statement to its end before another one begins, but for streams, which must not be used with this.
 */
export function keepStatements(
  database: SqliteDatabase,
  most = MOST,
): Pick<SqliteDatabase, 'prepare' | 'close'> {
  const kept = new Map<string, Statement>()
  return {
    prepare(sql) {
      if (CHANGES_TABLES.test(sql)) {
        kept.clear()
        return database.prepare(sql)
      }
      const statement = kept.get(sql) ?? database.prepare(sql)
      // The last used one is the last of all.
      kept.delete(sql)
      kept.set(sql, statement)
      if (kept.size > most) kept.delete(kept.keys().next().value as string)
      return statement
    },
    close() {
      kept.clear()
      database.close()
    },
  }
}
