import { AppError } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { ModelStore } from '../models/models.ts'
import type { Kysely, ModelRow, Schema } from '../storage/database.ts'

/** Short names of versions, such as `model-002`: a name is given once more to let it mean another version. */
export interface ModelNames {
  /** The version that an id or a short name stands for. @throws AppError `not_found` */
  find(idOrName: string): Promise<ModelRow>
  /** Returns the id that the name stood for. @throws AppError `not_found`, `conflict` when it is the id of a version */
  name(name: string, id: string, actor: string): Promise<string | null>
  /** By id; the first in the alphabet where a version has several. */
  all(): Promise<ReadonlyMap<string, string>>
}

export function createModelNames(
  db: Kysely<Schema>,
  store: Pick<ModelStore, 'find'>,
  clock: Clock,
): ModelNames {
  const named = (name: string) =>
    db.selectFrom('model_names').selectAll().where('name', '=', name).executeTakeFirst()

  async function find(idOrName: string): Promise<ModelRow> {
    const row = (await store.find(idOrName)) ?? (await store.find((await named(idOrName))?.model_id ?? ''))
    if (row) return row
    throw new AppError('not_found', `there is no model ${idOrName}`, {
      hint: 'GET /api/v1/lab/models lists them.',
    })
  }

  return {
    find,
    async name(name, id, actor) {
      if (await store.find(name))
        throw new AppError('conflict', `${name} is the id of a version, and can be no short name`)
      const row = await find(id)
      const before = await named(name)
      const values = { model_id: row.id, named_at: clock.now(), named_by: actor }
      await db
        .insertInto('model_names')
        .values({ name, ...values })
        .onConflict((conflict) => conflict.column('name').doUpdateSet(values))
        .execute()
      return before?.model_id ?? null
    },
    async all() {
      const rows = await db.selectFrom('model_names').selectAll().orderBy('name', 'desc').execute()
      return new Map(rows.map(({ model_id: id, name }) => [id, name]))
    },
  }
}
