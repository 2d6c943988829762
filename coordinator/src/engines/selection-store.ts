import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, type Instant, instant } from '@understudy/shared/core/time'
import type { DecisionEngineRow, Kysely, Schema } from '../storage/database.ts'

/** That somebody has selected an engine, and how it was set. */
export interface Selection {
  readonly engineId: string
  readonly decision: string
  /** Of those for its decision it is the one that counts. */
  readonly active: boolean
  /** As it was stored: not yet through the engine's schema. */
  readonly config: unknown
  readonly revision: number
  readonly at: Instant
  readonly by: string
}

export interface SelectionStore {
  all(): Promise<readonly Selection[]>
  /** Lets it count from now on, and no other for its decision. @throws AppError `conflict` when `seen` is no longer the revision */
  select(wish: {
    readonly engineId: string
    readonly decision: string
    readonly config: unknown
    /** The revision on which this was decided; 0 before the first selection. */
    readonly seen: number
    readonly actor: string
  }): Promise<void>
}

export const createSelectionStore = (db: Kysely<Schema>, clock: Clock): SelectionStore => ({
  async all() {
    const rows = await db.selectFrom('decision_engines').selectAll().orderBy('id').execute()
    return rows.map(toSelection)
  },
  async select({ engineId, decision, config, seen, actor }) {
    const values = {
      ...{ decision, active: 1, config: JSON.stringify(config), revision: seen + 1 },
      ...{ selected_at: clock.now(), selected_by: actor },
    }
    await db.transaction().execute(async (tx) => {
      const rows = await tx
        .selectFrom('decision_engines')
        .select(['id', 'revision', 'selected_by'])
        .where('decision', '=', decision)
        .orderBy('revision', 'desc')
        .execute()
      const last = rows[0]
      if ((last?.revision ?? 0) !== seen) throw selectedAnew(decision, last)
      await tx
        .updateTable('decision_engines')
        .set({ active: 0 })
        .where('decision', '=', decision)
        .where('id', '<>', engineId)
        .execute()
      const own = rows.find(({ id }) => id === engineId)
      const written = own
        ? await tx
            .updateTable('decision_engines')
            .set(values)
            .where('id', '=', engineId)
            .where('revision', '=', own.revision)
            .executeTakeFirst()
            .then(({ numUpdatedRows }) => numUpdatedRows)
        : await tx
            .insertInto('decision_engines')
            .values({ id: engineId, ...values })
            .onConflict((conflict) => conflict.doNothing())
            .executeTakeFirst()
            .then(({ numInsertedOrUpdatedRows }) => numInsertedOrUpdatedRows)
      if (written !== 1n) throw selectedAnew(decision, undefined)
    })
  },
})

export const selectedAnew = (
  decision: string,
  last: { readonly revision: number; readonly selected_by: string } | undefined,
): AppError =>
  new AppError(
    'conflict',
    `${last?.selected_by ?? 'somebody'} has selected for ${decision} since you looked`,
    {
      hint: 'GET /api/v1/ml/engines/{id}/metadata says what counts now: look again and decide anew.',
      ...(last ? { facts: { revision: last.revision, selected_by: last.selected_by } } : {}),
    },
  )

const toSelection = (row: DecisionEngineRow): Selection => ({
  engineId: row.id,
  decision: row.decision,
  active: row.active === 1,
  config: JSON.parse(row.config),
  revision: row.revision,
  at: instant(row.selected_at),
  by: row.selected_by,
})
