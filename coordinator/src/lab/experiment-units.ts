import { createHash } from 'node:crypto'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type Clock, hours } from '@understudy/shared/core/time'
import { armOf } from '@understudy/shared/experiments/assignment'
import type { ExperimentPlan } from '@understudy/shared/experiments/plan'
import type { InstanceConfig, InstanceConfigChange } from '@understudy/shared/pipeline/instance-config'
import type { Logger } from 'pino'
import type { Models } from '../models/models.ts'
import type { InstanceConfigs } from '../pipeline/pipeline.ts'
import type { ExperimentUnitRow, Kysely, Schema } from '../storage/database.ts'
import type { Assignments } from './assignments.ts'
import type { Experiment, ExperimentStore } from './experiment-store.ts'

/** Puts units into their arms, and gives them back. What was cut short is made good when it is asked for again. */
export interface ExperimentUnits {
  /** @throws AppError when one of them cannot get its model */
  placeAll(experiment: Experiment, actor: string): Promise<void>
  /** The same for one that runs: whom it fails for is named in the log and tried again next time. */
  keepPlaced(experiment: Experiment, actor: string): Promise<void>
  /** Back to control: what a unit was told before, with the model of control. @throws AppError after all were tried */
  giveBack(experiment: Experiment, by: string): Promise<void>
}

const DAY = hours(24)

const sha256 = (text: string): Uint8Array => createHash('sha256').update(text).digest()

/** Names of arms into which none of these units comes, where a unit never changes its arm. */
export function emptyArms(id: string, plan: ExperimentPlan, units: readonly string[]): string[] {
  if (plan.kind !== 'ab' || plan.unit !== 'instance') return []
  const filled = new Set(units.map((unit) => armOf(id, unit, plan.arms, sha256).name))
  return plan.arms.map(({ name }) => name).filter((name) => !filled.has(name))
}

export function createExperimentUnits(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly serving: Models['serving']
  readonly configs: InstanceConfigs
  readonly assignments: Assignments
  readonly store: Pick<ExperimentStore, 'units' | 'enter' | 'leave'>
}): ExperimentUnits {
  const { db, clock, log, serving, configs, assignments, store } = parts

  const openUnits = async ({ row }: Experiment): Promise<readonly ExperimentUnitRow[]> =>
    (await store.units(row.id)).filter(({ until }) => until === null)

  /** Puts a unit into its arm; where it is there already nothing happens. */
  async function place(
    { row, plan }: Experiment,
    unit: string,
    open: ExperimentUnitRow | undefined,
    actor: string,
  ): Promise<void> {
    const arm = await armFor(row.id, plan, unit)
    const modelId = plan.arms[arm]?.modelId ?? null
    const config = await configs.get(unit)
    // What it was told before is written down first, so that it can be given back whatever happens now.
    if (!open) await store.enter(row.id, { unitId: unit, arm, before: JSON.stringify(config) }, clock.now())
    if (config.modelId !== modelId || config.pipelineMode !== 'SINGLE_LINEAR') {
      const change: InstanceConfigChange = { pipelineMode: 'SINGLE_LINEAR', modelId }
      await assignments.change(unit, change, actor, `${row.id}: ${plan.arms[arm]?.name ?? ''}`)
    }
    if (open && open.arm !== arm)
      await store.enter(row.id, { unitId: unit, arm, before: open.before }, clock.now())
  }

  async function armFor(id: string, plan: ExperimentPlan, unit: string): Promise<number> {
    if (plan.kind === 'pin') return 0
    return plan.arms.indexOf(armOf(id, await ticketOf(plan, unit), plan.arms, sha256))
  }

  /** Where whole pools are assigned the arm is that of the pool on this day. */
  async function ticketOf(plan: ExperimentPlan, unit: string): Promise<string> {
    if (plan.unit !== 'pool_day') return unit
    const row = await db
      .selectFrom('instances')
      .select('pool_id')
      .where((eb) => eb.or([eb('id', '=', unit), eb('agent_id', '=', unit)]))
      .where('is_active', '=', 1)
      .orderBy('enrolled_at', 'desc')
      .executeTakeFirst()
    if (!row)
      throw new AppError('not_ready', `it is not known in which pool ${unit} runs`, {
        hint: 'Use the unit instance for targets that run no agent.',
      })
    return `${row.pool_id}/${Math.floor(clock.now() / DAY)}`
  }

  async function giveBackOne(
    { row, plan }: Experiment,
    { unit_id: unit, before }: ExperimentUnitRow,
    by: string,
  ): Promise<void> {
    const was = JSON.parse(before) as InstanceConfig
    const { pipelineMode } = was
    const modelId = plan.kind === 'pin' ? was.modelId : controlOf(plan, was)
    try {
      await assignments.change(unit, { pipelineMode, modelId }, by, `${row.id} has ended`)
    } catch (error) {
      if (!isAppError(error) || modelId === null) throw error
      // Rather the active model than the one that was tried.
      log.warn({
        event: 'experiment.no_control',
        experiment: row.id,
        unit,
        model: modelId,
        why: messageOf(error),
      })
      await assignments.change(unit, { pipelineMode, modelId: null }, by, `${row.id} has ended`)
    }
    await store.leave(row.id, unit, clock.now())
  }

  function controlOf(plan: ExperimentPlan, was: InstanceConfig): string | null {
    const control = plan.arms[0]?.modelId ?? null
    return was.modelId === null && serving.active?.id === control ? null : control
  }

  async function eachUnit(
    experiment: Experiment,
    task: (unit: string, open: ExperimentUnitRow | undefined) => Promise<void>,
  ): Promise<void> {
    const open = await openUnits(experiment)
    for (const unit of experiment.units)
      await task(
        unit,
        open.find(({ unit_id: id }) => id === unit),
      )
  }

  return {
    placeAll: (experiment, actor) =>
      eachUnit(experiment, (unit, open) => place(experiment, unit, open, actor)),
    keepPlaced: (experiment, actor) =>
      eachUnit(experiment, async (unit, open) => {
        try {
          await place(experiment, unit, open, actor)
        } catch (error) {
          if (!isAppError(error)) throw error
          const { id } = experiment.row
          log.warn({ event: 'experiment.unit_not_placed', experiment: id, unit, why: messageOf(error) })
        }
      }),
    async giveBack(experiment, by) {
      let failure: AppError | undefined
      for (const unit of await openUnits(experiment))
        try {
          await giveBackOne(experiment, unit, by)
        } catch (error) {
          if (!isAppError(error)) throw error
          failure ??= error
        }
      if (failure) throw failure
    },
  }
}
