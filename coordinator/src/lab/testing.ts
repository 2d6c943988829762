import { testModel } from '../models/testing.ts'
import type { OpenDatabase } from '../storage/database.ts'
import type { createLab } from './lab.ts'

type LabParts = Parameters<typeof createLab>[0]

/** A version that has passed its trial, without its file. */
export async function addModel({ db }: OpenDatabase, id: string): Promise<void> {
  const { manifest } = testModel({ name: id })
  await db
    .insertInto('models')
    .values({
      id,
      name: id,
      version: '1.0.0',
      holds_name: 1,
      state: 'QUALIFIED',
      state_reason: null,
      model_sha256: manifest.sha256,
      scaler_sha256: null,
      size_bytes: 1,
      manifest: JSON.stringify(manifest),
      facts: null,
      qualification: null,
      trained_until: '2020-06-30',
      artifact_kept: 1,
      uploaded_by: 'ada',
      uploaded_at: 0,
      activated_at: null,
    })
    .execute()
}

/** The registry without processes: aliases point, and that is all. */
export function modelsWith({ db }: OpenDatabase, aliases: Map<string, string>): LabParts['models'] {
  const find = (id: string) => db.selectFrom('models').selectAll().where('id', '=', id).executeTakeFirst()
  const registry = {
    assign: (alias: string, id: string | null) => {
      if (id === null) aliases.delete(alias)
      else aliases.set(alias, id)
      return Promise.resolve()
    },
  }
  const byModel = () => {
    const all = new Map<string, string[]>()
    for (const [alias, id] of aliases) all.set(id, [...(all.get(id) ?? []), alias])
    return Promise.resolve(all)
  }
  return {
    store: { find, aliases: byModel },
    registry,
    serving: { active: { id: 'model-z' }, hosts: () => [] },
  } as unknown as LabParts['models']
}
