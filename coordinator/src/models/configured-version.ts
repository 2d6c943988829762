import { AppError } from '@understudy/shared/core/app-error'
import type { ModelRow } from '../storage/database.ts'

type Named = Pick<ModelRow, 'id' | 'name' | 'version' | 'holds_name'>

/**
 * The version that a setting means: an id; a name and a version, as `price-instability@1.0.0`; or a version alone, of which
 * `v1` and `1.0` are the beginning.
 * @throws AppError `config_invalid` when it means none or several
 */
export function configuredVersion<Row extends Named>(rows: readonly Row[], setting: string): Row {
  const exact = rows.find(({ id }) => id === setting)
  if (exact) return exact
  const [, name, given = ''] = /^(?:([a-z0-9][a-z0-9._-]*)[@: ])?v?(.+)$/.exec(setting.trim()) ?? []
  const named = rows.filter((row) => row.holds_name === 1 && (name === undefined || row.name === name))
  const same = named.filter(({ version }) => version === given)
  const found = same.length > 0 ? same : named.filter(({ version }) => version.startsWith(`${given}.`))
  const [row, ...others] = found
  if (row && others.length === 0) return row
  const these = found.map((each) => `${each.name}@${each.version}`).join(', ')
  throw new AppError(
    'config_invalid',
    row
      ? `MODEL_ACTIVE_VERSION is ${setting}, which may mean ${these}`
      : `MODEL_ACTIVE_VERSION is ${setting}, and there is no such model`,
    { hint: 'Name one of GET /api/v1/ml/models/list, as name@version or by its id, or take it out.' },
  )
}
