import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { SessionStatus, UploadSession, UploadSessions } from '@understudy/shared/protocol/models'
import type { Kysely, ModelRow, ModelUploadSessionRow, Schema } from '../storage/database.ts'
import { toTime } from './model-store.ts'
import { refusalOf } from './refusal.ts'

/** An upload while it comes in. How far it is, is in memory; how it ended is in the database. */
export interface OpenSession {
  readonly id: string
  progress(received: number): void
  /** All is there and is being tried. */
  checking(files: readonly string[], sha256: string): Promise<void>
  done(model: ModelRow, isActive: boolean): Promise<void>
  failed(error: unknown): Promise<void>
}

/** Uploads as the operator's page shows them. */
export interface Sessions {
  /** @throws AppError `conflict` when the id was used before */
  open(of: { id: string; actor: string; total: number | null; key: string | null }): Promise<OpenSession>
  find(id: string): Promise<UploadSession>
  /** The one that this key of this caller has made and which was not refused. */
  findByKey(key: string, actor: string): Promise<UploadSession | undefined>
  overview(): Promise<UploadSessions>
  /** Uploads that were cut off when the coordinator ended. */
  recover(): Promise<void>
}

type Row = ModelUploadSessionRow
type Named = Row & { readonly name: string | null; readonly version: string | null }

/** Of what has neither become live nor is on its way: how many of the latest are shown. */
const SHOWN = 10

export function createSessions(db: Kysely<Schema>, clock: Clock): Sessions {
  const progress = new Map<string, number>()

  const update = (id: string, values: Partial<Row>) =>
    db.updateTable('model_upload_sessions').set(values).where('id', '=', id).execute()

  const rows = () =>
    db
      .selectFrom('model_upload_sessions as s')
      .leftJoin('models as m', 'm.id', 's.model_id')
      .selectAll('s')
      .select(['m.name', 'm.version'])
      .orderBy('s.created_at', 'desc')

  function view(row: Named): UploadSession {
    const received = progress.get(row.id) ?? row.bytes_received
    const total = row.bytes_total
    return {
      session_id: row.id,
      session_type: 'models',
      status: row.status as SessionStatus,
      is_live: row.is_live === 1,
      is_fallback: row.is_fallback === 1,
      file_count: row.file_count,
      file_names: JSON.parse(row.file_names) as string[],
      bytes_received: received,
      bytes_total: total,
      percent_complete:
        total === null || total === 0 ? null : Math.min(100, Math.floor((received / total) * 100)),
      model_id: row.model_id,
      name: row.name,
      version: row.version,
      sha256: row.sha256,
      code: row.code,
      error: row.error,
      created_by: row.created_by,
      created_at: toTime(row.created_at),
      activated_at: row.activated_at === null ? null : toTime(row.activated_at),
    }
  }

  function openSession(id: string): OpenSession {
    const close = () => {
      const bytes_received = progress.get(id) ?? 0
      progress.delete(id)
      return { bytes_received }
    }
    return {
      id,
      progress: (received) => void progress.set(id, received),
      async checking(files, sha256) {
        await update(id, {
          status: 'checking',
          file_names: JSON.stringify(files),
          file_count: files.length,
          sha256,
        })
      },
      async done(model, isActive) {
        const status = isActive ? 'activated' : 'uploaded'
        await update(id, { ...close(), status, model_id: model.id, sha256: model.model_sha256 })
      },
      async failed(error) {
        const refused = isAppError(error) && error.code !== 'internal' && error.code !== 'unavailable'
        await update(id, {
          ...close(),
          status: refused ? 'refused' : 'failed',
          code: refusalOf(error) ?? (isAppError(error) ? error.code : 'internal'),
          error: isAppError(error)
            ? messageOf(error).slice(0, 1000)
            : 'an unexpected error; the log has its cause',
        })
      },
    }
  }

  return {
    async open({ id, actor, total, key }) {
      const there = await db
        .selectFrom('model_upload_sessions')
        .select('id')
        .where('id', '=', id)
        .executeTakeFirst()
      if (there)
        throw new AppError('conflict', `there is an upload session ${id} already`, { hint: 'Use a new id.' })
      await db
        .insertInto('model_upload_sessions')
        .values({
          id,
          session_type: 'models',
          status: 'receiving',
          is_live: 0,
          is_fallback: 0,
          file_count: 0,
          file_names: '[]',
          bytes_received: 0,
          bytes_total: total,
          model_id: null,
          sha256: null,
          code: null,
          error: null,
          created_by: actor,
          idempotency_key: key,
          created_at: clock.now(),
          activated_at: null,
        })
        .execute()
      progress.set(id, 0)
      return openSession(id)
    },
    async find(id) {
      const row = await rows().where('s.id', '=', id).executeTakeFirst()
      if (!row) throw new AppError('not_found', `there is no upload session ${id}`)
      return view(row)
    },
    async findByKey(key, actor) {
      const row = await rows()
        .where('s.idempotency_key', '=', key)
        .where('s.created_by', '=', actor)
        .where('s.model_id', 'is not', null)
        .executeTakeFirst()
      return row && view(row)
    },
    async overview() {
      const named = async (column: 's.is_live' | 's.is_fallback') => {
        const row = await rows().where(column, '=', 1).limit(1).executeTakeFirst()
        return row ? view(row) : null
      }
      const live = await named('s.is_live')
      const fallback = await named('s.is_fallback')
      const waiting = await rows().where('s.status', '=', 'uploaded').limit(1).executeTakeFirst()
      const since = live === null ? 0 : Date.parse(live.created_at)
      const isSettled = waiting === undefined || waiting.is_fallback === 1 || waiting.created_at < since
      const pending = isSettled ? null : view(waiting)
      const others = await rows()
        .where('s.status', 'in', ['receiving', 'checking', 'refused', 'failed'])
        .where('s.created_at', '>=', since)
        .limit(SHOWN)
        .execute()
      const sessions = [live, fallback, pending].filter((session) => session !== null)
      const all = [...sessions, ...others.map(view)]
      return { live, fallback, pending, sessions: all.sort((a, b) => (a.created_at < b.created_at ? 1 : -1)) }
    },
    async recover() {
      await db
        .updateTable('model_upload_sessions')
        .set({
          status: 'failed',
          code: 'interrupted',
          error: 'the coordinator ended during the upload; send it again',
        })
        .where('status', 'in', ['receiving', 'checking'])
        .execute()
    },
  }
}
