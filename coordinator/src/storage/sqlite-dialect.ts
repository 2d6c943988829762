import type { SqliteDatabase } from 'kysely'
import { CompiledQuery, type DatabaseConnection, type Driver, SqliteDialect, SqliteDriver } from 'kysely'

/**
 * SQLite whose transactions lock out other writers from their beginning. Otherwise one that reads first fails when it
 * writes after another process has (SQLITE_BUSY_SNAPSHOT), at once and whatever the timeout is.
 */
export class WritingSqliteDialect extends SqliteDialect {
  readonly #database: SqliteDatabase

  constructor(database: SqliteDatabase) {
    super({ database })
    this.#database = database
  }

  override createDriver(): Driver {
    return new WritingSqliteDriver({ database: this.#database })
  }
}

class WritingSqliteDriver extends SqliteDriver {
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }
}
