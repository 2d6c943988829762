import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type Clock, minutes, sleep } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { ModelActivationRow, ModelRow } from '../storage/database.ts'

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

/** What may come right by itself, such as a bucket that does not answer, is tried again after this. */
const AGAIN = minutes(1)
const ACTOR = 'coordinator'

/**
 * Activates what MODEL_ACTIVE_VERSION names, whatever was active before, and tries again while its files cannot be had, unless
 * somebody activates another version meanwhile. What goes wrong is logged and is never a reason not to start.
 */
export async function activateConfigured(
  setting: string,
  models: {
    list(): Promise<readonly ModelRow[]>
    ledger(): Promise<readonly Pick<ModelActivationRow, 'seq' | 'alias' | 'actor'>[]>
    activate(id: string, actor: string, reason: string): Promise<unknown>
  },
  { log, clock, signal }: { readonly log: Logger; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const lastByOthers = async () =>
    (await models.ledger()).findLast(({ alias, actor }) => alias === 'active' && actor !== ACTOR)?.seq
  const before = await lastByOthers()
  while (!signal.aborted)
    try {
      if ((await lastByOthers()) !== before) return
      const { id } = configuredVersion(await models.list(), setting)
      await models.activate(id, ACTOR, `MODEL_ACTIVE_VERSION is ${setting}`)
      return
    } catch (error) {
      if (signal.aborted) return
      const again = isAppError(error) && error.retryable
      log.error({
        event: 'model.configured_not_active',
        why: messageOf(error),
        note: again ? 'it is tried again in a minute' : 'what was active before answers',
      })
      if (!again) return
      await sleep(clock, AGAIN, signal).catch(() => undefined)
    }
}
