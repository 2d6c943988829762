import { AppError } from '@understudy/shared/core/app-error'
import { testModel } from '../models/testing.ts'
import type { OpenDatabase } from '../storage/database.ts'
import type { createLab } from './lab.ts'

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

/**
 * The registry without processes: aliases point, and that is all.
 * @param refused is asked first, and may throw
 */
export function modelsWith(
  { db }: OpenDatabase,
  aliases: Map<string, string>,
  assigned: string[] = [],
  refused: (alias: string, id: string | null) => boolean = () => false,
) {
  const find = (id: string) => db.selectFrom('models').selectAll().where('id', '=', id).executeTakeFirst()
  const registry = {
    assign: (alias: string, id: string | null) => {
      if (refused(alias, id)) return Promise.reject(new AppError('model_refused', `${id} cannot answer`))
      assigned.push(`${alias} ${id}`)
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
  } as unknown as Parameters<typeof createLab>[0]['models']
}

export async function addNotice({ db }: OpenDatabase, id: string, agent: string, at: number): Promise<void> {
  const facts = {
    response_action: '',
    outcome: '',
    outcome_reason: '',
    failover_completed: 0,
    seen_via: '[]',
  }
  const none = {
    deadline_at: null,
    replica_id: null,
    new_instance_id: null,
    success: null,
    failover_time_ms: null,
  }
  await db
    .insertInto('spot_interruption_events')
    .values({
      id,
      agent_id: agent,
      instance_id: `i-0${agent.replace('-', '')}`,
      signal_type: 'termination-notice',
      trigger: 'notice',
      detected_at: at,
      ...facts,
      ...none,
      no_primary_ms: null,
      no_primary_from_t_ms: null,
      old_epoch: 1,
      new_epoch: null,
      interruption_probability: null,
      loss: null,
      closed_at: null,
    })
    .execute()
}
