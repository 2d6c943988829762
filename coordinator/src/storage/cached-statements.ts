import type Database from 'better-sqlite3'
import type { SqliteDatabase, SqliteStatement } from 'kysely'

/** More than the coordinator has; those with lists of values come in many lengths. */
const KEPT = 256
/** What changes no table and no setting, so that statements from before it stay as they are. */
const ORDINARY = /^\s*(?:select|insert|update|delete|with|begin|commit|rollback|savepoint|release)\b/i

/**
 * A database that compiles the text of a statement once. Kysely prepares anew for each execution, which costs more than
 * most of the statements here. Those used last are kept; anything that may change a table forgets them all.
 */
export function cacheStatements(sqlite: Database.Database, kept = KEPT): SqliteDatabase {
  const statements = new Map<string, SqliteStatement>()
  return {
    close: () => void sqlite.close(),
    prepare(sql) {
      if (!ORDINARY.test(sql)) {
        statements.clear()
        return sqlite.prepare(sql)
      }
      const known = statements.get(sql)
      if (known) statements.delete(sql)
      else if (statements.size >= kept) forgetOldest(statements)
      const statement = known ?? sqlite.prepare(sql)
      statements.set(sql, statement)
      return statement
    },
  }
}

function forgetOldest(statements: Map<string, SqliteStatement>): void {
  const [oldest] = statements.keys()
  if (oldest !== undefined) statements.delete(oldest)
}
