import { AppError } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { InstanceConfig, InstanceConfigChange } from '@understudy/shared/pipeline/instance-config'
import type {
  LabConfig,
  LabConfigChange,
  LabModel,
  ModelPerformance,
  PipelineStatus,
} from '@understudy/shared/protocol/lab'
import type { ModelState } from '@understudy/shared/protocol/models'
import type { Logger } from 'pino'
import type { Models } from '../models/models.ts'
import type { DecisionMade, InstanceConfigs } from '../pipeline/pipeline.ts'
import type {
  ExperimentLogRow,
  Kysely,
  LabTargetRow,
  ModelRow,
  Position,
  Schema,
} from '../storage/database.ts'
import { createAssignments, labAlias } from './assignments.ts'
import { createExperimentLogs, type ExperimentLogs } from './experiment-logs.ts'
import type { CostOf } from './experiment-observations.ts'
import { createExperiments, type Experiments } from './experiments.ts'
import { configView, modelView, toChange } from './lab-views.ts'
import { createModelNames, type ModelNames } from './model-names.ts'
import { createPerformance } from './performance.ts'
import { type Inference, pipelineStatus } from './pipeline-status.ts'
import type { ScoredRows } from './scored-rows.ts'

export { createDegradedWatch } from './degraded-watch.ts'
export { experimentOf } from './experiment-observations.ts'
export { createLabLive, type LabLive } from './lab-live.ts'
export { createLabRetention } from './lab-retention.ts'
export { createRealisedSavings } from './realised-savings.ts'
export { createScoredRows } from './scored-rows.ts'
export { unitCosts } from './unit-costs.ts'

/** The front door of the Lab: one target, one model, and what came of it. */
export interface Lab {
  /** @throws AppError `not_found`, `not_ready`, `model_refused`, `conflict` */
  assign(
    id: string,
    model: string,
    actor: string,
  ): Promise<{ before: InstanceConfig; modelId: string; tookMs: number }>
  config(id: string): Promise<LabConfig>
  /** @throws as `assign` */
  change(id: string, change: LabConfigChange, actor: string): Promise<{ before: LabConfig; after: LabConfig }>
  status(id: string): Promise<PipelineStatus>
  models(before: Position | undefined, limit: number): Promise<readonly LabModel[]>
  /** @throws AppError `not_found` */
  performance(model: string): Promise<ModelPerformance>
  readonly logs: Pick<ExperimentLogs, 'list'>
  /** The id under which what is said of an instance is kept: its agent's where it belongs to one. */
  targetOf(id: string): Promise<string>
  readonly names: ModelNames
  /** To be run beside the rest. */
  readonly experiments: Experiments
  /** Keeps a decision of a target that is in the Lab. */
  onDecision(made: DecisionMade): Promise<void>
  /** What of the Lab refers to a version. */
  referrers(modelId: string): Promise<readonly string[]>
}

export interface LabParts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly models: Pick<Models, 'store' | 'registry' | 'serving'>
  readonly configs: InstanceConfigs
  readonly rows: ScoredRows
  readonly costOf: CostOf
}

export function createLab(parts: LabParts): Lab {
  const { db, clock, models, configs } = parts
  const names = createModelNames(db, models.store, clock)
  const assignments = createAssignments(models, configs)
  const logs = createExperimentLogs(db)
  const performance = createPerformance(db, clock)
  const experiments = createExperiments({ ...parts, assignments })

  const target = (id: string): Promise<LabTargetRow | undefined> =>
    db.selectFrom('lab_targets').selectAll().where('instance_id', '=', id).executeTakeFirst()

  /** The first change of a target is when it came into the Lab. */
  async function remember(id: string, region: string | undefined): Promise<void> {
    const values = { instance_id: id, aws_region: region ?? 'ap-south-1', created_at: clock.now() }
    await db
      .insertInto('lab_targets')
      .values(values)
      .onConflict((conflict) =>
        region === undefined
          ? conflict.doNothing()
          : conflict.column('instance_id').doUpdateSet({ aws_region: region }),
      )
      .execute()
  }

  const inForce = async (id: string): Promise<LabConfig> => {
    const config = await configs.get(id)
    return configView(id, config, await target(config.id))
  }

  async function assertFree({ id }: InstanceConfig): Promise<void> {
    const held = await experiments.store.holding(id)
    if (held === undefined) return
    throw new AppError('conflict', `${id} is in ${held}, which says which model it has`, {
      hint: `Wait until it has ended, or stop it: POST /api/v1/lab/experiments/${held}/stop.`,
    })
  }

  return {
    names,
    logs,
    experiments,
    async assign(id, model, actor) {
      const start = clock.mono()
      const { id: modelId } = await names.find(model)
      const before = await configs.get(id)
      await assertFree(before)
      const change: InstanceConfigChange = { pipelineMode: 'SINGLE_LINEAR', modelId }
      const after = await assignments.change(id, change, actor, `assigned to ${id}`)
      await remember(after.id, undefined)
      return { before, modelId, tookMs: clock.mono() - start }
    },
    config: inForce,
    async change(id, change, actor) {
      const before = await inForce(id)
      if (change.assigned_model_id !== undefined || change.pipeline_mode !== undefined)
        await assertFree(await configs.get(id))
      const after = await assignments.change(
        id,
        toChange(change, await modelOf(change)),
        actor,
        `configuration of ${id}`,
      )
      await remember(after.id, change.aws_region)
      return { before, after: await inForce(id) }
    },
    async status(id) {
      const config = await configs.get(id)
      const last = await logs.last(config.id)
      return {
        instance_id: id,
        ...pipelineStatus(config, await inferenceOf(config)),
        last_decision: last ? lastDecision(last) : null,
      }
    },
    async models(before, limit) {
      const rows = await models.store.list(before, limit)
      const aliases = await models.store.aliases()
      const short = await names.all()
      return rows.map((row) =>
        modelView(row, {
          name: short.get(row.id),
          aliases: aliases.get(row.id) ?? [],
          assignable: isAssignable(row),
        }),
      )
    },
    performance: async (model) => performance(await names.find(model)),
    targetOf: async (id) => (await configs.get(id)).id,
    async onDecision(made) {
      if (made.instanceId === null) return
      const config = await configs.get(made.instanceId)
      if (config.pipelineMode !== 'SINGLE_LINEAR' && config.modelId === null) return
      const experimentId = (await experiments.store.holding(config.id)) ?? null
      await logs.add(made, { config, experimentId, answeredBy: await answeredBy(made) })
    },
    async referrers(modelId) {
      const using = (await configs.list()).filter((config) => config.modelId === modelId)
      const naming = await experiments.store.naming(modelId)
      return [
        ...using.map(({ id }) => `the configuration of ${id}`),
        ...naming.map(({ row }) => `the experiment ${row.id}`),
      ]
    },
  }

  async function modelOf({ assigned_model_id: model }: LabConfigChange): Promise<string | null | undefined> {
    return model === undefined || model === null ? model : (await names.find(model)).id
  }

  /** Decisions name a version as `name version (id)`. */
  async function answeredBy({ input }: DecisionMade): Promise<string | null> {
    if (!input.model) return null
    const [, id] = /\(([^()]+)\)$/.exec(input.model.version) ?? []
    if (id !== undefined) return id
    const [name = '', version = ''] = input.model.version.split(/[ @]/)
    return (await models.store.findVersion(name, version))?.id ?? input.model.version
  }

  /** Who would answer now. */
  async function inferenceOf(config: InstanceConfig): Promise<Inference> {
    const { active } = models.serving
    const short = await names.all()
    const shown = (id: string) => short.get(id) ?? id
    if (config.modelId === null)
      return { assigned: null, answeredBy: active?.id ?? null, why: active ? null : 'no model is active' }
    const assigned = shown(config.modelId)
    const host = models.serving.hosts().find(({ alias }) => alias === labAlias(config.id))
    const row = await models.store.find(config.modelId)
    const why = whyNot(row, host?.model.id === config.modelId && host.ready)
    if (why === null) return { assigned, answeredBy: config.modelId, why }
    return { assigned, answeredBy: active?.id ?? null, why: active ? why : `${why}, and no model is active` }
  }
}

/** Why a version cannot answer; null when it can. */
function whyNot(row: ModelRow | undefined, ready: boolean): string | null {
  if (!row) return 'its version is not known any more'
  if (row.state === 'QUARANTINED')
    return `its version is in quarantine: ${row.state_reason ?? 'found faulty'}`
  if (row.artifact_kept === 0) return 'its files are no longer kept'
  return ready ? null : 'its process is not ready'
}

const lastDecision = (row: ExperimentLogRow): NonNullable<PipelineStatus['last_decision']> => ({
  decision_id: row.id,
  decision: row.decision,
  answered_by: row.model_id,
  fallback_reason: row.fallback_reason,
  at: new Date(row.execution_time).toISOString(),
})

const unusable: readonly ModelState[] = ['RECEIVED', 'SCANNED', 'QUARANTINED']
const isAssignable = ({ state, artifact_kept: kept }: ModelRow): boolean =>
  kept === 1 && !unusable.includes(state as ModelState)
