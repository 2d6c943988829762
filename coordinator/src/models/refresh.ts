import { randomUUID } from 'node:crypto'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Clock, Instant, Millis } from '@understudy/shared/core/time'
import type { RefreshRun } from '@understudy/shared/protocol/models'
import type { Logger } from 'pino'
import {
  comesAfter,
  type Kysely,
  type ModelRefreshRow,
  type Position,
  type Schema,
} from '../storage/database.ts'
import { toTime } from './model-store.ts'
import type { Registry } from './registry.ts'
import type { Serving } from './serving.ts'

/**
 * Reads the active version again, checks it, and puts a new process in place of its process: memory is given back, and a
 * file that was damaged is noticed while the one in memory still serves. The latest prices are fetched for it, too.
 */
export interface Refresh {
  /** @throws AppError `busy` while one is under way, `not_ready` when no model is active */
  run(trigger: RefreshRun['trigger'], actor: string): Promise<RefreshRun>
  /** The latest first. */
  history(before: Position | undefined, limit: number): Promise<readonly ModelRefreshRow[]>
  /** When the last one began, however it ended. */
  last(): Promise<number | undefined>
  recover(): Promise<void>
}

export const refreshView = (row: ModelRefreshRow): RefreshRun => ({
  refresh_id: row.id,
  trigger: row.trigger as RefreshRun['trigger'],
  actor: row.actor,
  model_id: row.model_id,
  status: row.status as RefreshRun['status'],
  detail: row.detail,
  started_at: toTime(row.started_at),
  ended_at: row.ended_at === null ? null : toTime(row.ended_at),
  took_ms: row.ended_at === null ? null : row.ended_at - row.started_at,
})

export function createRefresh(
  db: Kysely<Schema>,
  clock: Clock,
  registry: Pick<Registry, 'prepare'>,
  serving: Pick<Serving, 'active' | 'renew'>,
  /** Begins to fetch the latest prices, and says what was begun. */
  refreshPrices: (actor: string) => Promise<string>,
): Refresh {
  let underWay = false

  async function renew(): Promise<string> {
    const { active } = serving
    if (!active) throw new AppError('not_ready', 'no model is active')
    const host = await registry.prepare(active)
    if (serving.active?.id !== active.id) {
      await host.close()
      return 'another version was activated meanwhile; nothing was replaced'
    }
    serving.renew(host)
    return `files verified, ${active.manifest.golden.length} golden rows answered, process replaced`
  }

  async function finish(row: ModelRefreshRow, status: string, detail: string): Promise<ModelRefreshRow> {
    const done = { status, detail: detail.slice(0, 1000), ended_at: clock.now() }
    await db.updateTable('model_refresh_history').set(done).where('id', '=', row.id).execute()
    return { ...row, ...done }
  }

  return {
    async run(trigger, actor) {
      if (!serving.active)
        throw new AppError('not_ready', 'no model is active', {
          hint: 'Activate one: POST /api/v1/ml/models/activate.',
        })
      if (underWay) throw new AppError('busy', 'a refresh is under way', { retryable: true })
      underWay = true
      try {
        const row: ModelRefreshRow = {
          id: randomUUID(),
          trigger,
          actor,
          model_id: serving.active.id,
          status: 'in_progress',
          detail: '',
          started_at: clock.now(),
          ended_at: null,
        }
        await db.insertInto('model_refresh_history').values(row).execute()
        const prices = await refreshPrices(actor)
        const ended = await renew().then(
          (detail) => finish(row, 'completed', `${detail}; ${prices}`),
          (error: unknown) => finish(row, 'failed', `${messageOf(error)}; ${prices}`),
        )
        return refreshView(ended)
      } finally {
        underWay = false
      }
    },
    history: (before, limit) =>
      db
        .selectFrom('model_refresh_history')
        .selectAll()
        .where(comesAfter(before, { at: 'started_at', id: 'id' }))
        .orderBy('started_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute(),
    async last() {
      const row = await db
        .selectFrom('model_refresh_history')
        .select('started_at')
        .orderBy('started_at', 'desc')
        .limit(1)
        .executeTakeFirst()
      return row?.started_at
    },
    async recover() {
      await db
        .updateTable('model_refresh_history')
        .set({ status: 'failed', detail: 'the coordinator ended meanwhile', ended_at: clock.now() })
        .where('status', '=', 'in_progress')
        .execute()
    },
  }
}

/** @param began when the coordinator did: where none was made yet, the period runs from there */
export async function refreshWhenDue(
  refresh: Pick<Refresh, 'last' | 'run'>,
  period: Millis,
  { began, clock, log }: { readonly began: Instant; readonly clock: Clock; readonly log: Logger },
): Promise<void> {
  const last = (await refresh.last()) ?? began
  if (clock.now() - last < period) return
  try {
    const { status, detail } = await refresh.run('scheduled', 'coordinator')
    log.info({ event: 'model.refreshed', status, detail })
  } catch (error) {
    if (!isAppError(error)) throw error
    log.warn({ event: 'model.not_refreshed', why: error.message })
  }
}
