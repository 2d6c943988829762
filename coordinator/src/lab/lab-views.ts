import type { InstanceConfig, InstanceConfigChange } from '@understudy/shared/pipeline/instance-config'
import type { LabConfig, LabConfigChange, LabModel } from '@understudy/shared/protocol/lab'
import type { ModelState } from '@understudy/shared/protocol/models'
import type { LabTargetRow, ModelRow } from '../storage/database.ts'

const DEFAULT_REGION = 'ap-south-1'
const toTime = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString())

/** @param asked the id as the caller has it: an instance's or its agent's */
export const configView = (
  asked: string,
  config: InstanceConfig,
  target: LabTargetRow | undefined,
): LabConfig => ({
  instance_id: asked,
  target_id: config.id,
  pipeline_mode: config.pipelineMode,
  assigned_model_id: config.modelId,
  enable_bin_packing: config.binPacking,
  enable_right_sizing: config.rightSizing,
  enable_family_stress: config.familyStress,
  aws_region: target?.aws_region ?? DEFAULT_REGION,
  enabled: config.enabled,
  actuator: config.actuator,
  actuator_level: config.level,
  account_environment: config.accountEnvironment,
  created_at: toTime(target?.created_at ?? null),
  updated_at: toTime(config.updatedAt),
  updated_by: config.updatedBy,
})

/** @param modelId the version that the body means; undefined when it does not speak of one */
export function toChange(body: LabConfigChange, modelId: string | null | undefined): InstanceConfigChange {
  const change: { [K in keyof InstanceConfigChange]: InstanceConfigChange[K] | undefined } = {
    pipelineMode: body.pipeline_mode,
    modelId,
    binPacking: body.enable_bin_packing,
    rightSizing: body.enable_right_sizing,
    familyStress: body.enable_family_stress,
    enabled: body.enabled,
    actuator: body.actuator,
    level: body.actuator_level,
    accountEnvironment: body.account_environment,
  }
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
}

/** @param assignable whether it may answer for a target */
export function modelView(
  row: ModelRow,
  more: { name: string | undefined; aliases: readonly string[]; assignable: boolean },
): LabModel {
  const manifest = JSON.parse(row.manifest) as { description?: unknown; target: { definition: string } }
  const { description } = manifest
  return {
    id: more.name ?? row.id,
    model_id: row.id,
    name: row.name,
    version: row.version,
    description: typeof description === 'string' ? description : manifest.target.definition,
    is_experimental: row.activated_at === null,
    is_active: more.assignable,
    created_at: new Date(row.uploaded_at).toISOString(),
    state: row.state as ModelState,
    aliases: [...more.aliases],
  }
}
