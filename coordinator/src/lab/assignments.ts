import { AppError } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import {
  type InstanceConfig,
  type InstanceConfigChange,
  withChange,
} from '@understudy/shared/pipeline/instance-config'
import type { Models } from '../models/models.ts'
import type { InstanceConfigs } from '../pipeline/pipeline.ts'

/** Which version answers for which target. */
export interface Assignments {
  /**
   * Changes the configuration of a target. Another version is started and answers the golden rows first; then one pointer is
   * exchanged. What fails leaves all as it was.
   * @throws AppError `not_found`, `not_ready`, `model_refused`, `conflict` when the Lab may not do this there
   */
  change(id: string, change: InstanceConfigChange, actor: string, reason: string): Promise<InstanceConfig>
}

/** Each is a process of about 100 MiB. */
const MOST_ASSIGNED = 16

export const labAlias = (targetId: string): string => `lab:${targetId}`

export function createAssignments(
  models: {
    readonly store: Pick<Models['store'], 'aliases'>
    readonly registry: Pick<Models['registry'], 'assign'>
  },
  configs: InstanceConfigs,
): Assignments {
  const inTurn = createSerial()

  /** Aliases of the Lab, each with the version that it points to. */
  async function assigned(): Promise<Map<string, string>> {
    const all = new Map<string, string>()
    for (const [model, aliases] of await models.store.aliases())
      for (const alias of aliases) if (alias.startsWith('lab:')) all.set(alias, model)
    return all
  }

  async function point(
    alias: string,
    to: string | null,
    by: { actor: string; reason: string },
  ): Promise<() => Promise<void>> {
    const all = await assigned()
    const before = all.get(alias) ?? null
    if (before === to) return () => Promise.resolve()
    if (before === null && all.size >= MOST_ASSIGNED)
      throw new AppError('conflict', `${all.size} targets have a model of their own, and no more may`, {
        hint: 'Give one back first: PUT /api/v1/lab/config/{instance_id} with assigned_model_id null.',
      })
    await models.registry.assign(alias, to, by.actor, by.reason)
    return () => models.registry.assign(alias, before, by.actor, `taken back: ${by.reason}`)
  }

  return {
    change: (id, change, actor, reason) =>
      inTurn(async () => {
        const before = await configs.get(id)
        const next = withChange(before, change)
        const takeBack = await point(labAlias(before.id), next.modelId, { actor, reason })
        try {
          return await configs.put(id, change, actor)
        } catch (error) {
          await takeBack()
          throw error
        }
      }),
  }
}
