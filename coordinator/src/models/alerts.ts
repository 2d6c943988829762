import { randomUUID } from 'node:crypto'
import type { Clock } from '@understudy/shared/core/time'
import type { AlertKind, ModelAlertView } from '@understudy/shared/protocol/predictions'
import type { Logger } from 'pino'
import type { Kysely, ModelAlertRow, Schema } from '../storage/database.ts'
import { toTime } from './model-store.ts'

/** What is wrong with a model, as it stands now. */
export interface AlertState {
  readonly severity: 'warn' | 'alert'
  readonly said: string
  readonly facts: Readonly<Record<string, unknown>>
}

/** Whether moves that nobody has asked for may be made, and why not. */
export interface VoluntaryMoves {
  readonly allowed: boolean
  readonly why: string | null
}

/** Alerts about models: one open one for each thing that is watched. */
export interface ModelAlerts {
  /** Reads what was open when the coordinator ended. */
  load(): Promise<void>
  /** Opens, changes or, without a state, closes it. The same state again only says that it was seen. */
  set(modelId: string, kind: AlertKind, subject: string, state: AlertState | undefined): Promise<void>
  list(filter: {
    readonly modelId?: string | undefined
    readonly open: boolean
  }): Promise<readonly ModelAlertView[]>
  open(): readonly ModelAlertRow[]
  /** Closes those of all models but these, with why. */
  closeOthers(modelIds: ReadonlySet<string>, why: string): Promise<void>
  /** Off while the score or the loss of this model is on alert. */
  voluntaryMoves(activeId: string | undefined): VoluntaryMoves
}

const MOST_LISTED = 200

export function createModelAlerts(
  db: Kysely<Schema>,
  clock: Clock,
  log: Logger,
  /** One is new, or its severity another one. */
  onAlert: (alert: ModelAlertRow) => void = () => undefined,
): ModelAlerts {
  const open = new Map<string, ModelAlertRow>()
  const keyOf = (modelId: string, kind: string, subject: string) => `${modelId} ${kind} ${subject}`

  async function close(row: ModelAlertRow, said = row.said): Promise<void> {
    const values = { said, closed_at: clock.now() }
    await db.updateTable('model_alerts').set(values).where('id', '=', row.id).execute()
    open.delete(keyOf(row.model_id, row.kind, row.subject))
    log.info({ event: 'model.alert_closed', model: row.model_id, kind: row.kind, subject: row.subject })
  }

  return {
    async load() {
      const rows = await db.selectFrom('model_alerts').selectAll().where('closed_at', 'is', null).execute()
      for (const row of rows) open.set(keyOf(row.model_id, row.kind, row.subject), row)
    },

    async set(modelId, kind, subject, state) {
      const key = keyOf(modelId, kind, subject)
      const known = open.get(key)
      if (!state) return known && close(known)
      const now = clock.now()
      const said = { severity: state.severity, said: state.said, facts: JSON.stringify(state.facts) }
      if (known) {
        const row = { ...known, ...said, seen_at: now }
        await db.updateTable('model_alerts').set(row).where('id', '=', known.id).execute()
        open.set(key, row)
        if (known.severity === state.severity) return
      } else {
        const row = {
          ...{ id: randomUUID(), model_id: modelId, kind, subject },
          ...said,
          ...{ opened_at: now, seen_at: now, closed_at: null },
        }
        await db.insertInto('model_alerts').values(row).execute()
        open.set(key, row)
      }
      const event = {
        event: 'model.alert',
        model: modelId,
        kind,
        subject,
        severity: state.severity,
        said: state.said,
      }
      if (state.severity === 'alert') log.error(event)
      else log.warn(event)
      const row = open.get(key)
      if (row) onAlert(row)
    },

    async list({ modelId, open: onlyOpen }) {
      let query = db.selectFrom('model_alerts').selectAll().orderBy('opened_at', 'desc').limit(MOST_LISTED)
      if (modelId !== undefined) query = query.where('model_id', '=', modelId)
      if (onlyOpen) query = query.where('closed_at', 'is', null)
      return (await query.execute()).map(alertView)
    },
    open: () => [...open.values()],
    async closeOthers(modelIds, why) {
      for (const row of [...open.values()])
        if (!modelIds.has(row.model_id)) await close(row, `${row.said}; closed, since ${why}`)
    },

    voluntaryMoves(activeId) {
      if (activeId === undefined) return { allowed: false, why: 'no model is active' }
      const against = [...open.values()].find(
        ({ model_id: id, kind, severity }) =>
          id === activeId && severity === 'alert' && (kind === 'SCORE_DRIFT' || kind === 'LOSS_DRIFT'),
      )
      return against ? { allowed: false, why: against.said } : { allowed: true, why: null }
    },
  }
}

const alertView = (row: ModelAlertRow): ModelAlertView => ({
  alert_id: row.id,
  model_id: row.model_id,
  kind: row.kind as AlertKind,
  subject: row.subject,
  severity: row.severity as 'warn' | 'alert',
  state: row.closed_at === null ? 'open' : 'closed',
  said: row.said,
  facts: JSON.parse(row.facts) as Record<string, unknown>,
  opened_at: toTime(row.opened_at),
  seen_at: toTime(row.seen_at),
  closed_at: row.closed_at === null ? null : toTime(row.closed_at),
})
