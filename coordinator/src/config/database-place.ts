import { AppError } from '@understudy/shared/core/app-error'
import type { DatabasePlace } from '../storage/database.ts'
import type { CoordinatorConfig } from './options.ts'

/** What of the settings says where the data is. */
type DatabaseSettings = Pick<
  CoordinatorConfig,
  'database' | 'database_url' | 'db_host' | 'db_port' | 'db_name' | 'db_user' | 'db_password'
>

/** @throws AppError `config_invalid` when more than one place is named, or half of one */
export function databasePlace(settings: DatabaseSettings): DatabasePlace {
  const { database, database_url: url, db_host: host, db_port, db_name, db_user, db_password } = settings
  const named = [
    database !== undefined && 'a SQLite file (--database or UNDERSTUDY_DATABASE)',
    url !== undefined && 'DATABASE_URL',
    host !== undefined && 'DB_HOST',
  ].filter((place) => place !== false)
  if (named.length > 1)
    throw new AppError('config_invalid', `the data can be in one place, but ${named.join(' and ')} are set`, {
      hint: 'Keep one of them.',
    })
  const user = db_user ?? 'understudy'
  if (host !== undefined)
    return {
      store: 'postgres',
      at: { host, port: db_port ?? 5432, database: db_name ?? 'understudy', user, password: db_password },
    }
  if (url !== undefined) return { store: 'postgres', at: url }
  if (database === undefined && (db_port ?? db_name ?? db_user ?? db_password) !== undefined)
    throw new AppError('config_invalid', 'DB_HOST is missing: other settings of PostgreSQL are there', {
      hint: 'Set DB_HOST, or clear DB_PORT, DB_NAME, DB_USER and DB_PASSWORD to use SQLite.',
    })
  return { store: 'sqlite', path: database ?? 'understudy.db' }
}
