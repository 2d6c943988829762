import { createHash, randomBytes } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import type { Clock, Instant } from '@understudy/shared/core/time'
import type { ExperimentPlan } from '@understudy/shared/experiments/plan'
import type { ExperimentStatus, ExperimentVerdict } from '@understudy/shared/protocol/experiments'
import {
  comesAfter,
  type ExperimentBlockRow,
  type ExperimentRow,
  type ExperimentUnitRow,
  type Kysely,
  type Position,
  type Schema,
} from '../storage/database.ts'

/** An experiment as it was registered, and where it stands. */
export interface Experiment {
  readonly row: ExperimentRow
  readonly plan: ExperimentPlan
  /** Ids of targets. */
  readonly units: readonly string[]
}

/** Experiments and what they are judged by. Every method is one transaction. */
export interface ExperimentStore {
  register(
    plan: ExperimentPlan,
    units: readonly string[],
    startsAt: Instant | null,
    actor: string,
  ): Promise<Experiment>
  /** @throws AppError `not_found` */
  find(id: string): Promise<Experiment>
  /** The latest first. */
  list(before: Position | undefined, limit: number): Promise<readonly Experiment[]>
  inStatus(status: ExperimentStatus): Promise<readonly Experiment[]>
  /** Those that name a version, whatever their status. */
  naming(modelId: string): Promise<readonly Experiment[]>
  /** False when it was started or ended meanwhile. */
  begin(experiment: Experiment, at: Instant): Promise<boolean>
  /** The verdict is written once. False when it had ended already. */
  end(experiment: Experiment, at: Instant, by: string, verdict: ExperimentVerdict | null): Promise<boolean>
  /** Adds what is settled and moves the mark on, which never goes back. */
  settle(
    id: string,
    last: number,
    blocks: readonly Omit<ExperimentBlockRow, 'experiment_id' | 'settled_at'>[],
  ): Promise<void>
  blocks(id: string): Promise<readonly ExperimentBlockRow[]>
  countLate(id: string, late: number): Promise<void>
  units(id: string): Promise<readonly ExperimentUnitRow[]>
  /** The running experiment that a target is in. */
  holding(unitId: string): Promise<string | undefined>
  /** Puts a unit into an arm; where it was in another, that ends. */
  enter(id: string, unit: { unitId: string; arm: number; before: string }, at: Instant): Promise<void>
  leave(id: string, unitId: string, at: Instant): Promise<void>
}

export function createExperimentStore(db: Kysely<Schema>, clock: Clock): ExperimentStore {
  const change = async (id: string, from: readonly ExperimentStatus[], values: Partial<ExperimentRow>) => {
    const { numUpdatedRows } = await db
      .updateTable('experiments')
      .set((eb) => ({ ...values, revision: eb('revision', '+', 1) }))
      .where('id', '=', id)
      .where('status', 'in', from)
      .executeTakeFirst()
    return numUpdatedRows === 1n
  }

  return {
    async register(plan, units, startsAt, actor) {
      const text = JSON.stringify(plan)
      const row: ExperimentRow = {
        id: `exp-${randomBytes(6).toString('hex')}`,
        plan: text,
        plan_sha256: createHash('sha256')
          .update(`${text}\n${JSON.stringify(units)}`)
          .digest('hex'),
        units: JSON.stringify(units),
        status: 'REGISTERED',
        created_at: clock.now(),
        created_by: actor,
        starts_at: startsAt,
        started_at: null,
        ended_at: null,
        ended_by: null,
        verdict: null,
        settled_block: null,
        late_labels: 0,
        revision: 1,
      }
      await db.insertInto('experiments').values(row).execute()
      return toExperiment(row)
    },
    async find(id) {
      const row = await db.selectFrom('experiments').selectAll().where('id', '=', id).executeTakeFirst()
      if (row) return toExperiment(row)
      throw new AppError('not_found', `there is no experiment ${id}`, {
        hint: 'GET /api/v1/lab/experiments lists them.',
      })
    },
    async list(before, limit) {
      const rows = await db
        .selectFrom('experiments')
        .selectAll()
        .where(comesAfter(before, { at: 'created_at', id: 'id' }))
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute()
      return rows.map(toExperiment)
    },
    async inStatus(status) {
      const rows = await db
        .selectFrom('experiments')
        .selectAll()
        .where('status', '=', status)
        .orderBy('created_at')
        .execute()
      return rows.map(toExperiment)
    },
    async naming(modelId) {
      const rows = await db
        .selectFrom('experiments')
        .selectAll()
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(toExperiment).filter(({ plan }) => plan.arms.some((arm) => arm.modelId === modelId))
    },
    begin: ({ row }, at) => change(row.id, ['REGISTERED'], { status: 'RUNNING', started_at: at }),
    end: ({ row }, at, by, verdict) =>
      change(row.id, ['REGISTERED', 'RUNNING'], {
        status: 'ENDED',
        ended_at: at,
        ended_by: by,
        verdict: verdict === null ? null : JSON.stringify(verdict),
      }),
    settle: (id, last, blocks) =>
      db.transaction().execute(async (trx) => {
        const now = clock.now()
        for (const block of blocks)
          await trx
            .insertInto('experiment_blocks')
            .values({ ...block, experiment_id: id, settled_at: now })
            .onConflict((conflict) => conflict.doNothing())
            .execute()
        await trx
          .updateTable('experiments')
          .set({ settled_block: last })
          .where('id', '=', id)
          .where((eb) => eb.or([eb('settled_block', 'is', null), eb('settled_block', '<', last)]))
          .execute()
      }),
    blocks: (id) =>
      db
        .selectFrom('experiment_blocks')
        .selectAll()
        .where('experiment_id', '=', id)
        .orderBy('treatment')
        .orderBy('block_index')
        .orderBy('pool_group')
        .execute(),
    countLate: async (id, late) =>
      void (await db.updateTable('experiments').set({ late_labels: late }).where('id', '=', id).execute()),
    units: (id) =>
      db
        .selectFrom('experiment_units')
        .selectAll()
        .where('experiment_id', '=', id)
        .orderBy('since')
        .orderBy('unit_id')
        .execute(),
    async holding(unitId) {
      const row = await db
        .selectFrom('experiment_units')
        .select('experiment_id')
        .where('unit_id', '=', unitId)
        .where('until', 'is', null)
        .executeTakeFirst()
      return row?.experiment_id
    },
    enter: (id, { unitId, arm, before }, at) =>
      db.transaction().execute(async (trx) => {
        await trx
          .updateTable('experiment_units')
          .set({ until: at })
          .where('experiment_id', '=', id)
          .where('unit_id', '=', unitId)
          .where('until', 'is', null)
          .execute()
        await trx
          .insertInto('experiment_units')
          .values({ experiment_id: id, unit_id: unitId, since: at, until: null, arm, before })
          .execute()
      }),
    leave: async (id, unitId, at) =>
      void (await db
        .updateTable('experiment_units')
        .set({ until: at })
        .where('experiment_id', '=', id)
        .where('unit_id', '=', unitId)
        .where('until', 'is', null)
        .execute()),
  }
}

const toExperiment = (row: ExperimentRow): Experiment => ({
  row,
  plan: JSON.parse(row.plan) as ExperimentPlan,
  units: JSON.parse(row.units) as string[],
})
